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

// kept is a store of executions of one size each, of which only the time of their end is known.
type kept struct {
	mu    sync.Mutex
	ended []time.Time // the longest ended first
	size  int64       // of each
	fails int         // how many calls fail first
	idle  int         // how often it was asked for idle workspaces
	most  int         // the largest batch that was asked for
	blobs int         // of those that went; each has the size of an execution
	swept time.Time   // what was begun before that
}

func (k *kept) Sweep(_ context.Context, made time.Time, limit int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.swept = made
	n := min(limit, k.blobs)
	k.blobs -= n
	return n, nil
}

func (k *kept) Remove(_ context.Context, ended, _ time.Time, limit int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails > 0 {
		k.fails--
		return 0, errors.New("disk full")
	}
	k.most = max(k.most, limit)
	n := 0
	for n < min(limit, len(k.ended)) && k.ended[n].Before(ended) {
		n++
	}
	k.ended = k.ended[n:]
	k.blobs += n
	return n, nil
}

// RemoveIdle counts the rounds in which it is asked for what was last used an hour ago.
func (k *kept) RemoveIdle(_ context.Context, used time.Time, limit int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(used) == time.Hour && limit > 0 {
		k.idle++
	}
	return 0, nil
}

func (k *kept) Size(context.Context) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return int64(len(k.ended)+k.blobs) * k.size, nil
}

func (k *kept) left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.ended)
}

// held are the executions that have a run.
type held map[string]bool

func (h held) Holds(f sandbox.Found) bool { return h[f.Execution] }

// run lets upkeep work for d.
func run(t *testing.T, c upkeep.Config, store *kept, box upkeep.Sandbox, holder held, d time.Duration) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	if err := upkeep.New(c, time.Hour, store, box, holder, logrus.NewEntry(log)).Run(ctx); err != nil {
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

func TestWhatWasKeptLongEnoughGoesInSmallBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := upkeep.Defaults()
		c.Keep, c.KeepSize = 24*time.Hour, 0
		store := &kept{ended: every(time.Minute, 10*24*60), fails: 1}
		run(t, c, store, sandboxtest.New(sandboxtest.Script{}), nil, 59*time.Minute)
		// One round in ten minutes, the last one at 50: an end at the very bound is not before it.
		if left, want := store.left(), 24*60+1-50; left != want {
			t.Errorf("%d are left, want %d", left, want)
		}
		if store.idle != 5 {
			t.Errorf("asked %d times for idle workspaces, want once a round", store.idle)
		}
		if store.most > 100 {
			t.Errorf("a batch of %d", store.most)
		}
	})
}

func TestAboveItsSizeTheLongestEndedGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := upkeep.Defaults()
		c.KeepSize = 10 * units.MiB
		store := &kept{ended: every(time.Second, 1000), size: 100 << 10}
		run(t, c, store, sandboxtest.New(sandboxtest.Script{}), nil, time.Hour)
		if left := store.left(); left > 102 || left < 102-50 {
			t.Errorf("%d of 100 KiB are left, want what fits into 10 MiB less a batch at most", left)
		}
		if young := time.Since(store.swept); store.blobs != 0 || young < 24*time.Hour {
			t.Errorf("%d blobs are left, and those of %s ago were swept; want none, and a day for those who write", store.blobs, young)
		}
	})
}

func TestNothingGoesBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &kept{ended: every(time.Hour, 100), size: 1}
		run(t, upkeep.Defaults(), store, sandboxtest.New(sandboxtest.Script{}), nil, time.Hour)
		if left := store.left(); left != 100 {
			t.Errorf("%d of 100 are left", left)
		}
	})
}

func TestAContainerThatNobodyHoldsIsSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		holder := held{"exec_held": true}
		for _, id := range []string{"exec_held", "exec_left", ""} {
			if _, err := box.Prepare(t.Context(), sandbox.Spec{Execution: id}); err != nil {
				t.Fatal(err)
			}
		}
		run(t, upkeep.Defaults(), &kept{}, box, holder, time.Hour)
		found, err := box.Containers(t.Context())
		if err != nil || len(found) != 1 || found[0].Execution != "exec_held" {
			t.Errorf("left: %v, %v", found, err)
		}
	})
}
