package dispatch_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox/sandboxtest"
)

// startedAfter waits for the end of an execution and returns how long after begin it started.
func (h *harness) startedAfter(begin time.Time, id execution.ID) time.Duration {
	h.t.Helper()
	return h.ended(id).Run.StartedAt.Sub(begin).Round(time.Second)
}

func TestANewcomerStartsWhileAnotherHasAllSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 8, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		begin := time.Now()
		var hog []execution.ID
		for range 12 {
			hog = append(hog, h.submit("hog", sandboxtest.Sleep(time.Hour)))
		}
		time.Sleep(time.Minute)
		for _, newcomer := range []string{"ann", "ben"} { // the reserve of eight slots is two
			first := h.submit(newcomer, sandboxtest.Sleep(time.Second))
			second := h.submit(newcomer, sandboxtest.Out("2"))
			if took := h.startedAfter(begin, first); took != time.Minute {
				t.Errorf("the first of %s started after %s; want at once, after 1m", newcomer, took)
			}
			// with the first ended, the second is a newcomer's again
			if took := h.startedAfter(begin, second); took != time.Minute+time.Second {
				t.Errorf("the second of %s started after %s; want 1m1s", newcomer, took)
			}
			begin = begin.Add(time.Second)
		}
		for _, id := range hog[8:] {
			if state := h.get(id).State; state != execution.Queued {
				t.Errorf("an execution of the hog beyond the ordinary slots is %s", state)
			}
		}
		time.Sleep(3 * time.Hour)
		for _, id := range hog {
			h.ended(id)
		}
	})
}

func TestTheReserveIsForEachNewcomerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 4, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		for range 4 {
			h.submit("hog", sandboxtest.Sleep(time.Hour))
		}
		time.Sleep(time.Second)
		begin := time.Now()
		first, second := h.submit("ann", sandboxtest.Sleep(30*time.Minute)), h.submit("ann", sandboxtest.Out("2"))
		other := h.submit("ben", sandboxtest.Out("3"))
		if took := h.startedAfter(begin, first); took > time.Second {
			t.Errorf("the newcomer waited for %s", took)
		}
		// the slot of the first is in the reserve and free after half an hour: both subjects have nothing running then
		for _, id := range []execution.ID{second, other} {
			if took := h.startedAfter(begin, id); took != 30*time.Minute {
				t.Errorf("%s started after %s; want 30m", id, took)
			}
		}
		time.Sleep(time.Hour)
	})
}

func TestASubjectAtItsLimitStartsTheNextWhenOneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 8, sandboxtest.New(sandboxtest.Script{}))
		h.maxRunning = func(subject string) int { return map[string]int{"ann": 2}[subject] }
		h.start()
		defer h.shutdown()
		begin := time.Now()
		for i := range 6 {
			id := h.submit("ann", sandboxtest.Sleep(3*time.Second))
			defer func() {
				if took, want := h.startedAfter(begin, id), time.Duration(i/2)*3*time.Second; took != want {
					t.Errorf("execution %d started after %s; want %s: two at a time, without a pause", i, took, want)
				}
			}()
		}
		ben := h.submit("ben", sandboxtest.Out("1"))
		if took := h.startedAfter(begin, ben); took > 0 {
			t.Errorf("a subject without a limit waited %s behind one at its limit", took)
		}
	})
}

func TestASlotIsReleasedAfterTheContainerIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Int64
		fails.Store(3)
		h := newHarness(t, 1, failingRemoval{sandboxtest.New(sandboxtest.Script{}), &fails})
		h.start()
		defer h.shutdown()
		first := h.submit("a", sandboxtest.Out("1"))
		began := time.Now()
		h.expect(h.ended(first), execution.Completed, execution.Exited, "1")
		h.submit("a", sandboxtest.Sleep(time.Hour)) // a newcomer again: it has the reserve
		second := h.submit("a", sandboxtest.Out("2"))
		if took := time.Since(began); took > 0 {
			t.Errorf("the result was written %s after the end, want at once", took)
		}
		time.Sleep(time.Minute)
		if state := h.get(second).State; state != execution.Queued {
			t.Errorf("the second is %s although the container of the first is there", state)
		}
		h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
		time.Sleep(2 * time.Hour)
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}
