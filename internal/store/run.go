package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
)

// row is what a transition has to know of an execution.
type row struct {
	seq     int64
	subject string
	state   execution.State
	place   place
	cancel  bool // its end was asked for
	// The workspace that it was given; 0: none.
	workspace int64
	writes    bool // it changes the workspace
	node      string
	epoch     int64
	url       string
	batch     execution.BatchID
}

// find returns ErrStale for an execution that is not there.
func (t *tx) find(ctx context.Context, id execution.ID) (r row, err error) {
	err = t.row(ctx, `SELECT e.seq, e.subject, e.state, coalesce(e.place, ''), e.cancel_requested_at IS NOT NULL,
			coalesce(r.node, ''), coalesce(r.epoch, 0), coalesce(c.url, ''), coalesce(e.batch, ''), coalesce(e.workspace, 0), e.writes
		FROM executions e LEFT JOIN runs r ON r.execution = e.seq LEFT JOIN callbacks c ON c.execution = e.seq
		WHERE e.id = ?`, id).
		Scan(&r.seq, &r.subject, &r.state, &r.place, &r.cancel, &r.node, &r.epoch, &r.url, &r.batch, &r.workspace, &r.writes)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrStale
	}
	if r.place == "" {
		r.place = placeOf(r.state)
	}
	return r, err
}

// step finds the execution and takes it to its next state, with the queue's count. ErrStale if the table of transitions
// has no such step, or if the execution runs under another owner: only the epoch that holds it may move it.
func (s *Store) step(ctx context.Context, t *tx, id execution.ID, next execution.State) (row, error) {
	r, err := t.find(ctx, id)
	if err != nil {
		return r, err
	}
	if !r.state.CanBecome(next) || r.state == execution.Running && (r.node != s.node || r.epoch != s.epoch) ||
		next == execution.Running && r.place == behind {
		return r, ErrStale
	}
	if _, err := t.exec(ctx, `UPDATE executions SET state = ?, place = ? WHERE seq = ?`, next, placeOf(next).column(), r.seq); err != nil {
		return r, err
	}
	return r, t.countMove(ctx, r.subject, r.place, placeOf(next))
}

// Start writes that the program may start from now on: queued → running, under this node and epoch, whatever run says
// of them. ErrStale if the execution is not queued any more. If its end was asked for before it was queued again,
// Cancelling is signalled.
func (s *Store) Start(ctx context.Context, id execution.ID, run execution.Run) error {
	return s.writer.do(ctx, "start execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := s.step(ctx, t, id, execution.Running)
		if err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `INSERT INTO runs (execution, node, epoch, container, nonce, started_at, deadline) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			r.seq, s.node, s.epoch, run.Container, run.Nonce, stamp(run.StartedAt), stamp(run.Deadline))
		if err == nil && r.workspace != 0 {
			err = t.holdSnapshot(ctx, r, run.StartedAt)
		}
		return events{moved: id, cancelling: r.cancel}, err
	})
}

// Adopt takes over a running execution that an earlier epoch of this node has left; until then nothing else can be
// written to it. It is idempotent. ErrStale if it does not run, or belongs to another node.
func (s *Store) Adopt(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "adopt execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := t.find(ctx, id)
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

// Requeue puts an execution whose program was never started back where it was in line: running → queued, unclaimed, its
// run forgotten. A request to end it stays. ErrStale if it does not run under this epoch.
func (s *Store) Requeue(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "requeue execution", durable, func(ctx context.Context, t *tx) (events, error) {
		r, err := s.step(ctx, t, id, execution.Queued)
		if err != nil {
			return events{}, err
		}
		if err := t.forget(ctx, r); err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `DELETE FROM runs WHERE execution = ?`, r.seq)
		return events{moved: id, queued: true}, err
	})
}

// forget removes what is there only while an execution runs.
func (t *tx) forget(ctx context.Context, r row) error {
	if r.state != execution.Running {
		return nil
	}
	if _, err := t.exec(ctx, `DELETE FROM live WHERE execution = ?`, r.seq); err != nil || r.workspace == 0 {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM snapshots WHERE execution = ?`, r.seq)
	return err
}

// Finish ends a queued execution, or a running one of this epoch: it writes the result and its outputs, makes the
// delivery pending, removes code, env and input, and makes what the program left the content of its workspace, all or nothing.
// ErrStale if the execution has ended already, is another epoch's, or cannot come to r.State from where it is; ErrBlobGone if
// one of its artifacts has no blob any more.
//
// Without a callback d is nil. Of d the body, CreatedAt and NextAt are stored. With a Summary, which runs inside the transaction
// and must not call the store, d is stored for the last of the batch alone, with the body that the Summary makes.
func (s *Store) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	var c change
	if r.Workspace != nil && r.Workspace.Saved {
		var err error
		if c, err = s.changeOf(ctx, id, r.Workspace.Entries); err != nil {
			return err
		}
	}
	err := s.writer.do(ctx, "finish execution", durable, func(ctx context.Context, t *tx) (events, error) { return s.finish(ctx, t, id, r, c, d) })
	if err == nil {
		s.discard(ctx, c.free)
	}
	return err
}

func (s *Store) finish(ctx context.Context, t *tx, id execution.ID, r execution.Result, c change, d *execution.Delivery) (events, error) {
	if !r.State.Terminal() {
		return events{}, fmt.Errorf("%s is not the end of an execution", r.State)
	}
	e, err := s.step(ctx, t, id, r.State)
	if err != nil {
		return events{}, err
	}
	if (e.url == "") != (d == nil) {
		return events{}, errors.New("an execution needs a delivery exactly when it has a callback")
	}
	if err := t.result(ctx, e.seq, r); err != nil {
		return events{}, err
	}
	if err := t.insertArtifacts(ctx, e.seq, r.Artifacts); err != nil {
		return events{}, err
	}
	if err := t.forget(ctx, e); err != nil {
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
	next, err := t.passWorkspaceOn(ctx, e)
	if err != nil || d == nil {
		return events{ended: id, queued: next}, err
	}
	if d.Summary != nil {
		if last, err := t.summarise(ctx, e.batch, d); err != nil || !last {
			return events{ended: id, queued: next}, err
		}
	}
	return events{ended: id, queued: next, pending: true}, t.deliver(ctx, e, *d)
}

const selectOpen = `SELECT EXISTS (SELECT 1 FROM executions WHERE batch = ? AND batch IS NOT NULL AND state IN ('queued', 'running'))`

// summarise makes the body of d when all of the batch have ended, the one that is being finished included.
func (t *tx) summarise(ctx context.Context, batch execution.BatchID, d *execution.Delivery) (last bool, err error) {
	var open bool
	if err := t.row(ctx, selectOpen, batch).Scan(&open); err != nil || open {
		return false, err
	}
	all, err := t.batch(ctx, batch)
	if err != nil {
		return false, err
	}
	d.Body = d.Summary(batch, all)
	return true, nil
}

func (t *tx) result(ctx context.Context, seq int64, r execution.Result) error {
	if _, err := t.exec(ctx, `INSERT INTO results (execution, reason, exit_code, error, started_at, completed_at, duration, output_complete,
			cpu_time, max_memory)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		seq, r.Reason, r.ExitCode, r.Error, stamp(r.StartedAt), stamp(r.CompletedAt), r.Duration, r.OutputComplete,
		r.CPUTime, r.MaxMemory); err != nil {
		return err
	}
	for stream, o := range map[execution.Stream]execution.Output{execution.Stdout: r.Stdout, execution.Stderr: r.Stderr} {
		if o.Bytes == 0 && len(o.Head)+len(o.Tail) == 0 {
			continue // what was not printed is not there
		}
		if _, err := t.exec(ctx, `INSERT INTO outputs (execution, stream, bytes, head, tail) VALUES (?, ?, ?, ?, ?)`,
			seq, stream, o.Bytes, o.Head, o.Tail); err != nil {
			return err
		}
	}
	return nil
}

// Cancel ends an execution or asks for its end. A queued one gets the result and the delivery that finish gives, as
// Finish does; for a running one the request is written, once, with its time, and Cancelling is signalled; an ended
// one stays as it is. It returns the execution as it then stands. Fault EXECUTION_NOT_FOUND.
//
// The function runs inside the transaction: it must not call the store.
func (s *Store) Cancel(
	ctx context.Context, id execution.ID, at time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (after execution.Execution, err error) {
	err = s.writer.do(ctx, "cancel execution", durable, func(ctx context.Context, t *tx) (n events, err error) {
		e, err := scanExecution(t.row(ctx, selectRecord+` WHERE e.id = ?`, id))
		if err != nil {
			return events{}, missing(err)
		}
		switch e.State {
		case execution.Queued:
			r, d := finish(e)
			n, err = s.finish(ctx, t, id, r, change{}, d)
		case execution.Running:
			_, err = t.exec(ctx, `UPDATE executions SET cancel_requested_at = coalesce(cancel_requested_at, ?) WHERE id = ?`, stamp(at), id)
			n.cancelling = true
		case execution.Completed, execution.Failed, execution.Timeout, execution.Cancelled:
		}
		if err != nil {
			return events{}, err
		}
		after, err = scanWhole(t.row(ctx, selectWhole+` WHERE e.id = ?`, id))
		return n, err
	})
	if err != nil {
		return execution.Execution{}, err
	}
	return after, nil
}

const (
	selectRunning         = selectRecord + ` WHERE e.state = 'running' ORDER BY e.seq`
	selectCancelRequested = `SELECT id FROM executions WHERE state = 'running' AND cancel_requested_at IS NOT NULL ORDER BY seq`
)

// Running returns all running executions, without what is sealed, in the order in which they were stored.
func (s *Store) Running(ctx context.Context) ([]execution.Execution, error) {
	return collect(ctx, s.readers, "list running executions", scanExecution, selectRunning)
}

// CancelRequested returns the running executions whose end was asked for.
func (s *Store) CancelRequested(ctx context.Context) ([]execution.ID, error) {
	return collect(ctx, s.readers, "list cancel requests", scanID, selectCancelRequested)
}
