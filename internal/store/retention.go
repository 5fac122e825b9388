package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// What is removed is chosen along the index of the times at which executions ended. A pending delivery keeps its execution,
// however old it is; a dead one keeps it longer than others. What the one callback of a batch will tell of is kept until all
// of it have ended.
const selectRemovable = `SELECT r.execution FROM results r LEFT JOIN deliveries d ON d.execution = r.execution
	WHERE r.completed_at < ?1 AND (d.state IS NULL OR d.state = 'delivered' OR d.state = 'dead' AND d.ended_at < ?2)
		AND NOT EXISTS (SELECT 1 FROM executions e CROSS JOIN executions q ON q.batch = e.batch
			WHERE e.seq = r.execution AND e.summary AND q.batch IS NOT NULL AND q.state IN ('queued', 'running'))
	ORDER BY r.completed_at LIMIT ?3 + 0`

// Remove forgets up to limit ended executions with all that belongs to them, the longest ended first: those that ended
// before ended, and of those whose delivery is dead only the ones that were given up before dead. It returns how many;
// fewer than limit means that no more are to be removed. It is not worth an fsync: what comes back after a crash is
// removed again. The files that they left go with the next Sweep.
func (s *Store) Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error) {
	return s.inShares(ctx, "remove executions", limit, func(ctx context.Context, t *tx, n int) (int64, error) {
		// Nobody holds their blobs any more, so they need not grow old before they are swept.
		if _, err := t.exec(ctx, `UPDATE blobs SET made_at = 0 WHERE id IN (
			SELECT blob FROM artifacts WHERE execution IN (`+selectRemovable+`))`, stamp(ended), stamp(dead), n); err != nil {
			return 0, err
		}
		return t.exec(ctx, `DELETE FROM executions WHERE seq IN (`+selectRemovable+`)`, stamp(ended), stamp(dead), n)
	})
}

// share is how long others may have to wait for a share of a removal. What takes long is what is large: SQLite goes
// through all pages of it.
const share = 5 * time.Millisecond

// inShares removes up to limit things, a few in each transaction: first one, and more as long as they are quickly gone. It ends
// when one is removed fewer than it was asked for.
func (s *Store) inShares(
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
		switch {
		case gone < int64(n):
			return removed, nil
		case took < share/2:
			n *= 2
		case took > share:
			n = max(n/2, 1)
		}
	}
	return removed, nil
}

// Size is how many bytes of the database are in use, without the files of workspaces. The file itself does not shrink: what is free is used again.
func (s *Store) Size(ctx context.Context) (size int64, err error) {
	err = s.readers.row(ctx, `SELECT max(0, (p.page_count - f.freelist_count) * z.page_size - (SELECT coalesce(sum(size), 0) FROM workspaces))
		FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size z`).Scan(&size)
	return size, explain("measure database", err)
}

var errNoDatabase = errors.New("there is no database")

// Backup copies the database of the data directory dir to the new file target, as it is at one moment, while a server
// works with it or not. The copy is whole and compact; writers go on meanwhile.
func Backup(ctx context.Context, dir, target string) (err error) {
	if target, err = filepath.Abs(target); err != nil {
		return fmt.Errorf("find target: %w", err)
	}
	db, err := openBeside(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := makePrivate(target); err != nil { // VACUUM INTO takes an empty file, and keeps its rights
		return fmt.Errorf("make %s: %w", target, err)
	}
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, target); err != nil {
		return fmt.Errorf("copy database to %s: %w", target, err)
	}
	return nil
}

// EachSealed calls f with the first length bytes of every sealed field in the database of the data directory dir, while a
// server works with it or not. The error of f ends it.
func EachSealed(ctx context.Context, dir string, length int, f func(head []byte) error) (err error) {
	db, err := openBeside(ctx, dir)
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

// openBeside opens the database of a data directory that a server may be working with.
func openBeside(ctx context.Context, dir string) (*sql.DB, error) {
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
