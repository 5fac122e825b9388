package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const selectWorkspace = `SELECT w.name, w.created_at, w.used_at, w.size, w.entries,
		coalesce((SELECT id FROM executions WHERE workspace = w.id AND writes = 1 AND state = 'running'` + live + ` LIMIT 1), ''),
		(SELECT count(*) FROM executions WHERE workspace = w.id AND writes IN (0, 1) AND state = 'queued'` + live + `),
		(SELECT count(*) FROM executions WHERE workspace = w.id AND writes = 0 AND state = 'running'` + live + `)
	FROM workspaces w WHERE w.subject = ?`

func scanWorkspace(r scanner) (w execution.Workspace, err error) {
	var created, used int64
	err = r.Scan(&w.Name, &created, &used, &w.Size, &w.Entries, &w.Writer, &w.Waiting, &w.Readers)
	w.CreatedAt, w.UsedAt = moment(created), moment(used)
	return w, err
}

// Workspaces lists up to limit workspaces of the subject by name, those behind the name after.
func (s *Store) Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error) {
	return collect(ctx, s.readers, "list workspaces", scanWorkspace, selectWorkspace+` AND w.name > ? ORDER BY w.name LIMIT ? + 0`, subject, after, limit)
}

// Workspace returns one. Fault WORKSPACE_NOT_FOUND.
func (s *Store) Workspace(ctx context.Context, subject, name string) (execution.Workspace, error) {
	w, err := scanWorkspace(s.readers.row(ctx, selectWorkspace+` AND w.name = ?`, subject, name))
	return w, explain("get workspace", unknownWorkspace(err))
}

func unknownWorkspace(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.WorkspaceNotFound, "There is no such workspace.")
	}
	return err
}

// Kept is how many bytes all workspaces of the subject hold but the named one.
func (s *Store) OtherWorkspacesSize(ctx context.Context, subject, but string) (size int64, err error) {
	err = s.readers.row(ctx, `SELECT coalesce(sum(size), 0) FROM workspaces WHERE subject = ? AND name <> ?`, subject, but).Scan(&size)
	return size, explain("measure workspaces", err)
}

// RemoveWorkspace forgets a workspace with all that is in it. Faults: WORKSPACE_NOT_FOUND; CONFLICT while an execution is queued
// or running that uses it.
func (s *Store) RemoveWorkspace(ctx context.Context, subject, name string) error {
	var gone []int64
	err := s.writer.do(ctx, "remove workspace", durable, func(ctx context.Context, t *tx) (_ events, err error) {
		id, err := t.workspace(ctx, subject, name)
		if err != nil {
			return events{}, unknownWorkspace(err)
		}
		if err := t.refuseUsed(ctx, isUsed, id); err != nil {
			return events{}, err
		}
		if gone, err = t.blobs(ctx, `workspace = ?`, id); err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `DELETE FROM workspaces WHERE id = ?`, id)
		return events{}, err
	})
	if err == nil {
		s.discard(ctx, gone)
	}
	return err
}

// RemoveIdle forgets up to limit workspaces that were last used before used and that nobody waits for, with all that is in
// them, the longest unused first. It returns how many; fewer than limit means that no more are to be removed.
func (s *Store) RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error) {
	type named struct{ subject, name string }
	idle, err := collect(ctx, s.readers, "list idle workspaces", func(r scanner) (n named, err error) {
		err = r.Scan(&n.subject, &n.name)
		return n, err
	}, `SELECT subject, name FROM workspaces w WHERE used_at < ?
		AND NOT EXISTS (SELECT 1 FROM executions WHERE workspace = w.id`+live+`) ORDER BY used_at LIMIT ? + 0`, stamp(used), limit)
	for _, n := range idle {
		err := s.RemoveWorkspace(ctx, n.subject, n.name)
		if code := fault.Of(err).Code; err != nil && code != fault.Conflict && code != fault.WorkspaceNotFound { // else somebody was quicker
			return removed, err
		}
		removed++
	}
	return removed, err
}

// refuseUsed returns a fault when the query finds an execution that uses the workspace.
func (t *tx) refuseUsed(ctx context.Context, query string, id int64) error {
	var user execution.ID
	err := t.row(ctx, query, id).Scan(&user)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "The execution %s uses this workspace; wait until it has ended, or cancel it.", user).
		Detail("execution_id", user)
}

const entryColumns = `e.path, e.kind, e.mode, coalesce(e.target, ''), e.modified_at, coalesce(b.id, 0), coalesce(b.size, 0), b.sum`

func scanEntry(r scanner) (e execution.Entry, err error) {
	var at int64
	var sum []byte
	err = r.Scan(&e.Path, &e.Kind, &e.Mode, &e.Target, &at, &e.Blob.ID, &e.Blob.Size, &sum)
	e.ModifiedAt = moment(at)
	copy(e.Blob.Sum[:], sum)
	return e, err
}

// Entries lists up to limit entries of a workspace by path, of those that begin with prefix the ones behind the path after.
// Parents come before what is in them. Fault WORKSPACE_NOT_FOUND.
func (s *Store) Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error) {
	if _, err := s.Workspace(ctx, subject, name); err != nil {
		return nil, err
	}
	return collect(ctx, s.readers, "list files", scanEntry, `SELECT `+entryColumns+`
		FROM workspaces w CROSS JOIN entries e ON e.workspace = w.id LEFT JOIN blobs b ON b.id = e.blob
		WHERE w.subject = ?1 AND w.name = ?2 AND e.path > ?3 AND e.path >= ?4 AND substr(e.path, 1, length(?4)) = ?4
		ORDER BY e.path LIMIT ?5 + 0`, subject, name, after, prefix, limit)
}

// Entry returns one entry. Faults WORKSPACE_NOT_FOUND, FILE_NOT_FOUND.
func (s *Store) Entry(ctx context.Context, subject, name, path string) (execution.Entry, error) {
	e, err := scanEntry(s.readers.row(ctx, `SELECT `+entryColumns+`
		FROM workspaces w JOIN entries e ON e.workspace = w.id LEFT JOIN blobs b ON b.id = e.blob
		WHERE w.subject = ? AND w.name = ? AND e.path = ?`, subject, name, path))
	if errors.Is(err, sql.ErrNoRows) {
		if _, err := s.Workspace(ctx, subject, name); err != nil {
			return e, err
		}
		return e, fault.New(fault.FileNotFound, "There is no such file in the workspace.")
	}
	return e, explain("get file", err)
}

// Given returns all that a running execution is given in /workspace: what was there when it started. It holds until the
// execution ends or, for one that only reads, until Sent.
func (s *Store) Snapshot(ctx context.Context, id execution.ID) ([]execution.Entry, error) {
	return collect(ctx, s.readers, "list given files", scanEntry, `SELECT `+entryColumns+`
		FROM executions x CROSS JOIN entries e ON e.workspace = x.workspace LEFT JOIN blobs b ON b.id = e.blob
		WHERE x.id = ? ORDER BY e.path`, id)
}

// Sent says that an execution has received what it was given.
func (s *Store) ReleaseSnapshot(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "let go of files", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `DELETE FROM snapshots WHERE execution = (SELECT seq FROM executions WHERE id = ?)`, id)
		return events{}, err
	})
}

// blobs lists what the chosen entries of a workspace hold.
func (t *tx) blobs(ctx context.Context, where string, args ...any) ([]int64, error) {
	rows, err := t.rows(ctx, `SELECT DISTINCT blob FROM entries WHERE blob IS NOT NULL AND `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// discarded is how many pieces of a blob are removed at a time, so that no other write waits long.
const discarded = 32

// Discard removes what was stored and is not needed after all, unless somebody holds it.
func (s *Store) Discard(ctx context.Context, blobs []execution.Blob) {
	ids := make([]int64, 0, len(blobs))
	for _, b := range blobs {
		ids = append(ids, b.ID)
	}
	s.discard(ctx, ids)
}

// discard removes blobs that were let go of, unless somebody else holds them. It need not succeed: Sweep finds what is left.
func (s *Store) discard(ctx context.Context, blobs []int64) {
	ctx = context.WithoutCancel(ctx)
	for _, id := range blobs {
		for more := true; more; {
			err := s.writer.do(ctx, "discard blob", volatile, func(ctx context.Context, t *tx) (events, error) {
				n, err := t.exec(ctx, `DELETE FROM pieces WHERE blob = ?1 AND at IN (SELECT at FROM pieces WHERE blob = ?1 LIMIT ?2 + 0)`+unheld("?1"), id, discarded)
				if more = n == discarded; more || err != nil {
					return events{}, err
				}
				_, err = t.exec(ctx, `DELETE FROM blobs WHERE id = ?1`+unheld("?1"), id)
				return events{}, err
			})
			if err != nil {
				return
			}
		}
	}
}

// parents are the directories above a path, the outermost first.
func parents(name string) (above []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above = append([]string{dir}, above...)
	}
	return above
}

// entry returns what lies at a path; false for nothing.
func (t *tx) entry(ctx context.Context, workspace int64, name string) (e execution.Entry, there bool, err error) {
	e, err = scanEntry(t.row(ctx, `SELECT `+entryColumns+` FROM entries e LEFT JOIN blobs b ON b.id = e.blob WHERE e.workspace = ? AND e.path = ?`,
		workspace, name))
	if errors.Is(err, sql.ErrNoRows) {
		return execution.Entry{}, false, nil
	}
	return e, err == nil, err
}

func (t *tx) put(ctx context.Context, workspace int64, e execution.Entry) error {
	var blob, target any
	switch e.Kind {
	case execution.EntryFile:
		blob = e.Blob.ID
	case execution.EntryLink:
		target = e.Target
	case execution.EntryDir:
	}
	_, err := t.exec(ctx, `INSERT OR REPLACE INTO entries (workspace, path, kind, mode, size, blob, target, modified_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		workspace, e.Path, e.Kind, e.Mode, e.Blob.Size, blob, target, stamp(e.ModifiedAt))
	if err != nil {
		return fmt.Errorf("put %q: %w", e.Path, err)
	}
	return nil
}

// measure counts a workspace anew. It walks over all of it, which is bounded.
func (t *tx) measure(ctx context.Context, workspace int64, at time.Time) (size int64, entries int, err error) {
	err = t.row(ctx, `UPDATE workspaces SET used_at = max(used_at, ?2),
		(size, entries) = (SELECT coalesce(sum(size), 0), count(*) FROM entries WHERE workspace = ?1)
		WHERE id = ?1 RETURNING size, entries`, workspace, stamp(at)).Scan(&size, &entries)
	return size, entries, err
}
