package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/quota"
)

// recordSize is the share of an ended execution's rows in its stored size, in bytes. Measured: 0.9 KiB for an execution
// with a callback and one attempt.
const recordSize = 1 << 10

// grownSize is the size of new results, in bytes, after which upkeep looks at the quotas before its next round.
const grownSize = 4 << 20

// sizeOf returns the stored size of a result with the body of its callback, which may be empty.
func sizeOf(r execution.Result, body []byte) int64 {
	size := recordSize + len(body)
	for _, o := range []execution.Output{r.Stdout, r.Stderr} {
		size += len(o.Head) + len(o.Tail)
	}
	if r.Artifacts != nil {
		for _, f := range r.Artifacts.Files {
			size += int(f.Blob.Size)
		}
	}
	return int64(size)
}

// countStored adds n bytes to the stored size of a subject and of all subjects; n may be negative. The transaction that
// changes the size of a result calls it.
func (t *tx) countStored(ctx context.Context, subject string, n int64) error {
	t.stored += n
	t.grown += max(n, 0)
	_, err := t.exec(ctx, `INSERT INTO stored (subject, size) VALUES (?, ?)
		ON CONFLICT DO UPDATE SET size = size + excluded.size`, subject, n)
	return err
}

// growResult adds n bytes to a stored result.
func (t *tx) growResult(ctx context.Context, seq int64, subject string, n int64) error {
	if _, err := t.exec(ctx, `UPDATE results SET size = size + ? WHERE execution = ?`, n, seq); err != nil {
		return err
	}
	return t.countStored(ctx, subject, n)
}

// uncountRemovable subtracts the sizes of the results that selectRemovable chooses.
func (t *tx) uncountRemovable(ctx context.Context, ended, dead time.Time, n int) error {
	rows, err := t.rows(ctx, `SELECT subject, size FROM results WHERE execution IN (`+selectRemovable+`)`,
		unixNano(ended), unixNano(dead), n)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	freed := make(map[string]int64)
	for rows.Next() {
		var subject string
		var size int64
		if err := rows.Scan(&subject, &size); err != nil {
			return err
		}
		freed[subject] += size
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for subject, size := range freed {
		if err := t.countStored(ctx, subject, -size); err != nil {
			return err
		}
	}
	return nil
}

// takeGrown reports whether the results have grown by grownSize since it last returned true.
func (t *tx) takeGrown() bool {
	if t.grown < grownSize {
		return false
	}
	t.grown = 0
	return true
}

// The two queries of an enqueue. The second one is only made while all results together are over their limit.
const (
	selectStoredOf = `SELECT coalesce((SELECT size FROM stored WHERE subject = ?1), 0)
		+ coalesce((SELECT sum(size) FROM workspaces WHERE subject = ?1), 0)`
	selectShareOf = `SELECT coalesce((SELECT size FROM stored WHERE subject = ?), 0),
		(SELECT count(*) FROM stored WHERE size > 0)`
)

// checkStored returns a fault if the subject stores more than its quota, or more than its equal share of a store that
// is full.
func (t *tx) checkStored(ctx context.Context, subject string, limits execution.QueueLimits) error {
	if limits.SubjectStored > 0 {
		var used int64
		if err := t.row(ctx, selectStoredOf, subject).Scan(&used); err != nil {
			return err
		}
		if used >= limits.SubjectStored {
			return quota.Exceeded(quota.StoredSize, limits.SubjectStored, used, min(recordSize, limits.SubjectStored))
		}
	}
	if limits.Stored <= 0 || t.stored < limits.Stored {
		return nil
	}
	var used, subjects int64
	if err := t.row(ctx, selectShareOf, subject).Scan(&used, &subjects); err != nil {
		return err
	}
	if share := limits.Stored / max(subjects, 1); used > share {
		return quota.Exceeded(quota.StoredSize, share, used, min(recordSize, share))
	}
	return nil
}

// Stored implements upkeep.Store.
func (s *Store) Stored(ctx context.Context) ([]execution.Stored, error) {
	scan := func(r scanner) (n execution.Stored, err error) {
		return n, r.Scan(&n.Subject, &n.Results, &n.Workspaces)
	}
	all, err := collect(ctx, s.readers, "list stored sizes", scan, `SELECT subject, size, 0 FROM stored WHERE size > 0`)
	if err != nil {
		return nil, err
	}
	workspaces, err := collect(ctx, s.readers, "list sizes of workspaces", scan,
		`SELECT subject, 0, sum(size) FROM workspaces GROUP BY subject`)
	if err != nil {
		return nil, err
	}
	of := make(map[string]int, len(all))
	for i, n := range all {
		of[n.Subject] = i
	}
	for _, n := range workspaces {
		if i, ok := of[n.Subject]; ok {
			all[i].Workspaces = n.Workspaces
		} else if n.Workspaces > 0 {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b execution.Stored) int {
		return cmp.Or(cmp.Compare(b.Results, a.Results), cmp.Compare(a.Subject, b.Subject))
	})
	return all, nil
}

// Grown implements upkeep.Store. It has one receiver.
func (s *signals) Grown() <-chan struct{} { return s.grown }

// selectOldest walks along the results of a subject, the oldest end first.
const selectOldest = `SELECT r.execution, r.completed_at, r.size, coalesce(length(b.body), 0),
		` + removable + ` AS removable
	FROM results r LEFT JOIN deliveries d ON d.execution = r.execution LEFT JOIN bodies b ON b.execution = r.execution
	WHERE r.subject = ?1 AND (r.completed_at, r.execution) > (?3, ?4)
	ORDER BY r.completed_at, r.execution LIMIT ?5 + 0`

// storedResult is one result on the walk of Evict.
type storedResult struct {
	seq, completedAt int64
	size, body       int64
	removable        bool
}

// Evict implements upkeep.Store. Transactions are short, as those of Remove, and not worth an fsync.
func (s *Store) Evict(ctx context.Context, subject string, excess int64, dead time.Time) (freed int64, err error) {
	var at storedResult // the last one
	for n, more := 1, true; more && freed < excess; {
		var took time.Duration
		err := s.writer.do(ctx, "evict results", volatile, func(ctx context.Context, t *tx) (events, error) {
			began, position, gone := time.Now(), at, int64(0)
			results, err := t.oldestResults(ctx, subject, dead, position, n)
			if err != nil {
				return events{}, err
			}
			for _, r := range results {
				position = r
				if freed+gone >= excess {
					break
				}
				size, err := t.evict(ctx, r)
				if err != nil {
					return events{}, err
				}
				gone += size
			}
			if gone > 0 {
				err = t.countStored(ctx, subject, -gone)
			}
			at, more, freed, took = position, len(results) == n, freed+gone, time.Since(began)
			return events{}, err
		})
		if err != nil {
			return freed, err
		}
		n = nextBatch(n, took)
	}
	return freed, nil
}

func (t *tx) oldestResults(
	ctx context.Context, subject string, dead time.Time, after storedResult, n int,
) (found []storedResult, err error) {
	rows, err := t.rows(ctx, selectOldest, subject, unixNano(dead), after.completedAt, after.seq, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	for rows.Next() {
		var r storedResult
		if err := rows.Scan(&r.seq, &r.completedAt, &r.size, &r.body, &r.removable); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

// evict removes an ended execution, or only its output and artifacts if its callback still needs the record. It returns
// the bytes that this frees.
func (t *tx) evict(ctx context.Context, r storedResult) (freed int64, err error) {
	if r.removable {
		freed = r.size
	} else {
		freed = max(0, r.size-r.body-recordSize)
	}
	if freed == 0 {
		return 0, nil
	}
	// No execution refers to these blobs any more, so Sweep need not wait until they are old.
	queries := []string{`UPDATE blobs SET made_at = 0 WHERE id IN (SELECT blob FROM artifacts WHERE execution = ?)`}
	if r.removable {
		queries = append(queries, `DELETE FROM executions WHERE seq = ?`)
	} else {
		queries = append(queries, `DELETE FROM artifacts WHERE execution = ?`,
			`UPDATE outputs SET head = NULL, tail = NULL WHERE execution = ?`)
	}
	for _, q := range queries {
		if _, err := t.exec(ctx, q, r.seq); err != nil {
			return 0, err
		}
	}
	if r.removable {
		return freed, nil
	}
	return freed, t.markEvicted(ctx, r, freed)
}

// markEvicted says in the record that the artifacts were evicted, and subtracts freed bytes from its size.
func (t *tx) markEvicted(ctx context.Context, r storedResult, freed int64) error {
	var text sql.Null[string]
	err := t.row(ctx, `UPDATE results SET size = size - ? WHERE execution = ? RETURNING leavings`, freed, r.seq).
		Scan(&text)
	if err != nil || !text.Valid {
		return err
	}
	var o execution.Omissions
	if err := json.Unmarshal([]byte(text.V), &o); err != nil {
		return fmt.Errorf("read omissions: %w", err)
	}
	o.Cut = execution.CutEvicted
	return t.storeOmissions(ctx, r.seq, o)
}
