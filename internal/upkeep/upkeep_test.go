package upkeep_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/units"
	"github.com/sirupsen/logrus"

	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
	"boomerang/internal/upkeep"
)

// fakeStore has executions of equal size and knows only the times of their ends.
type fakeStore struct {
	mu    sync.Mutex  // guards the fields below
	ended []time.Time // the oldest end first
	size  int64       // bytes of one execution
	fails int         // number of calls of Remove that fail
	idle  int         // number of correct calls of RemoveIdle
	most  int         // largest batch
	blobs int         // number of blobs of removed executions; each has the size of an execution
	swept time.Time   // argument of the last Sweep
}

func (s *fakeStore) Sweep(_ context.Context, made time.Time, limit int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swept = made
	n := min(limit, s.blobs)
	s.blobs -= n
	return n, nil
}

func (s *fakeStore) Remove(_ context.Context, ended, _ time.Time, limit int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return 0, errors.New("disk full")
	}
	s.most = max(s.most, limit)
	n := 0
	for n < min(limit, len(s.ended)) && s.ended[n].Before(ended) {
		n++
	}
	s.ended = s.ended[n:]
	s.blobs += n
	return n, nil
}

// RemoveIdle counts the calls for workspaces that were last used an hour ago.
func (s *fakeStore) RemoveIdle(_ context.Context, used time.Time, limit int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(used) == time.Hour && limit > 0 {
		s.idle++
	}
	return 0, nil
}

func (s *fakeStore) Size(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.ended)+s.blobs) * s.size, nil
}

func (s *fakeStore) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ended)
}

// holder has the executions whose containers are in use.
type holder map[string]bool

func (h holder) Holds(f sandbox.Found) bool { return h[f.Execution] }

// run runs upkeep for a duration.
func run(t *testing.T, c upkeep.Config, store *fakeStore, box upkeep.Sandbox, inUse holder, d time.Duration) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	u := upkeep.New(c, upkeep.Deps{
		Store: store, WorkspaceIdle: time.Hour, Sandbox: box, Holder: inUse, Log: logrus.NewEntry(log),
	})
	if err := u.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
}

// every makes n executions that ended one after another, the last one now.
func every(step time.Duration, n int) []time.Time {
	var ended []time.Time
	for i := range n {
		ended = append(ended, time.Now().Add(-step*time.Duration(n-1-i)))
	}
	return ended
}

func TestOldExecutionsAreRemovedInSmallBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := upkeep.Defaults()
		c.Keep, c.KeepSize = 24*time.Hour, 0
		store := &fakeStore{ended: every(time.Minute, 10*24*60), fails: 1}
		run(t, c, store, sandboxtest.New(sandboxtest.Script{}), nil, 59*time.Minute)
		// One round every ten minutes, the last after 50. An execution whose end is exactly the limit stays.
		if left, want := store.left(), 24*60+1-50; left != want {
			t.Errorf("%d are left, want %d", left, want)
		}
		if store.idle != 5 {
			t.Errorf("%d rounds removed idle workspaces, want 5", store.idle)
		}
		if store.most > 100 {
			t.Errorf("a batch has %d executions, want at most 100", store.most)
		}
	})
}

func TestAboveKeepSizeTheOldestExecutionsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := upkeep.Defaults()
		c.KeepSize = 10 * units.MiB
		store := &fakeStore{ended: every(time.Second, 1000), size: 100 << 10}
		run(t, c, store, sandboxtest.New(sandboxtest.Script{}), nil, time.Hour)
		if left := store.left(); left > 102 || left < 102-50 {
			t.Errorf("%d executions of 100 KiB are left, want 52 to 102", left)
		}
		if young := time.Since(store.swept); store.blobs != 0 || young < 24*time.Hour {
			t.Errorf("%d blobs are left, and blobs of %s ago were removed; want none left and an age of a day",
				store.blobs, young)
		}
	})
}

func TestNoExecutionIsRemovedBeforeItsRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{ended: every(time.Hour, 100), size: 1}
		run(t, upkeep.Defaults(), store, sandboxtest.New(sandboxtest.Script{}), nil, time.Hour)
		if left := store.left(); left != 100 {
			t.Errorf("%d of 100 are left", left)
		}
	})
}

func TestALeftoverContainerIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		inUse := holder{"exec_held": true}
		for _, id := range []string{"exec_held", "exec_left", ""} {
			if _, err := box.Prepare(t.Context(), sandbox.Spec{Execution: id}); err != nil {
				t.Fatal(err)
			}
		}
		run(t, upkeep.Defaults(), &fakeStore{}, box, inUse, time.Hour)
		found, err := box.Containers(t.Context())
		if err != nil || len(found) != 1 || found[0].Execution != "exec_held" {
			t.Errorf("left: %v, %v", found, err)
		}
	})
}
