package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Put implements gateway.Workspaces. The blob of a file must be complete; after an error the caller still owns it. Put
// returns whether it replaced an entry. It returns CONFLICT while an execution that changes the workspace runs, where a
// directory is in the way, where a parent is not a directory, and for one workspace too many.
func (s *Store) Put(
	ctx context.Context, subject, name string, e execution.Entry, only execution.Condition,
	limits execution.WorkspaceLimits,
) (replaced bool, err error) {
	var gone []int64
	err = s.writer.do(ctx, "put file", durable, func(ctx context.Context, t *tx) (events, error) {
		gone, replaced = nil, false
		id, err := t.findWorkspace(ctx, subject, name)
		if errors.Is(err, sql.ErrNoRows) {
			id, err = t.insertWorkspace(ctx, subject, name, e.ModifiedAt, limits.Count)
		}
		if err != nil {
			return events{}, err
		}
		if err := t.refuseIfUsed(ctx, selectRunningWriter, id); err != nil {
			return events{}, err
		}
		old, there, err := t.findEntry(ctx, id, e.Path)
		if err != nil {
			return events{}, err
		}
		if err := checkCondition(only, old, there); err != nil {
			return events{}, err
		}
		if there && old.Kind == execution.EntryDir {
			if e.Kind == execution.EntryDir {
				replaced = true
				return events{}, nil
			}
			return events{}, fault.New(fault.Conflict, "There is a directory of that name.")
		}
		if err := t.insertParents(ctx, id, e); err != nil {
			return events{}, err
		}
		if err := t.upsertEntry(ctx, id, e); err != nil {
			return events{}, err
		}
		if there && old.Kind == execution.EntryFile && old.Blob.ID != e.Blob.ID {
			gone = []int64{old.Blob.ID}
		}
		replaced = there
		return events{}, t.checkWorkspaceLimits(ctx, subject, id, e.ModifiedAt, limits)
	})
	if err == nil {
		s.discard(ctx, gone)
	}
	return replaced, err
}

func checkCondition(only execution.Condition, old execution.Entry, there bool) error {
	switch {
	case only.Absent && there:
		return fault.New(fault.PreconditionFailed, "The file already exists.")
	case (only.Exists || len(only.Sums) > 0) && !there,
		len(only.Sums) > 0 && (old.Kind != execution.EntryFile || !slices.Contains(only.Sums, old.Blob.Sum)):
		return fault.New(fault.PreconditionFailed, "The file does not match If-Match.")
	}
	return nil
}

func (t *tx) insertParents(ctx context.Context, workspace int64, e execution.Entry) error {
	for _, dir := range parents(e.Path) {
		above, there, err := t.findEntry(ctx, workspace, dir)
		if err != nil {
			return err
		}
		if there && above.Kind != execution.EntryDir {
			return fault.New(fault.Conflict, "%q is not a directory.", dir)
		}
		if there {
			continue
		}
		if err := t.upsertEntry(ctx, workspace,
			execution.Entry{Path: dir, Kind: execution.EntryDir, ModifiedAt: e.ModifiedAt}); err != nil {
			return err
		}
	}
	return nil
}

// checkWorkspaceLimits updates the size of a workspace and returns a fault if it exceeds a limit.
func (t *tx) checkWorkspaceLimits(
	ctx context.Context, subject string, workspace int64, at time.Time, limits execution.WorkspaceLimits,
) error {
	size, entries, err := t.updateWorkspaceSize(ctx, workspace, at)
	if err != nil {
		return err
	}
	if limits.Size > 0 && size > limits.Size {
		return fault.New(fault.PayloadTooLarge, "The workspace would have %d bytes, and %d are allowed.", size,
			limits.Size).Detail("max", limits.Size)
	}
	if limits.Entries > 0 && entries > limits.Entries {
		return fault.New(fault.PayloadTooLarge,
			"The workspace would have %d files and directories, and %d are allowed.", entries, limits.Entries).
			Detail("max", limits.Entries)
	}
	if limits.Total <= 0 {
		return nil
	}
	var total int64
	if err := t.row(ctx, `SELECT sum(size) FROM workspaces WHERE subject = ?`, subject).Scan(&total); err != nil {
		return err
	}
	if total > limits.Total {
		return fault.New(fault.PayloadTooLarge, "Your workspaces would have %d bytes together, and %d are allowed.",
			total, limits.Total).
			Detail("max", limits.Total)
	}
	return nil
}

// Delete implements httpapi.Workspaces.
func (s *Store) Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error {
	var gone []int64
	err := s.writer.do(ctx, "delete file", durable, func(ctx context.Context, t *tx) (events, error) {
		id, err := t.findWorkspace(ctx, subject, name)
		if err != nil {
			return events{}, workspaceNotFound(err)
		}
		if err := t.refuseIfUsed(ctx, selectRunningWriter, id); err != nil {
			return events{}, err
		}
		old, there, err := t.findEntry(ctx, id, path)
		if err == nil {
			err = checkCondition(only, old, there)
		}
		if err != nil {
			return events{}, err
		}
		if !there {
			return events{}, fault.New(fault.FileNotFound, "There is no such file in the workspace.")
		}
		const chosen = `workspace = ? AND (path = ? OR path > ? AND path < ?)` // '0' follows '/'
		args := []any{id, path, path + "/", path + "0"}
		if gone, err = t.blobsOfEntries(ctx, chosen, args...); err != nil {
			return events{}, err
		}
		if _, err := t.exec(ctx, `DELETE FROM entries WHERE `+chosen, args...); err != nil {
			return events{}, err
		}
		_, _, err = t.updateWorkspaceSize(ctx, id, at)
		return events{}, err
	})
	if err == nil {
		s.discard(ctx, gone)
	}
	return err
}

// workspaceChange is the difference that an execution makes to its workspace.
type workspaceChange struct {
	removed  []string
	written  []execution.Entry
	released []int64 // blobs that no entry refers to any more
}

// compareWorkspace compares the content of an execution's workspace with the entries that the execution left. No other
// write changes the workspace while the execution runs, so the difference is still right when the end is stored.
func (s *Store) compareWorkspace(
	ctx context.Context, id execution.ID, left []execution.Entry,
) (c workspaceChange, err error) {
	before, err := s.Snapshot(ctx, id)
	if err != nil {
		return c, err
	}
	old := make(map[string]execution.Entry, len(before))
	for _, e := range before {
		old[e.Path] = e
	}
	for _, e := range left {
		was, there := old[e.Path]
		delete(old, e.Path)
		if same := was.Kind == e.Kind && was.Mode == e.Mode && was.Target == e.Target && was.Blob == e.Blob; !there ||
			!same {
			c.written = append(c.written, e)
			if there && was.Blob.ID != 0 {
				c.released = append(c.released, was.Blob.ID)
			}
		}
	}
	for path, e := range old {
		c.removed = append(c.removed, path)
		if e.Blob.ID != 0 {
			c.released = append(c.released, e.Blob.ID)
		}
	}
	return c, nil
}

// saveWorkspaceResult stores the workspace part of a result.
func (t *tx) saveWorkspaceResult(ctx context.Context, seq int64, l *execution.WorkspaceResult) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `UPDATE results SET workspace = ? WHERE execution = ?`, string(text), seq)
	return err
}

// WorkspaceResult implements gateway.Records.
func (s *Store) WorkspaceResult(ctx context.Context, id execution.ID) (*execution.WorkspaceResult, error) {
	var text sql.Null[string]
	err := s.readers.row(ctx, `SELECT r.workspace FROM executions e LEFT JOIN results r ON r.execution = e.seq
		WHERE e.id = ?`, id).Scan(&text)
	if err != nil || !text.Valid {
		return nil, wrapError("get workspace result", notFound(err))
	}
	l := new(execution.WorkspaceResult)
	return l, json.Unmarshal([]byte(text.V), l)
}

// applyWorkspaceChange makes the entries that an execution left the content of its workspace.
func (t *tx) applyWorkspaceChange(ctx context.Context, r row, c workspaceChange, at time.Time) error {
	if !r.writes || r.state != execution.Running {
		return fmt.Errorf("an execution that is %s does not change a workspace", r.state)
	}
	for _, path := range c.removed {
		if _, err := t.exec(ctx, `DELETE FROM entries WHERE workspace = ? AND path = ?`, r.workspace,
			path); err != nil {
			return err
		}
	}
	for _, e := range c.written {
		e.ModifiedAt = at
		if e.Kind == execution.EntryFile {
			var whole bool
			if err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM blobs WHERE id = ? AND size IS NOT NULL)`, e.Blob.ID).
				Scan(&whole); err != nil {
				return err
			}
			if !whole {
				return execution.ErrBlobGone
			}
		}
		if err := t.upsertEntry(ctx, r.workspace, e); err != nil {
			return err
		}
	}
	_, _, err := t.updateWorkspaceSize(ctx, r.workspace, at)
	return err
}
