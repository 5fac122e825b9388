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

func TestAnExecutionGetsItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		e := h.ended(h.submit("a", sandboxtest.Out("hello\n"), sandboxtest.Sleep(3*time.Second),
			sandboxtest.Err("oh"), sandboxtest.Exit(3)))
		h.expect(e, execution.Failed, execution.Exited, "hello\n")
		if *e.Result.ExitCode != 3 || string(e.Result.Stderr.Head) != "oh" || !e.Result.OutputComplete ||
			e.Result.Duration != 3*time.Second {
			t.Errorf("got %+v", e.Result)
		}
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}

func TestManyExecutionsOfOneSubjectDoNotStarveAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
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
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		first := h.submit("a", sandboxtest.Sleep(time.Minute))
		second := h.submit("a", sandboxtest.Out("never"))
		synctest.Wait()
		e, err := h.store.Cancel(t.Context(), second, time.Now(), payload.Cancelled)
		if err != nil {
			t.Fatal(err)
		}
		h.expect(e, execution.Cancelled, execution.WasCancelled, "")
		if e.Result.ExitCode != nil || !e.Result.StartedAt.IsZero() {
			t.Errorf("an execution that never ran has exit code %v and started at %v",
				e.Result.ExitCode, e.Result.StartedAt)
		}
		h.expect(h.ended(first), execution.Completed, execution.Exited, "")
	})
}

func TestACancelledRunningExecutionKeepsItsOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
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

// slowSandbox needs a second to prepare a container.
type slowSandbox struct{ sandbox.Sandbox }

func (s slowSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	time.Sleep(time.Second)
	return s.Sandbox.Prepare(ctx, spec)
}

func TestACancelDuringPreparationLeavesNoContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, slowSandbox{sandboxtest.New(sandboxtest.Script{})})
		h.start()
		defer h.shutdown()
		id := h.submit("a", sandboxtest.Out("never"))
		time.Sleep(500 * time.Millisecond)
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		h.expect(h.get(id), execution.Cancelled, execution.WasCancelled, "")
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
		h.expect(h.ended(h.submit("a", sandboxtest.Out("next"))), execution.Completed, execution.Exited, "next")
	})
}

func TestADeadlineEndsTheProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		e := h.ended(h.submit("a", sandboxtest.Out("until then"), sandboxtest.IgnoreTerm(), sandboxtest.Hang()))
		h.expect(e, execution.Timeout, execution.TimedOut, "until then")
		if *e.Result.ExitCode != 124 || e.Result.Duration < time.Hour {
			t.Errorf("exit code %d after %s", *e.Result.ExitCode, e.Result.Duration)
		}
	})
}

// lateSandbox has an init that does not enforce deadlines.
type lateSandbox struct{ sandbox.Sandbox }

func (s lateSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	b, err := s.Sandbox.Prepare(ctx, spec)
	return lateContainer{b}, err
}

type lateContainer struct{ sandbox.Container }

func (b lateContainer) Assign(ctx context.Context, job journal.Job) error {
	job.Timeout *= 100
	return b.Container.Assign(ctx, job)
}

func TestAnInitThatIgnoresTheDeadlineIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, lateSandbox{sandboxtest.New(sandboxtest.Script{})})
		h.start()
		defer h.shutdown()
		begin := time.Now()
		h.expect(h.ended(h.submit("a", sandboxtest.Hang())), execution.Timeout, execution.TimedOut, "")
		if late := time.Since(begin) - time.Hour; late < 0 || late > time.Minute {
			t.Errorf("ended %s after its deadline", late)
		}
	})
}

func TestAPermanentPrepareErrorFailsOnlyThatExecution(t *testing.T) {
	for _, c := range []struct {
		err    error
		reason execution.Reason
	}{
		{sandbox.ErrImageUnavailable, execution.ImageUnavailable},
		{sandbox.ErrRefused, execution.StartFailed},
		{sandbox.ErrNetwork, execution.StartFailed},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, 1,
				sandboxtest.New(sandboxtest.Script{Prepare: []error{fmt.Errorf("prepare: %w", c.err)}}))
			h.start()
			defer h.shutdown()
			first, second := h.submit("a", sandboxtest.Out("1")), h.submit("a", sandboxtest.Out("2"))
			e := h.ended(first)
			h.expect(e, execution.Failed, c.reason, "")
			if e.Result.ExitCode != nil || !e.Result.StartedAt.IsZero() {
				t.Errorf("an execution that never ran has exit code %v and started at %v",
					e.Result.ExitCode, e.Result.StartedAt)
			}
			h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
		})
	}
}

// The catalogue changed after the submission.
func TestAnExecutionIsNotStartedOnANetworkThatItsLanguageDoesNotHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		steps := []sandboxtest.Step{sandboxtest.Out("ran")}
		e := h.ended(h.enqueue("a", execution.Options{Network: "egress"}, steps))
		h.expect(e, execution.Failed, execution.StartFailed, "")
		if want := `The language "play" does not have the network "egress" any more.`; e.Result.Error != want {
			t.Errorf("got the error %q, want %q", e.Result.Error, want)
		}
		e = h.ended(h.enqueue("a", execution.Options{Network: "none"}, steps))
		h.expect(e, execution.Completed, execution.Exited, "ran")
	})
}

func TestAFailingEngineDelaysAnExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := fmt.Errorf("call: %w", sandbox.ErrUnavailable)
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{
			Prepare: []error{sick, errors.New("unknown"), sick, fmt.Errorf("%w: %w", sandbox.ErrRefused, sick)},
			Follow:  []error{sick, sick},
		}))
		h.start()
		defer h.shutdown()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("in the end"))),
			execution.Completed, execution.Exited, "in the end")
	})
}

func TestAnAssignErrorDoesNotEndTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{Assign: []error{io.ErrUnexpectedEOF}}))
		h.start()
		defer h.shutdown()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("once"))), execution.Completed, execution.Exited, "once")
	})
}

func TestATooLargeJobIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1,
			sandboxtest.New(sandboxtest.Script{Assign: []error{fmt.Errorf("assign job: %w", journal.ErrTooLarge)}}))
		h.start()
		defer h.shutdown()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("never"))), execution.Failed, execution.StartFailed, "")
	})
}

func TestAnExecutionWhoseContainerWasRemovedIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		id := h.submit("a", sandboxtest.Out("so far"), sandboxtest.Hang())
		time.Sleep(time.Second)
		found, err := box.Containers(t.Context())
		if err != nil || len(found) != 1 {
			t.Fatalf("containers: %v, %v", found, err)
		}
		if err := found[0].Container.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		e := h.ended(id)
		h.expect(e, execution.Failed, execution.Lost, "so far")
		if e.Result.OutputComplete || e.Result.ExitCode != nil {
			t.Errorf("complete: %t, exit code %v", e.Result.OutputComplete, e.Result.ExitCode)
		}
	})
}

func TestTheNextProcessFollowsARunningContainerToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		id := h.submit("a", sandboxtest.Out("one "), sandboxtest.Sleep(time.Minute), sandboxtest.Out("two"))
		time.Sleep(time.Second)
		h.shutdown()
		if n := h.containers(); n != 1 {
			t.Fatalf("%d containers go on, want 1", n)
		}
		time.Sleep(10 * time.Second)
		h.start()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "one two")
		synctest.Wait()
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
		h.shutdown()
	})
}

func TestARunThatEndedDuringDowntimeIsFinishedFromItsJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		id := h.submit("a", sandboxtest.Sleep(time.Minute), sandboxtest.Out("done"), sandboxtest.Exit(4))
		time.Sleep(time.Second)
		h.shutdown()
		time.Sleep(time.Hour)
		h.start()
		defer h.shutdown()
		e := h.ended(id)
		h.expect(e, execution.Failed, execution.Exited, "done")
		if e.Result.Duration != time.Minute {
			t.Errorf("it took %s", e.Result.Duration)
		}
	})
}

// begun stores an execution as running in a container, as a crash would leave it.
func (h *harness) begun(id execution.ID, container string) {
	h.t.Helper()
	claimed, err := h.store.Claim(h.t.Context(), 1, execution.ClaimLimits{})
	if err != nil || len(claimed) != 1 || claimed[0].ID != id {
		h.t.Fatalf("claim: %v, %v", claimed, err)
	}
	now := time.Now()
	if err := h.store.Start(h.t.Context(), id, execution.Run{
		Container: container, Nonce: journal.NewNonce(), StartedAt: now, Deadline: now.Add(time.Hour),
	}); err != nil {
		h.t.Fatal(err)
	}
}

// crashed opens the store, calls do, and closes the store. No dispatcher runs meanwhile.
func (h *harness) crashed(do func()) {
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

func TestACrashBeforeTheJobRunsTheProgramOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHarness(t, 1, box)
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("once"))
			container, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
			if err != nil {
				t.Fatal(err)
			}
			h.begun(id, container.ID())
			if err := container.Stop(t.Context()); err != nil { // the init exits without a job
				t.Fatal(err)
			}
		})
		h.start()
		defer h.shutdown()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "once")
		synctest.Wait()
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}

func TestARunningExecutionWithoutAContainerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("never seen"))
			h.begun(id, "container-gone")
		})
		h.start()
		defer h.shutdown()
		h.expect(h.ended(id), execution.Failed, execution.Lost, "")
	})
}

func TestAContainerOfAnInterruptedPreparationIsNotTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHarness(t, 3, box)
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("second run"))
			var containers []sandbox.Container
			for range 3 { // one before and one after the container of the run
				container, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
				if err != nil {
					t.Fatal(err)
				}
				containers = append(containers, container)
			}
			h.begun(id, containers[1].ID())
			job := sandboxtest.Program{sandboxtest.Out("first run")}.Job()
			job.Nonce = h.get(id).Run.Nonce
			if err := containers[1].Assign(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			for _, i := range []int{0, 2} {
				if err := containers[i].Stop(t.Context()); err != nil { // their inits exit without a job
					t.Fatal(err)
				}
			}
		})
		h.start()
		defer h.shutdown()
		h.expect(h.ended(id), execution.Completed, execution.Exited, "first run")
		synctest.Wait()
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}

func TestAContainerWithoutAnExecutionIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		for _, name := range []string{string(execution.NewID(time.Now())), "", ""} {
			if _, err := box.Prepare(t.Context(), sandbox.Spec{Execution: name, Image: "player"}); err != nil {
				t.Fatal(err)
			}
		}
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		synctest.Wait()
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}

// failingStore is a store whose Finish fails a few times.
type failingStore struct {
	dispatch.Store
	failures *int
}

func (s failingStore) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	if *s.failures > 0 {
		*s.failures--
		return fault.New(fault.ServiceUnavailable, "The store cannot be written to.")
	}
	return s.Store.Finish(ctx, id, r, d)
}

func TestAResultIsWrittenAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		failures := 5
		h.wrap = func(s dispatch.Store) dispatch.Store { return failingStore{s, &failures} }
		h.start()
		defer h.shutdown()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("kept"))), execution.Completed, execution.Exited, "kept")
		if failures != 0 {
			t.Errorf("%d failures did not happen", failures)
		}
	})
}

// slowRemoval adopts containers that take a minute to remove.
type slowRemoval struct{ sandbox.Sandbox }

func (s slowRemoval) Containers(ctx context.Context) ([]sandbox.Found, error) {
	found, err := s.Sandbox.Containers(ctx)
	for i := range found {
		found[i].Container = slowRemovalContainer{found[i].Container}
	}
	return found, err
}

type slowRemovalContainer struct{ sandbox.Container }

func (b slowRemovalContainer) Remove(ctx context.Context) error {
	time.Sleep(time.Minute)
	return b.Container.Remove(ctx)
}

func TestARunIsKnownAlthoughAnEarlierContainerIsRemovedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := sandboxtest.New(sandboxtest.Script{})
		h := newHarness(t, 2, slowRemoval{box})
		var id execution.ID
		h.crashed(func() {
			id = h.submit("a", sandboxtest.Out("second"), sandboxtest.Hang())
			container, err := box.Prepare(t.Context(), sandbox.Spec{Execution: string(id), Image: "player"})
			if err != nil {
				t.Fatal(err)
			}
			h.begun(id, container.ID())
			if err := container.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		h.start()
		defer h.shutdown()
		time.Sleep(2 * time.Minute) // the second run continues; the container of the first is removed
		if live, ok := h.dispatcher.Live(id, execution.Stdout); !ok || string(live) != "second" {
			t.Errorf("live: %q, %t", live, ok)
		}
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		h.expect(h.ended(id), execution.Cancelled, execution.WasCancelled, "second")
	})
}

// failingRemoval makes containers whose removal fails at first and then takes a minute.
type failingRemoval struct {
	sandbox.Sandbox
	fails *atomic.Int64
}

func (s failingRemoval) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	b, err := s.Sandbox.Prepare(ctx, spec)
	return failingRemovalContainer{b, s.fails}, err
}

type failingRemovalContainer struct {
	sandbox.Container
	fails *atomic.Int64
}

func (b failingRemovalContainer) Remove(ctx context.Context) error {
	if b.fails.Add(-1) >= 0 {
		return fmt.Errorf("remove: %w", sandbox.ErrUnavailable)
	}
	return slowRemovalContainer{b.Container}.Remove(ctx)
}

func TestAnAdoptedExecutionHasASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		first := h.submit("a", sandboxtest.Sleep(time.Minute))
		second := h.submit("a", sandboxtest.Out("2"))
		time.Sleep(time.Second)
		h.shutdown()
		h.start()
		defer h.shutdown()
		time.Sleep(10 * time.Second)
		if state := h.get(second).State; state != execution.Queued {
			t.Errorf("the second is %s beside the one that was taken over", state)
		}
		h.expect(h.ended(first), execution.Completed, execution.Exited, "")
		h.expect(h.ended(second), execution.Completed, execution.Exited, "2")
	})
}

func TestADeadlineCountsFromTheStartOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, slowSandbox{sandboxtest.New(sandboxtest.Script{})})
		h.start()
		defer h.shutdown()
		id := h.submit("a", sandboxtest.Sleep(time.Second))
		began := time.Now()
		time.Sleep(1500 * time.Millisecond)
		run := h.get(id).Run
		if run == nil || !run.StartedAt.Equal(began.Add(time.Second)) ||
			!run.Deadline.Equal(run.StartedAt.Add(time.Hour)) {
			t.Errorf("run = %+v, want a start one second after %s and a deadline one hour later", run, began)
		}
		h.expect(h.ended(id), execution.Completed, execution.Exited, "")
	})
}
