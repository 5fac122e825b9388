package storetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/store"
)

// Dir makes a data directory for package store whose database has the newest schema and no executions. To migrate a
// database takes longer than most tests, so all directories of a process are copies of one, and their stores have the
// same node.
func Dir(t testing.TB) string {
	t.Helper()
	database, err := migrated()
	dir := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, store.DatabaseFile), database, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var migrated = sync.OnceValues(func() (database []byte, err error) {
	dir, err := os.MkdirTemp("", "boomerang-storetest-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := logrus.New()
	log.SetOutput(io.Discard)
	// this part begins no epoch
	s, err := store.OpenPart(context.Background(), dir, store.Front, store.Defaults(), logrus.NewEntry(log))
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return fs.ReadFile(os.DirFS(dir), store.DatabaseFile)
})
