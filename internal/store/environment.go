package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"boomerang/internal/execution"
)

const selectEnvironment = `SELECT env FROM environments WHERE subject = ?`

// environmentFlag is set if any subject has an environment, or has had one since the start. While it is not set,
// submissions need no query. The process that reads environments is the only one that changes them.
type environmentFlag struct{ atomic.Bool }

func (e *environmentFlag) open(ctx context.Context, p *readers) error {
	var some bool
	err := p.row(ctx, `SELECT EXISTS (SELECT 1 FROM environments)`).Scan(&some)
	e.Store(some)
	return err
}

// Environment implements admission.Store. It returns SERVICE_UNAVAILABLE also after Close.
func (s *Store) Environment(ctx context.Context, subject string) (env execution.Sealed, err error) {
	if !s.hasEnvironments.Load() && !s.writer.isStopping() {
		return nil, nil
	}
	env, err = scanEnvironment(s.readers.row(ctx, selectEnvironment, subject))
	if err != nil && s.writer.isStopping() {
		err = unavailableFault("read environment", errClosed)
	}
	return env, wrapError("read environment", err)
}

// Environments implements admission.Store.
func (s *Store) Environments(ctx context.Context) ([]string, error) {
	return collect(ctx, s.readers, "list environments",
		func(r scanner) (subject string, err error) { return subject, r.Scan(&subject) },
		`SELECT subject FROM environments ORDER BY subject`)
}

// ChangeEnvironment implements admission.Store. An empty result of change deletes the environment.
func (s *Store) ChangeEnvironment(
	ctx context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error),
) error {
	return s.writer.do(ctx, "change environment", durable, func(ctx context.Context, t *tx) (events, error) {
		old, err := scanEnvironment(t.row(ctx, selectEnvironment, subject))
		if err != nil {
			return events{}, err
		}
		env, err := change(old)
		switch {
		case err != nil:
		case len(env) == 0:
			_, err = t.exec(ctx, `DELETE FROM environments WHERE subject = ?`, subject)
		default:
			_, err = t.exec(ctx, `INSERT OR REPLACE INTO environments (subject, env) VALUES (?, ?)`, subject, env)
			s.hasEnvironments.Store(true)
		}
		return events{}, err
	})
}

func scanEnvironment(r scanner) (env execution.Sealed, err error) {
	err = r.Scan((*[]byte)(&env))
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return env, err
}
