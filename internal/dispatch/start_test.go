package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// countingSandbox counts the calls of Prepare and fails some of them.
type countingSandbox struct {
	sandbox.Sandbox
	refuse func(spec sandbox.Spec, n int) error // no call fails if nil

	mu    sync.Mutex // guards calls
	calls []time.Time
}

func (c *countingSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	c.mu.Lock()
	c.calls = append(c.calls, time.Now())
	n := len(c.calls)
	c.mu.Unlock()
	if c.refuse != nil {
		if err := c.refuse(spec, n); err != nil {
			return nil, err
		}
	}
	return c.Sandbox.Prepare(ctx, spec)
}

func (c *countingSandbox) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// first fails the first n calls, all calls for n < 0.
func first(n int, err error) func(sandbox.Spec, int) error {
	return func(_ sandbox.Spec, i int) error {
		if n < 0 || i <= n {
			return fmt.Errorf("create container: %w", err)
		}
		return nil
	}
}

func TestTheKindOfAnErrorDecidesHowOftenAStartIsRetried(t *testing.T) {
	unknown := errors.New("unknown")
	for name, c := range map[string]struct {
		err      error
		failures int // number of failing calls of Prepare; all for < 0
		reason   execution.Reason
		calls    int
		took     time.Duration // from the submission to the end, in whole seconds; any if negative
		says     string
	}{
		"refused once":        {sandbox.ErrRefused, 1, execution.StartFailed, 1, 0, "refused"},
		"refused for good":    {sandbox.ErrRefused, -1, execution.StartFailed, 1, 0, "refused"},
		"the network is open": {sandbox.ErrNetwork, -1, execution.StartFailed, 1, 0, "not proven to be closed"},
		"no image":            {sandbox.ErrImageUnavailable, -1, execution.ImageUnavailable, 1, 0, "image"},
		"no image, by a refusal": {
			errors.Join(sandbox.ErrImageUnavailable, sandbox.ErrRefused), -1,
			execution.ImageUnavailable, 1, 0, "image",
		},
		"failed once":        {sandbox.ErrTemporary, 1, execution.Exited, 2, time.Second, ""},
		"failed three times": {sandbox.ErrTemporary, 3, execution.Exited, 4, 7 * time.Second, ""},
		"failed seven times": {sandbox.ErrTemporary, 7, execution.Exited, 8, 2 * time.Minute, ""},
		"failed eight times": {
			sandbox.ErrTemporary, 8, execution.StartFailed, 8,
			2 * time.Minute, "failed 8 times",
		},
		"fails for good": {
			sandbox.ErrTemporary, -1, execution.StartFailed, 8,
			2 * time.Minute, "failed 8 times",
		},
		"unknown for good":    {unknown, -1, execution.StartFailed, 8, 2 * time.Minute, "failed 8 times"},
		"away for 1000 calls": {sandbox.ErrUnavailable, 1000, execution.Exited, 1001, -1, ""},
		"away, and refused as well": {
			errors.Join(sandbox.ErrUnavailable, sandbox.ErrRefused),
			20, execution.Exited, 21, -1, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := &countingSandbox{
					Sandbox: sandboxtest.New(sandboxtest.Script{}),
					refuse:  first(c.failures, c.err),
				}
				h := newHarness(t, 1, box)
				h.start()
				defer h.shutdown()
				begin := time.Now()
				e := h.ended(h.submit("a", sandboxtest.Out("1")))
				took := time.Since(begin).Truncate(time.Second)
				if e.Result.Reason != c.reason || box.count() != c.calls || c.took >= 0 && took != c.took {
					t.Errorf("%s after %d calls and %s; want %s after %d calls and %s",
						e.Result.Reason, box.count(), took, c.reason, c.calls, c.took)
				}
				if !strings.Contains(e.Result.Error, c.says) || strings.Contains(e.Result.Error, "create container") {
					t.Errorf("the sentence is %q; want one with %q and without the engine's words",
						e.Result.Error, c.says)
				}
			})
		})
	}
}

func TestALongOutageIsPolledLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &countingSandbox{
			Sandbox: sandboxtest.New(sandboxtest.Script{}),
			refuse:  first(-1, sandbox.ErrUnavailable),
		}
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		h.submit("a", sandboxtest.Out("1"))
		<-time.After(10 * time.Second)
		soon := box.count()
		<-time.After(50 * time.Second)
		before := box.count()
		<-time.After(80 * time.Second)
		if late := box.count() - before; soon < 8 || late > 11 {
			t.Errorf("asked %d times in the first ten seconds and %d times in 80 s after a minute; "+
				"want once a second, then every eight", soon, late)
		}
	})
}

func TestANewOutageIsPolledOftenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		second := begin.Add(10 * time.Minute)
		box := &countingSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{}), refuse: func(sandbox.Spec, int) error {
			if now := time.Now(); now.Before(begin.Add(2*time.Minute)) || !now.Before(second) {
				return sandbox.ErrUnavailable
			}
			return nil
		}}
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		h.expect(h.ended(h.submit("a", sandboxtest.Out("1"))), execution.Completed, execution.Exited, "1")
		<-time.After(time.Until(second))
		before := box.count()
		h.submit("a", sandboxtest.Out("2"))
		<-time.After(10 * time.Second)
		if n := box.count() - before; n < 8 {
			t.Errorf("asked %d times in the first ten seconds of the second silence, want once a second", n)
		}
	})
}

func TestARestartDoesNotResetTheStartFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &countingSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{}), refuse: first(-1, sandbox.ErrTemporary)}
		h := newHarness(t, 1, box)
		h.start()
		id := h.submit("a", sandboxtest.Out("1"))
		for range 20 { // each process lives for a second
			<-time.After(1500 * time.Millisecond)
			h.shutdown()
			h.start()
		}
		defer h.shutdown()
		if e := h.ended(id); e.Result.Reason != execution.StartFailed || box.count() != 8 {
			t.Errorf("%s after %d calls, want %s after 8", e.Result.Reason, box.count(), execution.StartFailed)
		}
	})
}

func TestALanguageThatCannotStartDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		bad := map[string]bool{}
		box := &countingSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{})}
		box.refuse = func(spec sandbox.Spec, _ int) error {
			mu.Lock()
			defer mu.Unlock()
			if bad[spec.Execution] {
				return sandbox.ErrTemporary
			}
			return nil
		}
		h := newHarness(t, 2, box)
		h.start()
		defer h.shutdown()
		mu.Lock()
		var ids []execution.ID
		for range 2 {
			id := h.submit("a", sandboxtest.Out("bad"))
			bad[string(id)] = true
			ids = append(ids, id)
		}
		mu.Unlock()
		<-time.After(5 * time.Second)
		begin := time.Now()
		var good []execution.ID
		for range 4 {
			good = append(good, h.submit("b", sandboxtest.Out("good"), sandboxtest.Sleep(time.Second)))
		}
		for _, id := range good {
			h.expect(h.ended(id), execution.Completed, execution.Exited, "good")
		}
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("four executions of a second in two slots took %s beside two that cannot start", took)
		}
		for _, id := range ids {
			h.expect(h.ended(id), execution.Failed, execution.StartFailed, "")
		}
	})
}

func TestManyFailingStartsKeepTheNumberOfSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &countingSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{}), refuse: first(-1, sandbox.ErrTemporary)}
		h := newHarness(t, 2, box)
		h.start()
		defer h.shutdown()
		var ids []execution.ID
		for range 20 {
			ids = append(ids, h.submit("a", sandboxtest.Out("1")))
		}
		for _, id := range ids {
			h.expect(h.ended(id), execution.Failed, execution.StartFailed, "")
		}
		if box.count() != 8*len(ids) {
			t.Errorf("%d calls for %d executions, want 8 for each", box.count(), len(ids))
		}
		synctest.Wait()
		box.mu.Lock()
		box.refuse = nil
		box.mu.Unlock()
		begin := time.Now()
		ids = ids[:0]
		for range 4 {
			ids = append(ids, h.submit("a", sandboxtest.Sleep(time.Second)))
		}
		for _, id := range ids {
			h.expect(h.ended(id), execution.Completed, execution.Exited, "")
		}
		if took := time.Since(begin).Truncate(time.Second); took != 2*time.Second {
			t.Errorf("four executions of a second in two slots took %s: slots were lost or gained", took)
		}
	})
}

func TestACancelDuringStartRetriesTakesEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &countingSandbox{Sandbox: sandboxtest.New(sandboxtest.Script{}), refuse: first(-1, sandbox.ErrTemporary)}
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		id := h.submit("a", sandboxtest.Out("1"))
		<-time.After(5 * time.Second)
		if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
			t.Fatal(err)
		}
		<-time.After(5 * time.Minute)
		h.expect(h.get(id), execution.Cancelled, execution.WasCancelled, "")
		if n := box.count(); n != 4 {
			t.Errorf("%d calls, want three before the cancel and the one that finds out", n)
		}
	})
}

// joblessSandbox makes containers whose init exits without a job.
type joblessSandbox struct{ sandbox.Sandbox }

func (s joblessSandbox) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	b, err := s.Sandbox.Prepare(ctx, spec)
	return joblessContainer{b}, err
}

type joblessContainer struct{ sandbox.Container }

func (joblessContainer) Assign(context.Context, journal.Job) error {
	return errors.New("connection reset")
}

func (joblessContainer) Follow(
	context.Context, string, io.Writer, io.Writer, journal.FileSink,
) (sandbox.Outcome, error) {
	return sandbox.Outcome{ExitCode: journal.ExitNoJob}, nil
}

func TestContainersThatNeverStartTheProgramFailTheExecution(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &countingSandbox{Sandbox: joblessSandbox{sandboxtest.New(sandboxtest.Script{})}}
		h := newHarness(t, 1, box)
		h.start()
		defer h.shutdown()
		e := h.ended(h.submit("a", sandboxtest.Out("never")))
		h.expect(e, execution.Failed, execution.StartFailed, "")
		if box.count() != 8 || h.containers() != 0 || !strings.Contains(e.Result.Error, "8 times") {
			t.Errorf("%d containers were made, %d are left, %q; want 8 and none",
				box.count(), h.containers(), e.Result.Error)
		}
	})
}
