package store_test

import (
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/store"
)

func discardLog() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

// queued returns an execution that can be stored.
func queued(code int) execution.Execution {
	now := time.Now()
	return execution.Execution{
		ID: execution.NewID(now), Subject: "ann", Language: "python", WorkingDir: "/workspace", Timeout: time.Hour,
		Code: make(execution.Sealed, code), CreatedAt: now, State: execution.Queued,
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestABackupOfABusyStoreIsComplete(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir, store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var before []execution.ID
	for range 50 {
		e := queued(10_000)
		before = append(before, e.ID)
		if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for !closed(stop) {
			if _, _, err := s.Enqueue(t.Context(), queued(10_000), nil, execution.QueueLimits{}); err != nil {
				t.Errorf("a write during the backup: %v", err)
				return
			}
		}
	})
	target := t.TempDir()
	err = store.Backup(t.Context(), dir, filepath.Join(target, "boomerang.db"))
	close(stop)
	writer.Wait()
	if err != nil {
		t.Fatal(err)
	}

	db, err := sql.Open("sqlite", filepath.Join(target, "boomerang.db"))
	if err != nil {
		t.Fatal(err)
	}
	var verdict string
	if err := db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity check: %s, %v", verdict, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	restored, err := store.Open(t.Context(), target, store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = restored.Close() }()
	for _, id := range before {
		if _, err := restored.Get(t.Context(), id); err != nil {
			t.Fatalf("%s is not in the backup: %v", id, err)
		}
	}
	if info, err := os.Stat(filepath.Join(target, "boomerang.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestABackupOverwritesNothingAndNeedsADatabase(t *testing.T) {
	dir, target := t.TempDir(), filepath.Join(t.TempDir(), "old.db")
	if err := store.Backup(t.Context(), dir, target); err == nil {
		t.Error("an empty directory was backed up")
	}
	if _, err := os.Stat(filepath.Join(dir, "boomerang.db")); err == nil {
		t.Error("a backup made the database that it could not find")
	}
	s, err := store.Open(t.Context(), dir, store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Backup(t.Context(), dir, target); err == nil {
		t.Error("a file that was there was overwritten")
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "precious" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

func TestRemoveFreesSpace(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir(), store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	size := func() int64 {
		t.Helper()
		n, err := s.UsedBytes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	empty := size()
	for range 10 {
		e := queued(10)
		if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
		r := execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: time.Now()}
		r.Stdout.Head = make([]byte, 1<<20)
		if err := s.Finish(t.Context(), e.ID, r, nil); err != nil {
			t.Fatal(err)
		}
	}
	full := size()
	if full < empty+10<<20 {
		t.Errorf("10 MiB more grew the store from %d to %d bytes", empty, full)
	}
	if n, err := s.Remove(t.Context(), time.Now().Add(time.Hour), time.Now(), 100); err != nil || n != 10 {
		t.Fatalf("removed %d, %v", n, err)
	}
	if left := size(); left > empty+1<<20 {
		t.Errorf("%d bytes are left of %d", left, full)
	}
}
