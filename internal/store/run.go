package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
)

// row holds the columns of an execution that a transition depends on.
type row struct {
	seq     int64
	subject string
	state   execution.State
	place   place
	cancel  bool // its end was requested
	// The number of the execution's workspace; 0 if it has none.
	workspace int64
	writes    bool // whether the execution changes the workspace
	node      string
	epoch     int64
	url       string
	batch     execution.BatchID
}

// findRow reads the row of an execution. It returns ErrStale if there is none.
func (t *tx) findRow(ctx context.Context, id execution.ID) (r row, err error) {
	err = t.row(ctx, `SELECT e.seq, e.subject, e.state, coalesce(e.place, ''), e.cancel_requested_at IS NOT NULL,
			coalesce(r.node, ''), coalesce(r.epoch, 0), coalesce(c.url, ''), coalesce(e.batch, ''),
			coalesce(e.workspace, 0), e.writes
		FROM executions e LEFT JOIN runs r ON r.execution = e.seq LEFT JOIN callbacks c ON c.execution = e.seq
		WHERE e.id = ?`, id).
		Scan(&r.seq, &r.subject, &r.state, &r.place, &r.cancel, &r.node, &r.epoch, &r.url, &r.batch, &r.workspace,
			&r.writes)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrStale
	}
	if r.place == "" {
		r.place = placeOf(r.state)
	}
	return r, err
}

// transition moves an execution to its next state and updates the counts of the queue. It returns ErrStale if the table
// of transitions has no such step, or if another epoch or node owns the running execution.
func (s *Store) transition(ctx context.Context, t *tx, id execution.ID, next execution.State) (row, error) {
	r, err := t.findRow(ctx, id)
	if err != nil {
		return r, err
	}
	if !r.state.CanBecome(next) || r.state == execution.Running && (r.node != s.node || r.epoch != s.epoch) ||
		next == execution.Running && r.place == behind {
		return r, ErrStale
	}
	if _, err := t.exec(ctx, `UPDATE executions SET state = ?, place = ? WHERE seq = ?`, next, placeOf(next).column(),
		r.seq); err != nil {
		return r, err
	}
	return r, t.countMove(ctx, r.subject, r.place, placeOf(next))
}

// Start implements dispatch.Ledger. Node and epoch of the stored run are those of this store, whatever run holds.
// Cancelling is signalled if the end of the execution was requested before it was queued again.
func (s *Store) Start(ctx context.Context, id execution.ID, run execution.Run) error {
	return s.writer.do(ctx, "start execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := s.transition(ctx, t, id, execution.Running)
		if err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `INSERT INTO runs (execution, node, epoch, container, nonce, started_at, deadline)
			VALUES (?, ?, ?, ?, ?, ?, ?)`,
			r.seq, s.node, s.epoch, run.Container, run.Nonce, unixNano(run.StartedAt), unixNano(run.Deadline))
		if err == nil && r.workspace != 0 {
			err = t.holdSnapshot(ctx, r, run.StartedAt)
		}
		return events{moved: id, cancelling: r.cancel}, err
	})
}

// Adopt implements dispatch.RunningExecutions. Until Adopt no other write changes an execution of an earlier epoch.
// Adopt is idempotent. It returns ErrStale if the execution does not run or belongs to another node.
func (s *Store) Adopt(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "adopt execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := t.findRow(ctx, id)
		if err != nil {
			return events{}, err
		}
		if r.state != execution.Running || r.node != s.node || r.epoch > s.epoch {
			return events{}, ErrStale
		}
		_, err = t.exec(ctx, `UPDATE runs SET epoch = ? WHERE execution = ?`, s.epoch, r.seq)
		return events{moved: id, cancelling: r.cancel}, err
	})
}

// Requeue implements dispatch.Ledger. The execution keeps its place in the order, loses its run and its claim, and
// keeps a request to end it. Requeue returns ErrStale if the execution does not run under this epoch.
func (s *Store) Requeue(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "requeue execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := s.transition(ctx, t, id, execution.Queued)
		if err != nil {
			return events{}, err
		}
		if err := t.deleteRunningData(ctx, r); err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `DELETE FROM runs WHERE execution = ?`, r.seq)
		return events{moved: id, queued: true}, err
	})
}

// deleteRunningData deletes the rows that exist only while an execution runs.
func (t *tx) deleteRunningData(ctx context.Context, r row) error {
	if r.state != execution.Running {
		return nil
	}
	if _, err := t.exec(ctx, `DELETE FROM live WHERE execution = ?`, r.seq); err != nil || r.workspace == 0 {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM snapshots WHERE execution = ?`, r.seq)
	return err
}

// Finish implements dispatch.Ledger. In one transaction it writes the result, the outputs and the pending delivery,
// deletes code, env and input, and makes the files that the program left the content of its workspace. It ends a queued
// execution or a running one of this epoch; it returns ErrStale if the table of transitions has no step to r.State. The
// delivery d is nil exactly if the execution has no callback. Body, CreatedAt and NextAt of d are stored. If d has a
// Summary, d is stored only for the last execution of the batch to end, with the body that Summary makes. Summary runs
// inside the transaction and must not call the store.
func (s *Store) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	var c workspaceChange
	if r.Workspace != nil && r.Workspace.Saved {
		var err error
		if c, err = s.compareWorkspace(ctx, id, r.Workspace.Entries); err != nil {
			return err
		}
	}
	err := s.writer.do(ctx, "finish execution", durable,
		func(ctx context.Context, t *tx) (events, error) { return s.finish(ctx, t, id, r, c, d) })
	if err == nil {
		s.discard(ctx, c.released)
	}
	return err
}

func (s *Store) finish(
	ctx context.Context, t *tx, id execution.ID, r execution.Result, c workspaceChange, d *execution.Delivery,
) (events, error) {
	if !r.State.Terminal() {
		return events{}, fmt.Errorf("%s is not a terminal state", r.State)
	}
	e, err := s.transition(ctx, t, id, r.State)
	if err != nil {
		return events{}, err
	}
	if (e.url == "") != (d == nil) {
		return events{}, errors.New("an execution needs a delivery exactly when it has a callback")
	}
	if err := t.insertResult(ctx, e.seq, r); err != nil {
		return events{}, err
	}
	if err := t.insertArtifacts(ctx, e.seq, r.Artifacts); err != nil {
		return events{}, err
	}
	if err := t.deleteRunningData(ctx, e); err != nil {
		return events{}, err
	}
	if _, err := t.exec(ctx, `DELETE FROM programs WHERE execution = ?`, e.seq); err != nil {
		return events{}, err
	}
	if r.Workspace != nil {
		if err := t.saveWorkspaceResult(ctx, e.seq, r.Workspace); err != nil {
			return events{}, err
		}
	}
	if r.Workspace != nil && r.Workspace.Saved {
		if err := t.applyWorkspaceChange(ctx, e, c, r.CompletedAt); err != nil {
			return events{}, err
		}
	}
	next, err := t.releaseNextWriter(ctx, e)
	if err != nil || d == nil {
		return events{ended: id, queued: next}, err
	}
	if d.Summary != nil {
		if last, err := t.makeSummary(ctx, e.batch, d); err != nil || !last {
			return events{ended: id, queued: next}, err
		}
	}
	return events{ended: id, queued: next, pending: true}, t.insertDelivery(ctx, e, *d)
}

const selectOpen = `SELECT EXISTS (SELECT 1 FROM executions WHERE batch = ? AND batch IS NOT NULL
	AND state IN ('queued', 'running'))`

// makeSummary sets the body of d if all executions of the batch have ended, including the one that is being finished.
func (t *tx) makeSummary(ctx context.Context, batch execution.BatchID, d *execution.Delivery) (last bool, err error) {
	var open bool
	if err := t.row(ctx, selectOpen, batch).Scan(&open); err != nil || open {
		return false, err
	}
	all, err := t.readBatch(ctx, batch)
	if err != nil {
		return false, err
	}
	d.Body = d.Summary(batch, all)
	return true, nil
}

func (t *tx) insertResult(ctx context.Context, seq int64, r execution.Result) error {
	if _, err := t.exec(ctx,
		`INSERT INTO results (execution, reason, exit_code, error, started_at, completed_at, duration, output_complete,
			cpu_time, max_memory)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, r.Reason, r.ExitCode, r.Error, unixNano(r.StartedAt), unixNano(r.CompletedAt), r.Duration,
		r.OutputComplete,
		r.CPUTime, r.MaxMemory); err != nil {
		return err
	}
	for stream, o := range map[execution.Stream]execution.Output{
		execution.Stdout: r.Stdout, execution.Stderr: r.Stderr,
	} {
		if o.Bytes == 0 && len(o.Head)+len(o.Tail) == 0 {
			continue // a stream without output has no row
		}
		if _, err := t.exec(ctx, `INSERT INTO outputs (execution, stream, bytes, head, tail) VALUES (?, ?, ?, ?, ?)`,
			seq, stream, o.Bytes, o.Head, o.Tail); err != nil {
			return err
		}
	}
	return nil
}

// Cancel ends a queued execution with the result and the delivery that finish returns, in the way of Finish. For a
// running execution it stores the first request with its time and signals Cancelling. It does not change an ended
// execution. Cancel returns the execution as stored afterwards, or the fault EXECUTION_NOT_FOUND. The function finish
// runs inside the transaction and must not call the store.
func (s *Store) Cancel(
	ctx context.Context, id execution.ID, at time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (after execution.Execution, err error) {
	err = s.writer.do(ctx, "cancel execution", durable, func(ctx context.Context, t *tx) (n events, err error) {
		e, err := scanExecution(t.row(ctx, selectRecord+` WHERE e.id = ?`, id))
		if err != nil {
			return events{}, notFound(err)
		}
		switch e.State {
		case execution.Queued:
			r, d := finish(e)
			n, err = s.finish(ctx, t, id, r, workspaceChange{}, d)
		case execution.Running:
			_, err = t.exec(ctx, `UPDATE executions SET cancel_requested_at = coalesce(cancel_requested_at, ?)
				WHERE id = ?`, unixNano(at), id)
			n.cancelling = true
		case execution.Completed, execution.Failed, execution.Timeout, execution.Cancelled:
		}
		if err != nil {
			return events{}, err
		}
		after, err = scanExecution(t.row(ctx, selectRecord+` WHERE e.id = ?`, id))
		return n, err
	})
	if err != nil {
		return execution.Execution{}, err
	}
	return after, nil
}

const (
	selectRunning         = selectRecord + ` WHERE e.state = 'running' ORDER BY e.seq`
	selectCancelRequested = `SELECT id FROM executions WHERE state = 'running' AND cancel_requested_at IS NOT NULL
		ORDER BY seq`
)

// Running implements dispatch.RunningExecutions. The executions come without sealed fields, in the order in which they
// were stored.
func (s *Store) Running(ctx context.Context) ([]execution.Execution, error) {
	return collect(ctx, s.readers, "list running executions", scanExecution, selectRunning)
}

// CancelRequested implements dispatch.Cancels.
func (s *Store) CancelRequested(ctx context.Context) ([]execution.ID, error) {
	return collect(ctx, s.readers, "list cancel requests", scanID, selectCancelRequested)
}
