package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/capture"
	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// streamCeiling bounds the bytes of one stream in memory. The init sends far less; the bound holds if the init is
// broken.
const streamCeiling = 128 << 20

// run is one execution on its way through the dispatcher.
type run struct {
	execution   execution.Execution
	language    language.Language
	languageErr error // not nil if the catalogue does not have the language
	reserved    bool  // started in the reserve

	stdout, stderr *capture.Buffer
	files          *fileCollector
	workspace      *workspaceRules // nil if the execution writes to no workspace
	head           int64           // bytes at the start of each stream that cannot belong to the tail
	collectTime    time.Duration   // how long after the deadline the init may still send files

	cancelOnce sync.Once
	cancelled  chan struct{} // closed when a client cancelled the execution
}

func (d *Dispatcher) newRun(ctx context.Context, e execution.Execution) *run {
	r := &run{
		execution: e, cancelled: make(chan struct{}),
		files: &fileCollector{ctx: ctx, blobs: d.Blobs, artifacts: &collection{rules: artifactRules{}}},
	}
	var usual int64 // bytes of a stream
	if r.language, r.languageErr = d.Languages.Find(e.Language); r.languageErr == nil {
		limits := r.language.Bound(e.Options.Limits)
		r.head, usual = limits.Output, limits.Output+limits.Tail
		if len(e.Options.Artifacts) > 0 {
			r.collectTime = language.CollectTime(limits.Artifacts)
		}
		workspaceTime := language.CollectTime(min(d.Limits.Size, limits.Workspace))
		if e.Options.Workspace.Name != "" { // the init receives the workspace before the program starts
			r.collectTime += workspaceTime
		}
		if e.Options.Workspace.Writes() {
			r.collectTime += workspaceTime
			r.workspace = &workspaceRules{limits: d.Limits}
			r.files.workspace = &collection{rules: r.workspace}
		}
	}
	r.stdout, r.stderr = capture.New(usual, streamCeiling), capture.New(usual, streamCeiling)
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

// execute runs a claimed execution and writes its result.
func (d *Dispatcher) execute(ctx context.Context, r *run) {
	spec, job, err := d.plan(r)
	if err != nil {
		d.log(r).WithError(err).Error("plan execution")
		sentence := "The language or the code of this execution is not available any more."
		if errors.Is(err, errNetwork) {
			sentence = fmt.Sprintf("The language %q does not have the network %q any more.", r.language.Name,
				r.execution.Options.Network)
		}
		d.finish(ctx, r, neverRan(failed(execution.StartFailed, nil, sentence)))
		return
	}
	container, err := d.prepare(ctx, r, spec)
	if err != nil {
		d.failPrepare(ctx, r, err)
		return
	}
	if err := d.start(ctx, r, container, job.Nonce); err != nil {
		d.removeContainer(ctx, r, container)
		if !errors.Is(err, execution.ErrStale) { // a stale execution was cancelled meanwhile and has its result
			d.release(ctx, r, err)
		}
		return
	}
	if d.assign(ctx, r, container, job) {
		d.conclude(ctx, r, container)
	}
}

// start writes that the program may run from now on.
func (d *Dispatcher) start(ctx context.Context, r *run, container sandbox.Container, nonce string) error {
	now := time.Now()
	r.execution.Run = &execution.Run{
		Node: d.Node, Epoch: d.Epoch, Container: container.ID(), Nonce: nonce,
		StartedAt: now, Deadline: now.Add(r.execution.Timeout),
	}
	crash.Point("before-start")
	err := d.Store.Start(ctx, r.execution.ID, *r.execution.Run)
	crash.Point("after-start")
	if err != nil {
		return err
	}
	d.log(r).WithFields(logrus.Fields{"status": execution.Running, "container": container.ID()}).
		Info("execution started")
	return nil
}

// assign sends the job to the container. It returns true if the journal of the container has to be read: the job, or a
// part of it, may have arrived. Otherwise assign has finished or requeued the execution.
func (d *Dispatcher) assign(ctx context.Context, r *run, container sandbox.Container, job journal.Job) bool {
	if err := d.addWorkspace(ctx, r, &job); err != nil {
		d.log(r).WithError(err).Warn("assign job")
		wait(ctx, retryPause, nil)
		d.requeue(ctx, r, container)
		return false
	}
	err := container.Assign(ctx, job)
	crash.Point("after-assign")
	if errors.Is(err, journal.ErrSource) { // conclude will requeue the execution
		wait(ctx, retryPause, nil)
	}
	if r.execution.Options.Workspace.ReadOnly {
		if err := d.Workspaces.ReleaseSnapshot(context.WithoutCancel(ctx), r.execution.ID); err != nil {
			d.log(r).WithError(err).Warn("release workspace snapshot")
		}
	}
	if errors.Is(err, journal.ErrTooLarge) { // nothing was sent, and another attempt would fail as well
		d.log(r).WithError(err).Error("assign job")
		res := neverRan(failed(execution.StartFailed, nil,
			"The code, stdin and files of this execution are too large together."))
		if d.finish(ctx, r, res) {
			d.removeContainer(ctx, r, container)
		}
		return false
	}
	if err != nil {
		// A partial job makes the init exit; a whole job makes it run the program. The journal tells which happened.
		d.log(r).WithError(err).Warn("assign job")
	}
	return true
}

// finish writes the result and the pending delivery. It returns false if ctx ended first; the next process reads the
// journal again then.
func (d *Dispatcher) finish(ctx context.Context, r *run, res execution.Result) bool {
	return d.storeResult(ctx, r, res) == nil
}

// storeResult writes the result and the pending delivery. Errors: execution.ErrBlobGone if the result refers to a
// removed blob; the cause of ctx if ctx ended first.
func (d *Dispatcher) storeResult(ctx context.Context, r *run, res execution.Result) error {
	if res.Artifacts == nil {
		res.Artifacts = noArtifacts(r.execution)
	}
	if res.Workspace == nil {
		res.Workspace = unchangedWorkspace(r.execution)
	}
	delivery := d.Payload.delivery(r.execution, res)
	err := d.persist(ctx, r, "finish execution", func() error {
		crash.Point("before-finish")
		defer crash.Point("after-finish")
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

// persist repeats a write until it succeeds or ctx ends. It returns at once if the store answers that the execution has
// changed (execution.ErrStale) or that a blob was removed (execution.ErrBlobGone).
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
		if errors.Is(err, execution.ErrStale) || errors.Is(err, execution.ErrBlobGone) || !wait(ctx, retryPause, nil) {
			return err
		}
	}
}

// removeContainer removes a container. It retries until ctx ends; the container keeps its slot until then.
func (d *Dispatcher) removeContainer(ctx context.Context, r *run, container sandbox.Container) {
	for {
		err := container.Remove(context.WithoutCancel(ctx))
		if err == nil {
			return
		}
		d.log(r).WithError(err).Warn("remove container")
		if !wait(ctx, retryPause, nil) {
			return
		}
	}
}

func (d *Dispatcher) log(r *run) *logrus.Entry {
	return d.Log.WithFields(logrus.Fields{"execution_id": r.execution.ID, "language": r.execution.Language})
}
