package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// selectRemovable chooses executions along the index of the times at which they ended. An execution with a pending
// delivery is kept, however old it is; one with a dead delivery is kept longer than others. An execution whose batch
// has one callback for all is kept until the whole batch has ended, because the callback reports it.
const (
	selectRemovable = `SELECT r.execution FROM results r LEFT JOIN deliveries d ON d.execution = r.execution
		WHERE r.completed_at < ?1 AND ` + removable + ` ORDER BY r.completed_at LIMIT ?3 + 0`
	removable = `(d.state IS NULL OR d.state = 'delivered' OR d.state = 'dead' AND d.ended_at < ?2)
		AND NOT EXISTS (SELECT 1 FROM executions e CROSS JOIN executions q ON q.batch = e.batch
			WHERE e.seq = r.execution AND e.summary AND q.batch IS NOT NULL AND q.state IN ('queued', 'running'))`
)

// Remove implements upkeep.Store. It is not worth an fsync: rows that come back after a crash are removed again. The
// files that the executions left are removed by the next Sweep.
func (s *Store) Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error) {
	return s.removeInBatches(ctx, "remove executions", limit, func(ctx context.Context, t *tx, n int) (int64, error) {
		// No execution refers to these blobs any more, so Sweep need not wait until they are old.
		if _, err := t.exec(ctx, `UPDATE blobs SET made_at = 0 WHERE id IN (
			SELECT blob FROM artifacts
				WHERE execution IN (`+selectRemovable+`))`, unixNano(ended), unixNano(dead), n); err != nil {
			return 0, err
		}
		if err := t.uncountRemovable(ctx, ended, dead, n); err != nil {
			return 0, err
		}
		return t.exec(ctx, `DELETE FROM executions WHERE seq IN (`+selectRemovable+`)`, unixNano(ended), unixNano(dead),
			n)
	})
}

// removalTime is how long one transaction of a removal should take at most, because other writes wait for it. SQLite
// visits every page of a removed row, so large rows take longer.
const removalTime = 5 * time.Millisecond

// removeInBatches removes up to limit rows with remove, in transactions of growing size: one row at first, and twice as
// many after a fast transaction. It ends when remove finds fewer rows than it was asked for.
func (s *Store) removeInBatches(
	ctx context.Context, act string, limit int, remove func(ctx context.Context, t *tx, n int) (int64, error),
) (removed int, err error) {
	for n := 1; removed < limit; {
		n = min(n, limit-removed)
		var gone int64
		var took time.Duration
		err := s.writer.do(ctx, act, volatile, func(ctx context.Context, t *tx) (_ events, err error) {
			began := time.Now()
			gone, err = remove(ctx, t, n)
			took = time.Since(began)
			return events{}, err
		})
		if err != nil {
			return removed, err
		}
		removed += int(gone)
		if gone < int64(n) {
			return removed, nil
		}
		n = nextBatch(n, took)
	}
	return removed, nil
}

// nextBatch returns how many rows the next transaction of a removal should remove after one of n rows.
func nextBatch(n int, took time.Duration) int {
	switch {
	case took < removalTime/2:
		return 2 * n
	case took > removalTime:
		return max(n/2, 1)
	}
	return n
}

var errNoDatabase = errors.New("there is no database")

// Backup copies the database of the data directory dir to the new file target, in the state of one moment. A server may
// use the directory meanwhile, and its writes go on. The copy is compact.
func Backup(ctx context.Context, dir, target string) (err error) {
	if target, err = filepath.Abs(target); err != nil {
		return fmt.Errorf("find target: %w", err)
	}
	db, err := openInUse(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := createPrivateFile(target); err != nil { // VACUUM INTO accepts an empty file and keeps its permissions
		return fmt.Errorf("make %s: %w", target, err)
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, target); err != nil {
		return fmt.Errorf("copy database to %s: %w", target, err)
	}
	return nil
}

// EachSealed calls f with the first length bytes of every sealed field in the database of the data directory dir, which
// a server may use meanwhile. EachSealed ends with the first error of f and returns it.
func EachSealed(ctx context.Context, dir string, length int, f func(head []byte) error) (err error) {
	db, err := openInUse(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, `SELECT substr(code, 1, ?1) FROM programs WHERE code IS NOT NULL
		UNION ALL SELECT substr(env, 1, ?1) FROM programs WHERE env IS NOT NULL
		UNION ALL SELECT substr(input, 1, ?1) FROM programs WHERE input IS NOT NULL
		UNION ALL SELECT substr(env, 1, ?1) FROM environments
		UNION ALL SELECT substr(headers, 1, ?1) FROM callbacks WHERE headers IS NOT NULL
		UNION ALL SELECT substr(secret, 1, ?1) FROM callbacks WHERE secret IS NOT NULL`, length)
	if err != nil {
		return fmt.Errorf("read sealed fields: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var head []byte
		if err := rows.Scan(&head); err != nil {
			return fmt.Errorf("read sealed fields: %w", err)
		}
		if err := f(head); err != nil {
			return err
		}
	}
	return rows.Err()
}

// openInUse opens the database of a data directory that a server may be using. It does not create one.
func openInUse(ctx context.Context, dir string) (*sql.DB, error) {
	path := filepath.Join(dir, DatabaseFile)
	db, err := sql.Open("sqlite", dsn(path, "rw", Defaults().BusyTimeout))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	var tables int
	err = db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE name = 'executions'`).Scan(&tables)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	if tables == 0 {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, errNoDatabase), db.Close())
	}
	return db, nil
}
