package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// pauses come between the tries to make a container for one execution, when the engine answered that it failed: eight tries
// within two minutes. An engine that is unwell for that long costs no execution.
var pauses = []time.Duration{
	time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute,
}

// prepare makes a container for an execution. It retries errors of the kind sandbox.ErrTemporary; the store counts them, so a
// restart does not begin anew. Other errors are returned at once. Errors: those of Sandbox.Prepare; execution.ErrStale when
// the execution was cancelled meanwhile; those of the store.
func (d *Dispatcher) prepare(ctx context.Context, r *run, spec sandbox.Spec) (sandbox.Berth, error) {
	for {
		berth, err := d.Sandbox.Prepare(ctx, spec)
		if !errors.Is(err, sandbox.ErrUnavailable) && ctx.Err() == nil {
			d.silence.end()
		}
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return berth, err
		}
		failures, countErr := d.Store.CountStartFailure(context.WithoutCancel(ctx), r.execution.ID)
		switch {
		case countErr != nil:
			return nil, countErr
		case failures > len(pauses):
			return nil, &exhausted{failures: failures, err: err}
		}
		pause := pauses[failures-1]
		d.log(r).WithError(err).WithFields(logrus.Fields{"try": failures, "tries": len(pauses) + 1, "again_in": pause.String()}).
			Warn("no container could be made; it is tried again")
		if !d.rest(ctx, r, pause) {
			return nil, context.Cause(ctx)
		}
	}
}

// temporary tells whether the engine may recover from an error that it answered.
func temporary(err error) bool {
	for _, other := range []error{sandbox.ErrUnavailable, sandbox.ErrImageUnavailable, sandbox.ErrRefused} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// exhausted is the last of so many failures that no further try is made.
type exhausted struct {
	failures int
	err      error
}

func (e *exhausted) Error() string { return fmt.Sprintf("after %d failures: %v", e.failures, e.err) }
func (e *exhausted) Unwrap() error { return e.err }

// rest waits for a pause without a slot, so that a language whose containers cannot be made does not hold up the others. As
// many executions as there are slots can rest at the same time; one more keeps its slot meanwhile. It returns with a slot;
// false if ctx ended.
func (d *Dispatcher) rest(ctx context.Context, r *run, pause time.Duration) bool {
	if !d.resting.take() {
		return wait(ctx, pause, r.cancelled)
	}
	defer d.resting.free()
	d.slots.free()
	ok := wait(ctx, pause, r.cancelled)
	for ok && !d.slots.take() {
		ok = wait(ctx, idle, d.slots.freed)
	}
	if !ok {
		d.slots.occupy() // the end of the run frees it
	}
	return ok
}

// refuse decides what becomes of an execution for which no container could be made.
func (d *Dispatcher) refuse(ctx context.Context, r *run, err error) {
	lang := language.Language{Name: r.execution.Language}
	if found, err := d.Languages.Find(lang.Name); err == nil {
		lang = found
	}
	fail := func(kind string, reason execution.Reason, sentence string) {
		d.log(r).WithError(err).WithField("kind", kind).Error("no container could be made")
		d.finish(ctx, r, neverRan(failed(reason, nil, sentence)))
	}
	var spent *exhausted
	switch {
	case ctx.Err() != nil, errors.Is(err, sandbox.ErrUnavailable):
		d.release(ctx, r, err)
	case errors.Is(err, execution.ErrStale): // it was cancelled meanwhile, and that is written already
	case errors.Is(err, sandbox.ErrImageUnavailable):
		fail("image", execution.ImageUnavailable, lang.NoImage())
	case errors.Is(err, sandbox.ErrNetwork):
		fail("network", execution.StartFailed, fmt.Sprintf(
			"The network of the language %q is not proven to be closed, so nothing was started on it; the operator has to run boomerang network check.", lang.Name))
	case errors.Is(err, sandbox.ErrRefused):
		fail("refused", execution.StartFailed, fmt.Sprintf(
			"The container engine refused a container of the language %q and would refuse it again; the operator finds the cause in the log.", lang.Name))
	case errors.As(err, &spent):
		fail("failing", execution.StartFailed, fmt.Sprintf(
			"The container engine failed %d times to start a container of the language %q; the operator finds the cause in the log.", spent.failures, lang.Name))
	default: // the store
		d.release(ctx, r, err)
	}
}

// release puts an execution back into the queue for a cause that will pass, and pauses in its slot, so that a sick engine or
// store is not hammered.
func (d *Dispatcher) release(ctx context.Context, r *run, cause error) {
	if ctx.Err() == nil {
		pause := breath
		if errors.Is(cause, sandbox.ErrUnavailable) {
			pause = d.silence.pause(time.Now())
		}
		d.log(r).WithError(cause).WithField("again_in", pause.String()).Warn("execution goes back into the queue")
		wait(ctx, pause, nil)
	}
	if err := d.Store.Release(context.WithoutCancel(ctx), r.execution.ID); err != nil && !errors.Is(err, execution.ErrStale) {
		d.log(r).WithError(err).Warn("release claim")
	}
}

// silence is the time in which the engine does not answer.
type silence struct {
	mu    sync.Mutex // guards since
	since time.Time  // zero: it answers
}

// longestBreath bounds how long an engine that is back goes unnoticed.
const longestBreath = 8 * time.Second

// pause returns how long to wait before the engine is asked again: the longer, the longer it has been silent.
func (s *silence) pause(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		s.since = now
	}
	return min(max(now.Sub(s.since)/4, breath), longestBreath).Truncate(breath)
}

func (s *silence) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Time{}
}
