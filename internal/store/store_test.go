package store_test

import (
	"io"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
)

func TestSQLiteKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		t.Helper()
		dir := storetest.Dir(t)
		log := logrus.New()
		log.SetOutput(io.Discard)
		return func() storetest.Store {
			s, err := store.Open(t.Context(), dir, store.Defaults(), logrus.NewEntry(log))
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
	})
}
