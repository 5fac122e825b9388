package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// stopGrace is how long after its deadline a run may go on before the dispatcher stops it, in case the init does not
// enforce the deadline.
const stopGrace = 10 * time.Second

// conclude follows a container to its end, writes the result, and removes the container. Runs that this process started
// and runs that it adopted share it.
func (d *Dispatcher) conclude(ctx context.Context, r *run, container sandbox.Container) {
	for {
		v, ok := d.follow(ctx, r, container)
		if !ok {
			return // detached: the container keeps running, and the next process follows it
		}
		if v.neverStarted() && !v.cancelled {
			d.retryUnstarted(ctx, r, container)
			return
		}
		res := result(r, v)
		res.Workspace = d.workspaceResult(ctx, r, v)
		switch err := d.storeResult(ctx, r, res); {
		case err == nil:
			d.removeContainer(ctx, r, container)
			return
		case !errors.Is(err, execution.ErrBlobGone):
			return
		}
		r.files.forget() // the journal still has the files
	}
}

// follow reads the journal to its end, through any failure of the engine, and stops the container if the execution is
// cancelled or overdue. It returns false if ctx ended first.
func (d *Dispatcher) follow(ctx context.Context, r *run, container sandbox.Container) (v evidence, ok bool) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	var cancelled, overdue bool
	watch.Go(func() { cancelled, overdue = d.stopOnDemand(ctx, r, container, done) })
	if d.Publisher != nil {
		watch.Go(func() { d.publish(ctx, r, done) })
	}
	ok = d.readJournal(ctx, r, container, &v)
	close(done)
	watch.Wait()
	v.cancelled, v.overdue = cancelled, overdue
	return v, ok
}

// readJournal reads the journal until one pass succeeds; false if ctx ended first.
func (d *Dispatcher) readJournal(ctx context.Context, r *run, container sandbox.Container, v *evidence) bool {
	for {
		r.stdout.Rewind()
		r.stderr.Rewind()
		r.files.rewind()
		var outcome sandbox.Outcome
		err := d.readExisting(ctx, r)
		if err == nil {
			outcome, err = container.Follow(ctx, r.execution.Run.Nonce, r.stdout, r.stderr, r.files)
		}
		if err == nil {
			crash.Point("after-follow")
		}
		switch {
		case err == nil && r.files.err == nil:
			v.outcome = outcome
			return true
		case err == nil:
			err = fmt.Errorf("store files: %w", r.files.err)
		case ctx.Err() != nil:
			return false
		case errors.Is(err, sandbox.ErrGone):
			v.gone = true
			return true
		}
		d.log(r).WithError(err).Warn("follow container")
		if !wait(ctx, retryPause, nil) {
			return false
		}
	}
}

// stopOnDemand stops the container when a client cancels the execution or the execution is overdue, and returns which
// of the two happened; neither if done is closed or ctx ends first.
func (d *Dispatcher) stopOnDemand(
	ctx context.Context, r *run, container sandbox.Container, done <-chan struct{},
) (cancelled, overdue bool) {
	timer := time.NewTimer(time.Until(r.execution.Run.Deadline.Add(stopGrace + r.collectTime)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-done:
		return false, false
	case <-r.cancelled:
		cancelled = true
	case <-timer.C:
		overdue = true
	}
	for {
		err := container.Stop(ctx)
		crash.Point("after-stop")
		if err == nil {
			return cancelled, overdue
		}
		d.log(r).WithError(err).Warn("stop container")
		if !wait(ctx, retryPause, done) {
			return cancelled, overdue
		}
		select {
		case <-done:
			return cancelled, overdue
		default:
		}
	}
}

// retryUnstarted requeues an execution whose container did not start the program. These failures and those of prepare
// count together.
func (d *Dispatcher) retryUnstarted(ctx context.Context, r *run, container sandbox.Container) {
	failures, err := d.Store.CountStartFailure(context.WithoutCancel(ctx), r.execution.ID)
	if err != nil {
		d.log(r).WithError(err).Warn("count start failure")
	}
	if failures <= len(startBackOff) {
		// A restart of this process may have caused the first failure, so there is no pause after it.
		if failures < 2 || d.waitWithoutSlot(ctx, r, startBackOff[failures-2]) {
			d.requeue(ctx, r, container)
		}
		return
	}
	res := neverRan(failed(execution.StartFailed, nil, fmt.Sprintf("Containers of the language %q were started and "+
		"took no program, %d times; the operator finds the cause in the log.", r.execution.Language, failures)))
	if d.finish(ctx, r, res) {
		d.removeContainer(ctx, r, container)
	}
}

// requeue queues an execution again whose program did not start, and removes its container.
func (d *Dispatcher) requeue(ctx context.Context, r *run, container sandbox.Container) {
	d.log(r).Warn("the program never started; it is queued again")
	err := d.persist(ctx, r, "requeue execution", func() error {
		crash.Point("before-requeue")
		defer crash.Point("after-requeue")
		return d.Store.Requeue(ctx, r.execution.ID)
	})
	if err == nil || errors.Is(err, execution.ErrStale) {
		d.removeContainer(ctx, r, container)
	}
}
