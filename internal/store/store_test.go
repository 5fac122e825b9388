package store_test

import (
	"context"
	"testing"

	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
)

// contractStore is a Store whose blob writers have the type of the contract.
type contractStore struct{ *store.Store }

// NewBlob begins a blob.
func (s contractStore) NewBlob(ctx context.Context) (storetest.BlobWriter, error) {
	return s.Store.NewBlob(ctx)
}

func TestSQLiteKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		t.Helper()
		dir := storetest.Dir(t)
		return func() storetest.Store { return contractStore{openPart(t, "sqlite", dir, store.Whole)} }
	})
}

// openPart opens a part of dir until the end of the test, with a driver of database/sql.
func openPart(t *testing.T, driver, dir string, part store.Part) *store.Store {
	t.Helper()
	s, err := store.OpenWith(t.Context(), driver, dir, part, store.Defaults(), discardLog())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
