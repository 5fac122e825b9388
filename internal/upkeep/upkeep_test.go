package upkeep_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alecthomas/units"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
	"boomerang/internal/upkeep"
)

// fakeStore has executions of equal size and knows only the times of their ends.
type fakeStore struct {
	mu    sync.Mutex  // guards the fields below
	ended []time.Time // the oldest end first
	fails int         // number of calls of Remove that fail
	idle  int         // number of correct calls of RemoveIdle
	most  int         // largest batch
	blobs int         // number of blobs of removed executions; each has the size of an execution
	swept time.Time   // argument of the last Sweep

	stored []execution.Stored
	grown  chan struct{}
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

func (s *fakeStore) Stored(context.Context) ([]execution.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stored), nil
}

func (s *fakeStore) Evict(_ context.Context, subject string, excess int64, _ time.Time) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.stored {
		if s.stored[i].Subject == subject {
			s.stored[i].Results -= excess
		}
	}
	return excess, nil
}

func (s *fakeStore) Grown() <-chan struct{} { return s.grown }

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
		Store: store, Quota: func(subject string) int64 { return map[string]int64{"small": 1600}[subject] },
		WorkspaceIdle: time.Hour, Sandbox: box, Holder: inUse, Log: logrus.NewEntry(log),
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

func TestASubjectOverItsQuotaLosesResultsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{grown: make(chan struct{}, 1), stored: []execution.Stored{
			{Subject: "large", Results: 1 << 30}, {Subject: "small", Results: 1500, Workspaces: 200},
		}}
		store.grown <- struct{}{}
		run(t, upkeep.Defaults(), store, sandboxtest.New(sandboxtest.Script{}), nil, time.Second)
		want := []execution.Stored{
			{Subject: "large", Results: 1 << 30}, {Subject: "small", Results: 1300, Workspaces: 200},
		}
		if diff := cmp.Diff(want, store.stored); diff != "" {
			t.Errorf("a quota of 1600 and a sixteenth of room: -want +got:\n%s", diff)
		}
	})
}

func TestAboveKeepSizeTheLargestSubjectsLoseResults(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct{ before, after []int64 }{
		"one is large":          {[]int64{20 * mib, mib, mib, 0}, []int64{13 * mib, mib, mib, 0}},
		"two are large":         {[]int64{20 * mib, 9 * mib, mib}, []int64{7 * mib, 7 * mib, mib}},
		"all are equal":         {[]int64{6 * mib, 6 * mib, 6 * mib}, []int64{5 * mib, 5 * mib, 5 * mib}},
		"one below its share":   {[]int64{30 * mib, 5 * mib}, []int64{10 * mib, 5 * mib}},
		"one, and it is full":   {[]int64{16 * mib}, []int64{15 * mib}},
		"less than the maximum": {[]int64{10 * mib, 5*mib + mib/2}, []int64{10 * mib, 5*mib + mib/2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				settings := upkeep.Defaults()
				settings.KeepSize = 16 * units.MiB
				store := &fakeStore{}
				for i, size := range c.before {
					store.stored = append(store.stored, execution.Stored{Subject: strconv.Itoa(i), Results: size})
				}
				run(t, settings, store, sandboxtest.New(sandboxtest.Script{}), nil, 11*time.Minute)
				var after []int64
				for _, s := range store.stored {
					after = append(after, s.Results)
				}
				if !slices.Equal(after, c.after) {
					t.Errorf("of %v are left %v; want %v", c.before, after, c.after)
				}
			})
		})
	}
}

func TestNoExecutionIsRemovedBeforeItsRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{ended: every(time.Hour, 100)}
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
