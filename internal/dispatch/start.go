package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// startBackOff are the pauses between attempts to make a container for one execution when the engine answers with an
// error: eight attempts within two minutes. An engine that fails for less time fails no execution.
var startBackOff = []time.Duration{
	time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute,
}

// prepare makes a container for an execution. It retries temporary errors. The store counts the failures, so a restart
// does not start the count again. Errors: those of Sandbox.Prepare; execution.ErrStale if the execution was cancelled
// meanwhile; those of the store.
func (d *Dispatcher) prepare(ctx context.Context, r *run, spec sandbox.Spec) (sandbox.Container, error) {
	for {
		container, err := d.Sandbox.Prepare(ctx, spec)
		if !errors.Is(err, sandbox.ErrUnavailable) && ctx.Err() == nil {
			d.outage.end()
		}
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return container, err
		}
		failures, countErr := d.Store.CountStartFailure(context.WithoutCancel(ctx), r.execution.ID)
		switch {
		case countErr != nil:
			return nil, countErr
		case failures > len(startBackOff):
			return nil, &exhausted{failures: failures, err: err}
		}
		pause := startBackOff[failures-1]
		d.log(r).WithError(err).WithFields(logrus.Fields{
			"try": failures, "tries": len(startBackOff) + 1, "again_in": pause.String(),
		}).Warn("no container could be made; it is tried again")
		if !d.waitWithoutSlot(ctx, r, pause) {
			return nil, context.Cause(ctx)
		}
	}
}

// temporary tells whether another attempt may succeed although the engine answered with an error.
func temporary(err error) bool {
	for _, other := range []error{sandbox.ErrUnavailable, sandbox.ErrImageUnavailable, sandbox.ErrRefused} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// exhausted is the error of the last attempt.
type exhausted struct {
	failures int
	err      error
}

func (e *exhausted) Error() string { return fmt.Sprintf("after %d failures: %v", e.failures, e.err) }
func (e *exhausted) Unwrap() error { return e.err }

// waitWithoutSlot waits for a pause and lends the slot of the run to other executions meanwhile, so that a language
// whose containers fail does not block the other languages. As many executions as there are slots can wait this way;
// one more keeps its slot. The run has a slot again on return. It returns false if ctx ended.
func (d *Dispatcher) waitWithoutSlot(ctx context.Context, r *run, pause time.Duration) bool {
	if _, ok := d.backingOff.acquire(false); !ok {
		return wait(ctx, pause, r.cancelled)
	}
	defer d.backingOff.release()
	d.slots.release()
	ok := wait(ctx, pause, r.cancelled)
	for ok {
		if _, acquired := d.slots.acquire(r.reserved); acquired {
			return true
		}
		ok = wait(ctx, pollInterval, d.slots.free)
	}
	d.slots.forceAcquire() // unregister releases it
	return false
}

// failPrepare finishes or releases an execution whose container could not be made.
func (d *Dispatcher) failPrepare(ctx context.Context, r *run, err error) {
	fail := func(kind string, reason execution.Reason, sentence string) {
		d.log(r).WithError(err).WithField("kind", kind).Error("no container could be made")
		d.finish(ctx, r, neverRan(failed(reason, nil, sentence)))
	}
	name := r.language.Name
	var spent *exhausted
	switch {
	case ctx.Err() != nil, errors.Is(err, sandbox.ErrUnavailable):
		d.release(ctx, r, err)
	case errors.Is(err, execution.ErrStale): // the execution was cancelled meanwhile and has its result
	case errors.Is(err, sandbox.ErrImageUnavailable):
		fail("image", execution.ImageUnavailable, r.language.NoImage())
	case errors.Is(err, sandbox.ErrNetwork):
		fail("network", execution.StartFailed, fmt.Sprintf("The network of the language %q is not proven to be "+
			"closed, so nothing was started on it; the operator has to run boomerang network check.", name))
	case errors.Is(err, sandbox.ErrRefused):
		fail("refused", execution.StartFailed, fmt.Sprintf("The container engine refused a container of the language "+
			"%q and would refuse it again; the operator finds the cause in the log.", name))
	case errors.As(err, &spent):
		fail("failing", execution.StartFailed, fmt.Sprintf("The container engine failed %d times to start a container "+
			"of the language %q; the operator finds the cause in the log.", spent.failures, name))
	default: // an error of the store
		d.release(ctx, r, err)
	}
}

// release puts an execution back into the queue because of a temporary cause. It waits in the slot first, so that a
// failing engine or store is not called in a tight loop.
func (d *Dispatcher) release(ctx context.Context, r *run, cause error) {
	if ctx.Err() == nil {
		pause := retryPause
		if errors.Is(cause, sandbox.ErrUnavailable) {
			pause = d.outage.pause(time.Now())
		}
		d.log(r).WithError(cause).WithField("again_in", pause.String()).Warn("execution goes back into the queue")
		wait(ctx, pause, nil)
	}
	err := d.Store.Release(context.WithoutCancel(ctx), r.execution.ID)
	if err != nil && !errors.Is(err, execution.ErrStale) {
		d.log(r).WithError(err).Warn("release claim")
	}
}

// outage is the time during which the engine does not answer.
type outage struct {
	mu    sync.Mutex // guards since
	since time.Time  // zero while the engine answers
}

// maxOutagePause bounds how long the recovery of the engine goes unnoticed.
const maxOutagePause = 8 * time.Second

// pause returns the time until the next call to the engine: a quarter of the outage so far, 1 s to 8 s.
func (o *outage) pause(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = now
	}
	return min(max(now.Sub(o.since)/4, retryPause), maxOutagePause).Truncate(retryPause)
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = time.Time{}
}
