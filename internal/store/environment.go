package store

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"boomerang/internal/execution"
)

const selectEnvironment = `SELECT env FROM environments WHERE subject = ?`

// environed tells whether any subject has, or had since the start, an environment: where none has, every submission is
// spared a query. The one process that changes them is the one that reads them.
type environed struct{ atomic.Bool }

func (e *environed) open(ctx context.Context, p *statements) error {
	var some bool
	err := p.row(ctx, `SELECT EXISTS (SELECT 1 FROM environments)`).Scan(&some)
	e.Store(some)
	return err
}

// Environment returns the sealed variables that each program of the subject has without asking; nil when there are none.
// Fault SERVICE_UNAVAILABLE also after Close.
func (s *Store) Environment(ctx context.Context, subject string) (env execution.Sealed, err error) {
	if !s.environed.Load() && !s.writer.stops() {
		return nil, nil
	}
	env, err = scanEnvironment(s.readers.row(ctx, selectEnvironment, subject))
	if err != nil && s.writer.stops() {
		err = unavailable("read environment", errClosed)
	}
	return env, explain("read environment", err)
}

// Environments lists the subjects that have an environment.
func (s *Store) Environments(ctx context.Context) ([]string, error) {
	return collect(ctx, s.readers, "list environments", func(r scanner) (subject string, err error) { return subject, r.Scan(&subject) },
		`SELECT subject FROM environments ORDER BY subject`)
}

// ChangeEnvironment puts what change makes of a subject's environment in its place, durably; nothing else changes it
// meanwhile. Nil is no environment. An error of change is returned, and nothing was changed.
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
			s.environed.Store(true)
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
