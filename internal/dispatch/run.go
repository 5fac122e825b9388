package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// margin is how long after its deadline a run is left to its init before it is ended from outside.
const margin = 10 * time.Second

// ceiling bounds what is kept of one stream in memory. The init passes on far less; this holds should it be broken.
const ceiling = 128 << 20

// run is one execution on its way through this room.
type run struct {
	execution      execution.Execution
	stdout, stderr *capture.Buffer
	files          *artifacts
	tree           *tree                      // nil: no workspace is kept
	kept           *execution.WorkspaceLimits // of it; nil: none
	collecting     time.Duration              // how long the init may take for the files, behind the deadline
	head           int64                      // bytes of each stream that are certain to be followed by what comes next

	cancelOnce sync.Once
	cancelled  chan struct{} // closed when somebody asked for its end
}

func (d *Dispatcher) newRun(ctx context.Context, e execution.Execution) *run {
	r := &run{execution: e, cancelled: make(chan struct{}), files: &artifacts{ctx: ctx, blobs: d.Blobs}}
	var usual int64 // bytes of a stream
	if lang, err := d.Languages.Find(e.Language); err == nil {
		limits := lang.Bound(e.Options.Limits)
		r.head, usual = limits.Output, limits.Output+limits.Tail
		if len(e.Options.Artifacts) > 0 {
			r.collecting = language.CollectTime(limits.Artifacts)
		}
		if e.Options.Workspace.Name != "" { // for what is given, before it starts
			r.collecting += language.CollectTime(min(d.Limits.Size, limits.Workspace))
		}
		if e.Options.Workspace.Writes() {
			r.collecting += language.CollectTime(min(d.Limits.Size, limits.Workspace))
			r.kept = &d.Limits
			r.tree = &tree{ctx: ctx, blobs: d.Blobs, limits: d.Limits}
		}
	}
	r.stdout, r.stderr = capture.New(usual, ceiling), capture.New(usual, ceiling)
	if e.CancelRequested {
		r.cancel()
	}
	return r
}

func (r *run) cancel() { r.cancelOnce.Do(func() { close(r.cancelled) }) }

func (r *run) buffer(stream execution.Stream) *capture.Buffer {
	if stream == execution.Stderr {
		return r.stderr
	}
	return r.stdout
}

// execute takes a claimed execution from the queue to its result.
func (d *Dispatcher) execute(ctx context.Context, r *run) {
	spec, job, err := d.plan(r)
	if err != nil {
		d.log(r).WithError(err).Error("plan execution")
		d.finish(ctx, r, neverRan(failed(execution.StartFailed, nil,
			"The language or the code of this execution is not available any more.")))
		return
	}
	berth, err := d.prepare(ctx, r, spec)
	if err != nil {
		d.refuse(ctx, r, err)
		return
	}
	now := time.Now()
	r.execution.Run = &execution.Run{
		Node: d.Node, Epoch: d.Epoch, Berth: berth.ID(), Nonce: job.Nonce,
		StartedAt: now, Deadline: now.Add(r.execution.Timeout),
	}
	if err := d.Store.Start(ctx, r.execution.ID, *r.execution.Run); err != nil {
		d.leave(ctx, r, berth)
		if !errors.Is(err, execution.ErrStale) { // stale: it was cancelled meanwhile, and that is written already
			d.release(ctx, r, err)
		}
		return
	}
	d.log(r).WithFields(logrus.Fields{"status": execution.Running, "berth": berth.ID()}).Info("execution started")
	if err := d.give(ctx, r, &job); err != nil { // nothing was sent
		d.log(r).WithError(err).Warn("assign job")
		wait(ctx, breath, nil)
		d.again(ctx, r, berth)
		return
	}
	err = berth.Assign(ctx, job)
	if errors.Is(err, journal.ErrSource) {
		wait(ctx, breath, nil) // it will be queued again
	}
	if r.execution.Options.Workspace.ReadOnly {
		if err := d.Workspaces.Sent(context.WithoutCancel(ctx), r.execution.ID); err != nil {
			d.log(r).WithError(err).Warn("let go of what was given")
		}
	}
	if errors.Is(err, journal.ErrTooLarge) { // nothing was sent, and would not be the next time
		d.log(r).WithError(err).Error("assign job")
		if d.finish(ctx, r, neverRan(failed(execution.StartFailed, nil, "The code, stdin and files of this execution are too large together."))) {
			d.leave(ctx, r, berth)
		}
		return
	}
	if err != nil {
		// A job that did not arrive whole makes the init leave, one that did makes it run: the journal will tell.
		d.log(r).WithError(err).Warn("assign job")
	}
	d.conclude(ctx, r, berth)
}

// conclude follows a berth to its end, writes the result, and removes the berth. It is the second half of every run,
// be it ours from the beginning or taken over.
func (d *Dispatcher) conclude(ctx context.Context, r *run, berth sandbox.Berth) {
	for {
		v, ok := d.follow(ctx, r, berth)
		if !ok {
			return // detached: the container goes on, the next start follows it
		}
		if v.neverStarted() && !v.cancelled {
			d.unstarted(ctx, r, berth)
			return
		}
		res := result(r, v)
		res.Left = d.left(ctx, r, v)
		switch err := d.write(ctx, r, res); {
		case err == nil:
			d.leave(ctx, r, berth)
			return
		case !errors.Is(err, execution.ErrBlobGone):
			return
		}
		r.files.forget() // the journal has them still
		if r.tree != nil {
			r.tree.forget()
		}
	}
}

// follow reads the journal to its end, through any failure of the engine, and sees to it that the berth ends when
// somebody asked for it or when it is overdue. False: ctx ended first.
func (d *Dispatcher) follow(ctx context.Context, r *run, berth sandbox.Berth) (v evidence, ok bool) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	var cancelled, overdue bool
	watch.Go(func() { cancelled, overdue = d.watch(ctx, r, berth, done) })
	if d.Publisher != nil {
		watch.Go(func() { d.publish(ctx, r, done) })
	}
	ok = d.read(ctx, r, berth, &v)
	close(done)
	watch.Wait()
	v.cancelled, v.overdue = cancelled, overdue
	return v, ok
}

func (d *Dispatcher) read(ctx context.Context, r *run, berth sandbox.Berth, v *evidence) bool {
	for {
		r.stdout.Rewind()
		r.stderr.Rewind()
		r.files.rewind()
		files := journal.Files(r.files)
		err := d.readHad(ctx, r)
		if r.tree != nil {
			r.tree.rewind()
			files = both{r.files, r.tree}
		}
		var outcome sandbox.Outcome
		if err == nil {
			outcome, err = berth.Follow(ctx, r.execution.Run.Nonce, r.stdout, r.stderr, files)
		}
		kept := r.files.err
		if r.tree != nil {
			kept = errors.Join(kept, r.tree.err)
		}
		switch {
		case err == nil && kept == nil:
			v.outcome = outcome
			return true
		case err == nil:
			err = fmt.Errorf("store files: %w", kept)
		case ctx.Err() != nil:
			return false
		case errors.Is(err, sandbox.ErrGone):
			v.gone = true
			return true
		}
		d.log(r).WithError(err).Warn("follow berth")
		if !wait(ctx, breath, nil) {
			return false
		}
	}
}

// watch waits for a reason to end a berth from outside and ends it; it tells which reason there was.
func (d *Dispatcher) watch(ctx context.Context, r *run, berth sandbox.Berth, done <-chan struct{}) (cancelled, overdue bool) {
	timer := time.NewTimer(time.Until(r.execution.Run.Deadline.Add(margin + r.collecting)))
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
		err := berth.Stop(ctx)
		if err == nil {
			return cancelled, overdue
		}
		d.log(r).WithError(err).Warn("stop berth")
		if !wait(ctx, breath, done) {
			return cancelled, overdue
		}
		select {
		case <-done:
			return cancelled, overdue
		default:
		}
	}
}

// unstarted puts back an execution whose container took no program. The tries are bounded together with those of prepare.
func (d *Dispatcher) unstarted(ctx context.Context, r *run, berth sandbox.Berth) {
	failures, err := d.Store.CountStartFailure(context.WithoutCancel(ctx), r.execution.ID)
	if err != nil {
		d.log(r).WithError(err).Warn("count start failure")
	}
	if failures <= len(pauses) {
		if failures < 2 || d.rest(ctx, r, pauses[failures-2]) { // the first may be our own restart
			d.again(ctx, r, berth)
		}
		return
	}
	res := neverRan(failed(execution.StartFailed, nil, fmt.Sprintf(
		"Containers of the language %q were started and took no program, %d times; the operator finds the cause in the log.",
		r.execution.Language, failures)))
	if d.finish(ctx, r, res) {
		d.leave(ctx, r, berth)
	}
}

// again puts back an execution of which the journal proves that it never started.
func (d *Dispatcher) again(ctx context.Context, r *run, berth sandbox.Berth) {
	d.log(r).Warn("the program never started; it is queued again")
	err := d.persist(ctx, r, "requeue execution", func() error { return d.Store.Requeue(ctx, r.execution.ID) })
	if err == nil || errors.Is(err, execution.ErrStale) {
		d.leave(ctx, r, berth)
	}
}

// finish writes the result and the pending delivery. False: it could not be written before ctx ended, and the next
// start will read the journal again.
func (d *Dispatcher) finish(ctx context.Context, r *run, res execution.Result) bool {
	return d.write(ctx, r, res) == nil
}

func (d *Dispatcher) write(ctx context.Context, r *run, res execution.Result) error {
	if res.Artifacts == nil {
		res.Artifacts = noArtifacts(r.execution)
	}
	if res.Left == nil {
		res.Left = notChanged(r.execution)
	}
	delivery := d.Payload.delivery(r.execution, res)
	err := d.persist(ctx, r, "finish execution", func() error {
		return d.Store.Finish(ctx, r.execution.ID, res, delivery)
	})
	if err == nil {
		d.log(r).WithFields(logrus.Fields{
			"status": res.State, "reason": res.Reason, "duration_ms": res.Duration.Milliseconds(),
		}).Info("execution ended")
	}
	if errors.Is(err, execution.ErrStale) {
		return nil
	}
	return err
}

// persist repeats a write until the store takes it, or says that the row has moved on (ErrStale) or that what it refers to is
// gone (ErrBlobGone), or ctx ends.
func (d *Dispatcher) persist(ctx context.Context, r *run, act string, write func() error) error {
	for {
		err := write()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d.log(r).WithError(err).Warn(act)
		if errors.Is(err, execution.ErrStale) || errors.Is(err, execution.ErrBlobGone) || !wait(ctx, breath, nil) {
			return err
		}
	}
}

// leave destroys the berth. A berth that cannot be destroyed keeps its slot.
func (d *Dispatcher) leave(ctx context.Context, r *run, berth sandbox.Berth) {
	for {
		err := berth.Remove(context.WithoutCancel(ctx))
		if err == nil {
			return
		}
		d.log(r).WithError(err).Warn("remove berth")
		if !wait(ctx, breath, nil) {
			return
		}
	}
}

func (d *Dispatcher) log(r *run) *logrus.Entry {
	return d.Log.WithFields(logrus.Fields{"execution_id": r.execution.ID, "language": r.execution.Language})
}
