package dispatch

import (
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// result combines the classification, the outputs and the times of a run.
func result(r *run, v evidence) execution.Result {
	if v.neverStarted() && v.cancelled {
		return cancelledUnstarted(time.Now())
	}
	res := classify(v)
	res.OutputComplete = v.outcome.Proven()
	res.Artifacts = r.files.artifacts.artifacts(r.execution, v.outcome.Stdout)
	res.Stdout, res.Stderr = output(r.stdout, v.outcome.Stdout), output(r.stderr, v.outcome.Stderr)
	res.StartedAt, res.CompletedAt = r.execution.Run.StartedAt, time.Now()
	if start := v.outcome.Start; start != nil {
		res.StartedAt = start.At
	}
	res.Duration = max(res.CompletedAt.Sub(res.StartedAt), 0)
	if end := v.outcome.Stderr; end != nil {
		res.StartedAt, res.CompletedAt, res.Duration = end.StartedAt, end.EndedAt, end.Elapsed
		res.CPUTime, res.MaxMemory = end.CPUTime, end.MaxMemory
	}
	if res.Reason == execution.StartFailed {
		res.StartedAt, res.Duration = time.Time{}, 0
	}
	return res
}

func output(b *capture.Buffer, end *journal.End) execution.Output {
	if end == nil {
		return b.Unproven()
	}
	return b.Output(end.Bytes, end.Tail)
}

// neverRan completes the result of an execution whose program was not started: its output is empty and complete.
func neverRan(res execution.Result) execution.Result {
	res.CompletedAt, res.OutputComplete = time.Now(), true
	return res
}

// Payload makes the bodies of callbacks.
type Payload struct {
	Body    func(execution.Execution, execution.Result) []byte // the body for one execution
	Summary execution.Summary                                  // the body for a batch with one callback
}

// Cancelled returns the result and the delivery of an execution that is cancelled before it ran. It has no side
// effects.
func (p Payload) Cancelled(e execution.Execution) (execution.Result, *execution.Delivery) {
	res := cancelledUnstarted(time.Now())
	res.Artifacts = noArtifacts(e)
	res.Workspace = unchangedWorkspace(e)
	return res, p.delivery(e, res)
}

func cancelledUnstarted(at time.Time) execution.Result {
	return execution.Result{
		State: execution.Cancelled, Reason: execution.WasCancelled, CompletedAt: at, OutputComplete: true,
		Error: "The execution was cancelled before it started.",
	}
}

// delivery returns the pending delivery of a result; nil if the execution has no callback.
func (p Payload) delivery(e execution.Execution, res execution.Result) *execution.Delivery {
	if e.Callback.URL == "" {
		return nil
	}
	d := &execution.Delivery{
		Execution: e.ID, State: execution.Pending, NextAt: res.CompletedAt, CreatedAt: res.CompletedAt,
	}
	if e.Batch.Summary {
		d.Summary = p.Summary
	} else {
		d.Body = p.Body(e, res)
	}
	return d
}

// signalName returns the name of a signal, "SIGKILL" for 9.
func signalName(signal int) string {
	if name := unix.SignalName(unix.Signal(signal)); name != "" {
		return name
	}
	return "real-time"
}
