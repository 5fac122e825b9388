package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Executions that change the same workspace run one after another, in the order in which they were stored. All but one
// of them are held back, so that a claim only looks at executions that can be claimed. There is no lock: the execution
// that is not held back has the workspace.

// queuePosition is the place in the queue that a new execution gets, and its workspace.
type queuePosition struct {
	workspace any // its number; NULL for none
	place     place
}

// The queries about the executions that use a workspace. The first entries of one index answer each.
const (
	liveStates = ` AND state IN ('queued', 'running')` // the words of the index
	hasWriter  = `SELECT EXISTS (SELECT 1 FROM executions WHERE workspace = ?
		AND writes = 1` + liveStates + `)`
	selectNextBehind = `SELECT seq FROM executions WHERE workspace = ? AND writes = 1 AND state = 'queued'
		AND place = 'behind'` + liveStates + ` ORDER BY seq LIMIT 1`
	selectUser          = `SELECT id FROM executions WHERE workspace = ?` + liveStates + ` LIMIT 1`
	selectRunningWriter = `SELECT id FROM executions WHERE workspace = ? AND writes = 1
		AND state = 'running'` + liveStates + ` LIMIT 1`
)

// queuePositionOf finds the queue position of a new execution, and creates its workspace if it does not exist.
func (t *tx) queuePositionOf(
	ctx context.Context, e execution.Execution, limits execution.QueueLimits,
) (queuePosition, error) {
	use := e.Options.Workspace
	if use.Name == "" {
		return queuePosition{place: waiting}, nil
	}
	id, err := t.findWorkspace(ctx, e.Subject, use.Name)
	switch {
	case errors.Is(err, sql.ErrNoRows) && use.ReadOnly:
		return queuePosition{}, fault.New(fault.InvalidRequest, "There is no workspace %q that could be read.",
			use.Name).Field("workspace")
	case errors.Is(err, sql.ErrNoRows):
		id, err = t.insertWorkspace(ctx, e.Subject, use.Name, e.CreatedAt, limits.Workspaces)
	}
	if err != nil || use.ReadOnly {
		return queuePosition{workspace: id, place: waiting}, err
	}
	var taken bool
	err = t.row(ctx, hasWriter, id).Scan(&taken)
	if taken {
		return queuePosition{workspace: id, place: behind}, err
	}
	return queuePosition{workspace: id, place: waiting}, err
}

// findWorkspace returns the number of a workspace, or sql.ErrNoRows.
func (t *tx) findWorkspace(ctx context.Context, subject, name string) (id int64, err error) {
	err = t.row(ctx, `SELECT id FROM workspaces WHERE subject = ? AND name = ?`, subject, name).Scan(&id)
	return id, err
}

func (t *tx) insertWorkspace(ctx context.Context, subject, name string, at time.Time, limit int) (id int64, err error) {
	var count int
	if err := t.row(ctx, `SELECT count(*) FROM workspaces WHERE subject = ?`, subject).Scan(&count); err != nil {
		return 0, err
	}
	if limit > 0 && count >= limit {
		return 0, fault.New(fault.Conflict, "You have %d workspaces, and no more are allowed; delete one first.",
			count).
			Field("workspace").Detail("max", limit)
	}
	err = t.row(ctx, `INSERT INTO workspaces (subject, name, created_at, used_at) VALUES (?, ?, ?, ?) RETURNING id`,
		subject, name, unixNano(at), unixNano(at)).Scan(&id)
	return id, err
}

// holdSnapshot keeps the blobs of the workspace for an execution that starts. An execution that changes the workspace
// needs no such rows, because no other write changes the workspace while it runs.
func (t *tx) holdSnapshot(ctx context.Context, r row, at time.Time) error {
	if _, err := t.exec(ctx, `UPDATE workspaces SET used_at = max(used_at, ?) WHERE id = ?`, unixNano(at),
		r.workspace); err != nil || r.writes {
		return err
	}
	_, err := t.exec(ctx, `INSERT OR IGNORE INTO snapshots (execution, blob)
		SELECT ?, blob FROM entries WHERE workspace = ? AND blob IS NOT NULL ORDER BY blob`, r.seq, r.workspace)
	return err
}

// releaseNextWriter makes the next execution that is behind r claimable, if r had the workspace; next reports whether
// there was one.
func (t *tx) releaseNextWriter(ctx context.Context, r row) (next bool, err error) {
	if !r.writes || r.place == behind {
		return false, nil
	}
	var seq int64
	err = t.row(ctx, selectNextBehind, r.workspace).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := t.exec(ctx, `UPDATE executions SET place = 'waiting' WHERE seq = ?`, seq); err != nil {
		return false, err
	}
	return true, t.countMove(ctx, r.subject, behind, waiting)
}
