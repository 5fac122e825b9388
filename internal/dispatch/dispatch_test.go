package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
	"boomerang/internal/store"
)

func TestAnExecutionIsTakenToItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		defer h.leave()
		e := h.ended(h.submit("a", sandboxtest.Out("hello\n"), sandboxtest.Sleep(3*time.Second), sandboxtest.Err("oh"), sandboxtest.Exit(3)))
		h.expect(e, execution.Failed, execution.Exited, "hello\n")
		if *e.Result.ExitCode != 3 || string(e.Result.Stderr.Head) != "oh" || !e.Result.OutputComplete || e.Result.Duration != 3*time.Second {
			t.Errorf("got %+v", e.Result)
		}
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
	})
}

func TestOneSubjectsThousandDoNotStarveAnothersOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		defer h.leave()
		var many []execution.ID
		for range 100 {
			many = append(many, h.submit("many", sandboxtest.Sleep(time.Second)))
		}
		synctest.Wait()
		one := h.ended(h.submit("one", sandboxtest.Sleep(time.Second)))
		ended := 0
		for _, id := range many {
			if h.get(id).State.Terminal() {
				ended++
			}
		}
		if one.State != execution.Completed || ended > 2 {
			t.Errorf("the one is %s after %d of the others", one.State, ended)
		}
		for _, id := range many {
			if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAQueuedExecutionIsCancelledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		defer h.leave()
		first := h.submit("a", sandboxtest.Sleep(time.Minute))
		second := h.submit("a", sandboxtest.Out("never"))
		synctest.Wait()
		e, err := h.store.Cancel(t.Context(), second, time.Now(), payload.Cancelled)
		if err != nil {
			t.Fatal(err)
		}
		h.expect(e, execution.Cancelled, execution.WasCancelled, "")
		if e.Result.ExitCode != nil || !e.Result.StartedAt.IsZero() {
			t.Errorf("what never ran has exit code %v and started at %v", e.Result.ExitCode, e.Result.StartedAt)
		}
		h.expect(h.ended(first), execution.Completed, execution.Exited, "")
	})
}

func TestARunningExecutionIsCancelledWithWhatItPrinted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		defer h.leave()
		id := h.submit("a", sandboxtest.Out("so far\n"), sandboxtest.Hang())
		time.Sleep(time.Second)
		if live, ok := h.dispatcher.Live(id, execution.Stdout); !ok || string(live) != "so far\n" {
			t.Errorf("live output is %q, %t", live, ok)
		}
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		e := h.ended(id)
		h.expect(e, execution.Cancelled, execution.WasCancelled, "so far\n")
		if *e.Result.ExitCode != 143 {
			t.Errorf("exit code %d, want 128 + SIGTERM", *e.Result.ExitCode)
		}
		if _, ok := h.dispatcher.Live(id, execution.Stdout); ok {
			t.Error("it is live after its end")
		}
	})
}

// slow takes its time to prepare a berth.
type slow struct{ sandbox.Sandbox }

func (s slow) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	time.Sleep(time.Second)
	return s.Sandbox.Prepare(ctx, spec)
}

func TestACancelWhileTheBerthIsPreparedLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, slow{sandboxtest.New(sandboxtest.Script{})})
		h.enter()
		defer h.leave()
		id := h.submit("a", sandboxtest.Out("never"))
		time.Sleep(500 * time.Millisecond)
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		h.expect(h.get(id), execution.Cancelled, execution.WasCancelled, "")
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
		h.expect(h.ended(h.submit("a", sandboxtest.Out("next"))), execution.Completed, execution.Exited, "next")
	})
}

func TestADeadlineIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		defer h.leave()
		e := h.ended(h.submit("a", sandboxtest.Out("until then"), sandboxtest.IgnoreTerm(), sandboxtest.Hang()))
		h.expect(e, execution.Timeout, execution.TimedOut, "until then")
		if *e.Result.ExitCode != 124 || e.Result.Duration < time.Hour {
			t.Errorf("exit code %d after %s", *e.Result.ExitCode, e.Result.Duration)
		}
	})
}

// deaf has an init that does not keep deadlines.
type deaf struct{ sandbox.Sandbox }

func (s deaf) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	b, err := s.Sandbox.Prepare(ctx, spec)
	return deafBerth{b}, err
}

type deafBerth struct{ sandbox.Berth }

func (b deafBerth) Assign(ctx context.Context, job journal.Job) error {
	job.Timeout *= 100
	return b.Berth.Assign(ctx, job)
}

func TestAnInitThatDoesNotKeepTheDeadlineIsEndedFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, deaf{sandboxtest.New(sandboxtest.Script{})})
		h.enter()
		defer h.leave()
		begin := time.Now()
		h.expect(h.ended(h.submit("a", sandboxtest.Hang())), execution.Timeout, execution.TimedOut, "")
		if late := time.Since(begin) - time.Hour; late < 0 || late > time.Minute {
			t.Errorf("ended %s after its deadline", late)
		}
	})
}

func TestWithoutItsImageAnExecutionFailsAndTheNextGoesOn(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason execution.Reason
	}{
		{sandbox.ErrImageUnavailable, execution.ImageUnavailable},
		{sandbox.ErrRefused, execution.StartFailed},
		{sandbox.ErrNetwork, execution.StartFailed},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{Prepare: []error{fmt.Errorf("prepare: %w", c.err)}}))
			h.enter()
			defer h.leave()
			first, second := h.submit("a", sandboxtest.Out("1")), h.submit("a", sandboxtest.Out("2"))
			e := h.ended(first)
			h.expect(e, execution.Failed, c.reason, "")
			if e.Result.ExitCode != nil || !e.Result.StartedAt.IsZero() {
				t.Errorf("what never ran has exit code %v and started at %v", e.Result.ExitCode, e.Result.StartedAt)
			}
			h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
		})
	}
}

func TestASickEngineDelaysAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := fmt.Errorf("call: %w", sandbox.ErrUnavailable)
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{
			Prepare: []error{sick, errors.New("nobody knows"), sick, fmt.Errorf("%w: %w", sandbox.ErrRefused, sick)}, Follow: []error{sick, sick},
		}))
		h.enter()
		defer h.leave()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("in the end"))), execution.Completed, execution.Exited, "in the end")
	})
}

func TestAnAssignmentThatMayHaveArrivedIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{Assign: []error{io.ErrUnexpectedEOF}}))
		h.enter()
		defer h.leave()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("once"))), execution.Completed, execution.Exited, "once")
	})
}

func TestAJobThatIsTooLargeIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{Assign: []error{fmt.Errorf("assign job: %w", journal.ErrTooLarge)}}))
		h.enter()
		defer h.leave()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("never"))), execution.Failed, execution.StartFailed, "")
	})
}

func TestAContainerThatIsRemovedBehindOurBackIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHouse(t, 1, box)
		h.enter()
		defer h.leave()
		id := h.submit("a", sandboxtest.Out("so far"), sandboxtest.Hang())
		time.Sleep(time.Second)
		found, err := box.Berths(t.Context())
		if err != nil || len(found) != 1 {
			t.Fatalf("berths: %v, %v", found, err)
		}
		if err := found[0].Berth.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		e := h.ended(id)
		h.expect(e, execution.Failed, execution.Lost, "so far")
		if e.Result.OutputComplete || e.Result.ExitCode != nil {
			t.Errorf("complete: %t, exit code %v", e.Result.OutputComplete, e.Result.ExitCode)
		}
	})
}

func TestStoppingDetachesAndTheNextStartFollowsToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		id := h.submit("a", sandboxtest.Out("one "), sandboxtest.Sleep(time.Minute), sandboxtest.Out("two"))
		time.Sleep(time.Second)
		h.leave()
		if n := h.berths(); n != 1 {
			t.Fatalf("%d berths go on, want 1", n)
		}
		time.Sleep(10 * time.Second)
		h.enter()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "one two")
		synctest.Wait()
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
		h.leave()
	})
}

func TestARunThatEndedWhileNobodyWatchedIsFinishedFromItsJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		id := h.submit("a", sandboxtest.Sleep(time.Minute), sandboxtest.Out("done"), sandboxtest.Exit(4))
		time.Sleep(time.Second)
		h.leave()
		time.Sleep(time.Hour)
		h.enter()
		defer h.leave()
		e := h.ended(id)
		h.expect(e, execution.Failed, execution.Exited, "done")
		if e.Result.Duration != time.Minute {
			t.Errorf("it took %s", e.Result.Duration)
		}
	})
}

// begun makes a row that says running, with a berth that is in the given state, as a crash would leave it.
func (h *house) begun(id execution.ID, berth string) {
	h.t.Helper()
	if claimed, err := h.store.Claim(h.t.Context(), 1); err != nil || len(claimed) != 1 || claimed[0].ID != id {
		h.t.Fatalf("claim: %v, %v", claimed, err)
	}
	now := time.Now()
	if err := h.store.Start(h.t.Context(), id, execution.Run{
		Berth: berth, Nonce: journal.NewNonce(), StartedAt: now, Deadline: now.Add(time.Hour),
	}); err != nil {
		h.t.Fatal(err)
	}
}

// crashed opens the store, lets do leave something there, and closes it: nobody dispatches.
func (h *house) crashed(do func()) {
	h.t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	var err error
	if h.store, err = store.Open(h.t.Context(), h.dir, store.Defaults(), logrus.NewEntry(log)); err != nil {
		h.t.Fatal(err)
	}
	do()
	if err := h.store.Close(); err != nil {
		h.t.Fatal(err)
	}
}

func TestACrashBeforeTheJobWasSentRunsTheProgramOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHouse(t, 1, box)
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("once"))
			berth, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
			if err != nil {
				t.Fatal(err)
			}
			h.begun(id, berth.ID())
			if err := berth.Stop(t.Context()); err != nil { // the init leaves without a job
				t.Fatal(err)
			}
		})
		h.enter()
		defer h.leave()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "once")
		synctest.Wait()
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
	})
}

func TestARunningRowWithoutAContainerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("never seen"))
			h.begun(id, "berth-gone")
		})
		h.enter()
		defer h.leave()
		h.expect(h.ended(id), execution.Failed, execution.Lost, "")
	})
}

func TestABerthOfAnEarlierPreparationIsNotTakenForTheRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHouse(t, 3, box)
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("second run"))
			var berths []sandbox.Berth
			for range 3 { // before the run's own and after it, in any list
				berth, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
				if err != nil {
					t.Fatal(err)
				}
				berths = append(berths, berth)
			}
			h.begun(id, berths[1].ID())
			job := sandboxtest.Program{sandboxtest.Out("first run")}.Job()
			job.Nonce = h.get(id).Run.Nonce
			if err := berths[1].Assign(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{0, 2} {
				if err := berths[i].Stop(t.Context()); err != nil { // their inits leave without a job
					t.Fatal(err)
				}
			}
		})
		h.enter()
		defer h.leave()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "first run")
		synctest.Wait()
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
	})
}

func TestAContainerWithoutARowIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		for _, name := range []string{string(execution.NewID(time.Now())), "", ""} {
			if _, err := box.Prepare(t.Context(), sandbox.Spec{Execution: name, Image: "player"}); err != nil {
				t.Fatal(err)
			}
		}
		h := newHouse(t, 1, box)
		h.enter()
		defer h.leave()
		synctest.Wait()
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
	})
}

// stubborn is a store whose Finish fails some times.
type stubborn struct {
	dispatch.Store
	failures *int
}

func (s stubborn) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	if *s.failures > 0 {
		*s.failures--
		return fault.New(fault.ServiceUnavailable, "The store cannot be written to.")
	}
	return s.Store.Finish(ctx, id, r, d)
}

func TestAResultThatCannotBeWrittenIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		failures := 5
		h.wrap = func(s dispatch.Store) dispatch.Store { return stubborn{s, &failures} }
		h.enter()
		defer h.leave()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("kept"))), execution.Completed, execution.Exited, "kept")
		if failures != 0 {
			t.Errorf("%d failures were not met", failures)
		}
	})
}

// clinging has berths that take a minute to remove.
type clinging struct{ sandbox.Sandbox }

func (s clinging) Berths(ctx context.Context) ([]sandbox.Found, error) {
	found, err := s.Sandbox.Berths(ctx)
	for i := range found {
		found[i].Berth = clingingBerth{found[i].Berth}
	}
	return found, err
}

type clingingBerth struct{ sandbox.Berth }

func (b clingingBerth) Remove(ctx context.Context) error {
	time.Sleep(time.Minute)
	return b.Berth.Remove(ctx)
}

func TestASecondRunIsHeldAlthoughTheFirstOnesBerthGoesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHouse(t, 2, clinging{box})
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("second"), sandboxtest.Hang())
			berth, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
			if err != nil {
				t.Fatal(err)
			}
			h.begun(id, berth.ID())
			if err := berth.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		h.enter()
		defer h.leave()
		time.Sleep(2 * time.Minute) // the second run goes on, the first one's berth is gone
		if live, ok := h.dispatcher.Live(id, execution.Stdout); !ok || string(live) != "second" {
			t.Errorf("live: %q, %t", live, ok)
		}
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		h.expect(h.ended(id), execution.Cancelled, execution.WasCancelled, "second")
	})
}

// sticky has berths that take a minute to remove, and cannot be at first.
type sticky struct {
	sandbox.Sandbox
	fails *atomic.Int64
}

func (s sticky) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	b, err := s.Sandbox.Prepare(ctx, spec)
	return stickyBerth{b, s.fails}, err
}

type stickyBerth struct {
	sandbox.Berth
	fails *atomic.Int64
}

func (b stickyBerth) Remove(ctx context.Context) error {
	if b.fails.Add(-1) >= 0 {
		return fmt.Errorf("remove: %w", sandbox.ErrUnavailable)
	}
	return clingingBerth{b.Berth}.Remove(ctx)
}

func TestASlotIsFreeWhenTheContainerIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Int64
		fails.Store(3)
		h := newHouse(t, 1, sticky{sandboxtest.New(sandboxtest.Script{}), &fails})
		h.enter()
		defer h.leave()
		first, second := h.submit("a", sandboxtest.Out("1")), h.submit("a", sandboxtest.Out("2"))
		began := time.Now()
		h.expect(h.ended(first), execution.Completed, execution.Exited, "1")
		if took := time.Since(began); took > 0 {
			t.Errorf("its end was written %s after it, want that nothing is waited for", took)
		}
		time.Sleep(time.Minute)
		if state := h.get(second).State; state != execution.Queued {
			t.Errorf("the second is %s although the container of the first is there", state)
		}
		h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
		time.Sleep(2 * time.Minute)
		if n := h.berths(); n != 0 {
			t.Errorf("%d berths are left", n)
		}
	})
}

func TestWhatIsTakenOverHasASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.enter()
		first := h.submit("a", sandboxtest.Sleep(time.Minute))
		second := h.submit("a", sandboxtest.Out("2"))
		time.Sleep(time.Second)
		h.leave()
		h.enter()
		defer h.leave()
		time.Sleep(10 * time.Second)
		if state := h.get(second).State; state != execution.Queued {
			t.Errorf("the second is %s beside the one that was taken over", state)
		}
		h.expect(h.ended(first), execution.Completed, execution.Exited, "")
		h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
	})
}

func TestADeadlineIsCountedFromWhenTheBerthIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, 1, slow{sandboxtest.New(sandboxtest.Script{})})
		h.enter()
		defer h.leave()
		id := h.submit("a", sandboxtest.Sleep(time.Second))
		began := time.Now()
		time.Sleep(1500 * time.Millisecond)
		run := h.get(id).Run
		if run == nil || !run.StartedAt.Equal(began.Add(time.Second)) || !run.Deadline.Equal(run.StartedAt.Add(time.Hour)) {
			t.Errorf("run = %+v, want one that began a second after %s, and an hour for it", run, began)
		}
		h.expect(h.ended(id), execution.Completed, execution.Exited, "")
	})
}
