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
		coalesce((SELECT id FROM executions WHERE workspace = w.id AND writes = 1
			AND state = 'running'` + liveStates + ` LIMIT 1), ''),
		(SELECT count(*) FROM executions WHERE workspace = w.id AND writes IN (0, 1)
			AND state = 'queued'` + liveStates + `),
		(SELECT count(*) FROM executions WHERE workspace = w.id AND writes = 0 AND state = 'running'` + liveStates + `)
	FROM workspaces w WHERE w.subject = ?`

func scanWorkspace(r scanner) (w execution.Workspace, err error) {
	var created, used int64
	err = r.Scan(&w.Name, &created, &used, &w.Size, &w.Entries, &w.Writer, &w.Waiting, &w.Readers)
	w.CreatedAt, w.UsedAt = timeOf(created), timeOf(used)
	return w, err
}

// Workspaces implements httpapi.Workspaces. It lists the workspaces by name, from the first name after the given one.
func (s *Store) Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error) {
	return collect(ctx, s.readers, "list workspaces", scanWorkspace,
		selectWorkspace+` AND w.name > ? ORDER BY w.name LIMIT ? + 0`, subject, after, limit)
}

// Workspace implements gateway.Workspaces.
func (s *Store) Workspace(ctx context.Context, subject, name string) (execution.Workspace, error) {
	w, err := scanWorkspace(s.readers.row(ctx, selectWorkspace+` AND w.name = ?`, subject, name))
	return w, wrapError("get workspace", workspaceNotFound(err))
}

func workspaceNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.WorkspaceNotFound, "There is no such workspace.")
	}
	return err
}

// OtherWorkspacesSize implements dispatch.Workspaces.
func (s *Store) OtherWorkspacesSize(ctx context.Context, subject, but string) (size int64, err error) {
	err = s.readers.row(ctx, `SELECT coalesce(sum(size), 0) FROM workspaces WHERE subject = ? AND name <> ?`, subject,
		but).Scan(&size)
	return size, wrapError("measure workspaces", err)
}

// RemoveWorkspace implements httpapi.Workspaces. It returns CONFLICT while an execution that uses the workspace is
// queued or running.
func (s *Store) RemoveWorkspace(ctx context.Context, subject, name string) error {
	var gone []int64
	err := s.writer.do(ctx, "remove workspace", durable, func(ctx context.Context, t *tx) (_ events, err error) {
		id, err := t.findWorkspace(ctx, subject, name)
		if err != nil {
			return events{}, workspaceNotFound(err)
		}
		if err := t.refuseIfUsed(ctx, selectUser, id); err != nil {
			return events{}, err
		}
		if gone, err = t.blobsOfEntries(ctx, `workspace = ?`, id); err != nil {
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

// RemoveIdle implements upkeep.Store. It removes the longest unused workspaces first, and none that a queued or running
// execution uses.
func (s *Store) RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error) {
	type named struct{ subject, name string }
	idle, err := collect(ctx, s.readers, "list idle workspaces", func(r scanner) (n named, err error) {
		err = r.Scan(&n.subject, &n.name)
		return n, err
	}, `SELECT subject, name FROM workspaces w WHERE used_at < ?
		AND NOT EXISTS (SELECT 1 FROM executions WHERE workspace = w.id`+liveStates+`) ORDER BY used_at
			LIMIT ? + 0`, unixNano(used), limit)
	for _, n := range idle {
		err := s.RemoveWorkspace(ctx, n.subject, n.name)
		// otherwise another caller was faster
		if code := fault.Of(err).Code; err != nil && code != fault.Conflict && code != fault.WorkspaceNotFound {
			return removed, err
		}
		removed++
	}
	return removed, err
}

// refuseIfUsed returns a fault if the query finds an execution that uses the workspace.
func (t *tx) refuseIfUsed(ctx context.Context, query string, id int64) error {
	var user execution.ID
	err := t.row(ctx, query, id).Scan(&user)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "The execution %s uses this workspace; wait until it has ended, or cancel it.",
		user).
		Detail("execution_id", user)
}

const entryColumns = `e.path, e.kind, e.mode, coalesce(e.target, ''), e.modified_at, coalesce(b.id, 0),
	coalesce(b.size, 0), b.sum`

func scanEntry(r scanner) (e execution.Entry, err error) {
	var at int64
	var sum []byte
	err = r.Scan(&e.Path, &e.Kind, &e.Mode, &e.Target, &at, &e.Blob.ID, &e.Blob.Size, &sum)
	e.ModifiedAt = timeOf(at)
	copy(e.Blob.Sum[:], sum)
	return e, err
}

// Entries implements httpapi.Workspaces. It lists the entries whose path begins with prefix and sorts after the given
// path.
func (s *Store) Entries(
	ctx context.Context, subject, name, prefix, after string, limit int,
) ([]execution.Entry, error) {
	if _, err := s.Workspace(ctx, subject, name); err != nil {
		return nil, err
	}
	return collect(ctx, s.readers, "list files", scanEntry, `SELECT `+entryColumns+`
		FROM workspaces w CROSS JOIN entries e ON e.workspace = w.id LEFT JOIN blobs b ON b.id = e.blob
		WHERE w.subject = ? AND w.name = ? AND e.path >= ? AND e.path < ?
		ORDER BY e.path LIMIT ? + 0`, subject, name, max(prefix, after+"\x00"), behindPrefix(prefix), limit)
}

// behindPrefix returns a text that sorts after all paths with a prefix and before all paths that follow them. SQLite
// compares texts byte by byte.
func behindPrefix(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			return prefix[:i] + string([]byte{prefix[i] + 1})
		}
	}
	return "\xff" // no path begins with this byte
}

// Entry implements gateway.Workspaces and hopx.Workspaces.
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
	return e, wrapError("get file", err)
}

// Snapshot implements dispatch.Workspaces.
func (s *Store) Snapshot(ctx context.Context, id execution.ID) ([]execution.Entry, error) {
	return collect(ctx, s.readers, "list snapshot", scanEntry, `SELECT `+entryColumns+`
		FROM executions x CROSS JOIN entries e ON e.workspace = x.workspace LEFT JOIN blobs b ON b.id = e.blob
		WHERE x.id = ? ORDER BY e.path`, id)
}

// ReleaseSnapshot implements dispatch.Workspaces.
func (s *Store) ReleaseSnapshot(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "release snapshot", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `DELETE FROM snapshots WHERE execution = (SELECT seq FROM executions WHERE id = ?)`, id)
		return events{}, err
	})
}

// blobsOfEntries lists the blobs of the entries that the condition chooses.
func (t *tx) blobsOfEntries(ctx context.Context, where string, args ...any) ([]int64, error) {
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

// discardBatch is the number of pieces of a blob that one transaction deletes, so that no other write waits long.
const discardBatch = 32

// Discard implements dispatch.Workspaces. It keeps the blobs that a row refers to.
func (s *Store) Discard(ctx context.Context, blobs []execution.Blob) {
	ids := make([]int64, 0, len(blobs))
	for _, b := range blobs {
		ids = append(ids, b.ID)
	}
	s.discard(ctx, ids)
}

// discard deletes blobs that no row refers to. A failure is harmless: Sweep deletes the blobs that are left.
func (s *Store) discard(ctx context.Context, blobs []int64) {
	ctx = context.WithoutCancel(ctx)
	for _, id := range blobs {
		for more := true; more; {
			err := s.writer.do(ctx, "discard blob", volatile, func(ctx context.Context, t *tx) (events, error) {
				n, err := t.exec(ctx, `DELETE FROM pieces WHERE blob = ?1
					AND at IN (SELECT at FROM pieces WHERE blob = ?1 LIMIT ?2 + 0)`+unreferenced("?1"), id,
					discardBatch)
				if more = n == discardBatch; more || err != nil {
					return events{}, err
				}
				_, err = t.exec(ctx, `DELETE FROM blobs WHERE id = ?1`+unreferenced("?1"), id)
				return events{}, err
			})
			if err != nil {
				return
			}
		}
	}
}

// parents returns the directories above a path, the outermost first.
func parents(name string) (above []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		above = append([]string{dir}, above...)
	}
	return above
}

// findEntry returns the entry at a path; there is false if there is none.
func (t *tx) findEntry(ctx context.Context, workspace int64, name string) (e execution.Entry, there bool, err error) {
	e, err = scanEntry(t.row(ctx, `SELECT `+entryColumns+` FROM entries e LEFT JOIN blobs b ON b.id = e.blob
		WHERE e.workspace = ? AND e.path = ?`,
		workspace, name))
	if errors.Is(err, sql.ErrNoRows) {
		return execution.Entry{}, false, nil
	}
	return e, err == nil, err
}

func (t *tx) upsertEntry(ctx context.Context, workspace int64, e execution.Entry) error {
	var blob, target any
	switch e.Kind {
	case execution.EntryFile:
		blob = e.Blob.ID
	case execution.EntryLink:
		target = e.Target
	case execution.EntryDir:
	}
	_, err := t.exec(ctx, `INSERT OR REPLACE INTO entries (workspace, path, kind, mode, size, blob, target, modified_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		workspace, e.Path, e.Kind, e.Mode, e.Blob.Size, blob, target, unixNano(e.ModifiedAt))
	if err != nil {
		return fmt.Errorf("put %q: %w", e.Path, err)
	}
	return nil
}

// updateWorkspaceSize counts size and entries of a workspace anew. It reads all entries, whose number is bounded.
func (t *tx) updateWorkspaceSize(
	ctx context.Context, workspace int64, at time.Time,
) (size int64, entries int, err error) {
	err = t.row(ctx, `UPDATE workspaces SET used_at = max(used_at, ?2),
		(size, entries) = (SELECT coalesce(sum(size), 0), count(*) FROM entries WHERE workspace = ?1)
		WHERE id = ?1 RETURNING size, entries`, workspace, unixNano(at)).Scan(&size, &entries)
	return size, entries, err
}
