package store

import (
	"context"
	"database/sql"
	"errors"

	"boomerang/internal/execution"
)

const selectEnvironment = `SELECT env FROM environments WHERE subject = ?`

// Environment returns the sealed variables that each program of the subject has without asking; nil when there are none.
// Fault SERVICE_UNAVAILABLE also after Close.
func (s *Store) Environment(ctx context.Context, subject string) (env execution.Sealed, err error) {
	env, err = scanEnvironment(s.readers.QueryRowContext(ctx, selectEnvironment, subject))
	if err != nil && s.writer.stops() {
		err = unavailable("read environment", errClosed)
	}
	return env, explain("read environment", err)
}

// ChangeEnvironment puts what change makes of a subject's environment in its place, durably; nothing else changes it
// meanwhile. Nil is no environment. An error of change is returned, and nothing was changed.
func (s *Store) ChangeEnvironment(
	ctx context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error),
) error {
	return s.writer.do(ctx, "change environment", durable, func(ctx context.Context, t *tx) (news, error) {
		old, err := scanEnvironment(t.row(ctx, selectEnvironment, subject))
		if err != nil {
			return news{}, err
		}
		env, err := change(old)
		switch {
		case err != nil:
		case len(env) == 0:
			_, err = t.exec(ctx, `DELETE FROM environments WHERE subject = ?`, subject)
		default:
			_, err = t.exec(ctx, `INSERT OR REPLACE INTO environments (subject, env) VALUES (?, ?)`, subject, env)
		}
		return news{}, err
	})
}

func scanEnvironment(r scanner) (env execution.Sealed, err error) {
	err = r.Scan((*[]byte)(&env))
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return env, err
}
