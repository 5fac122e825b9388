package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/auth"
)

const selectRevocations = `SELECT kind, name, before, until FROM revocations WHERE until = 0 OR until > ?
	ORDER BY kind, name`

// Revocations implements auth.RevocationList.
func (s *Store) Revocations(ctx context.Context, now time.Time) ([]auth.Revocation, error) {
	return collect(ctx, s.readers, "read revocations", scanRevocation, selectRevocations, unixNano(now))
}

// Revocations returns the revocations in the data directory dir that still hold at now. A server may use the directory
// meanwhile.
func Revocations(ctx context.Context, dir string, now time.Time) (list []auth.Revocation, err error) {
	db, err := openInUse(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return collect(ctx, uncached{newReaders(db, 1), db}, "read revocations", scanRevocation, selectRevocations,
		unixNano(now))
}

// Revoke adds a revocation to the data directory dir, and removes those that hold no longer. Of two revocations of one
// subject the later times hold. A server may use the directory meanwhile; it reads the list every few seconds.
func Revoke(ctx context.Context, dir string, r auth.Revocation, now time.Time) (err error) {
	db, err := openInUse(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `DELETE FROM revocations WHERE until <> 0 AND until <= ?`,
		unixNano(now)); err != nil {
		return fmt.Errorf("remove old revocations: %w", err)
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO revocations (kind, name, before, until) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET before = max(before, excluded.before),
			until = CASE WHEN until = 0 OR excluded.until = 0 THEN 0 ELSE max(until, excluded.until) END`,
		r.Kind, r.Name, nanoOrZero(r.Before), nanoOrZero(r.Until)); err != nil {
		return fmt.Errorf("store revocation: %w", err)
	}
	return nil
}

// nanoOrZero returns 0 for the zero time, which the column cannot hold as NULL.
func nanoOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOrZero(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return timeOf(ns)
}

func scanRevocation(r scanner) (v auth.Revocation, err error) {
	var before, until int64
	err = r.Scan(&v.Kind, &v.Name, &before, &until)
	v.Before, v.Until = timeOrZero(before), timeOrZero(until)
	return v, err
}
