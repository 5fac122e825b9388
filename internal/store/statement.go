package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// statements are compiled once and live as long as their connections: to compile one often costs more than to run it.
// For the same reason a limit is written `LIMIT ? + 0`: a bare parameter there is part of the plan, and to bind it compiles anew.
type statements struct {
	on       preparer
	mu       sync.Mutex // guards the map, not the statements
	compiled map[string]*sql.Stmt
}

type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func newStatements(on preparer) *statements {
	return &statements{on: on, compiled: make(map[string]*sql.Stmt)}
}

// prepared returns the statement of a query. The queries are those of this package, so there is an end to them.
func (p *statements) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := p.known(query, nil); s != nil {
		return s, nil
	}
	s, err := p.on.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first := p.known(query, s); first != s { // somebody else was quicker
		return first, s.Close() //nolint:sqlclosecheck // it is not kept
	}
	return s, nil
}

// known returns the statement that is kept for a query, which is s when there was none.
func (p *statements) known(query string, s *sql.Stmt) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.compiled[query]; ok || s == nil {
		return first
	}
	p.compiled[query] = s
	return s
}

// control runs what has no arguments and no answer.
func (p *statements) control(ctx context.Context, query string) error {
	_, err := p.exec(ctx, query)
	return err
}

// exec returns how many rows were changed.
func (p *statements) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := p.prepared(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (p *statements) row(ctx context.Context, query string, args ...any) scanner {
	s, err := p.prepared(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
	if err != nil {
		return failed{err}
	}
	return s.QueryRowContext(ctx, args...)
}

func (p *statements) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := p.prepared(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (p *statements) close() error {
	var errs []error
	for _, s := range p.compiled {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// unprepared asks what is asked in too many ways for each to be kept compiled.
type unprepared struct{ *sql.DB }

func (u unprepared) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return u.QueryContext(ctx, query, args...)
}

type asker interface {
	rows(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect reads all rows of a query.
func collect[T any](
	ctx context.Context, from asker, act string, scan func(scanner) (T, error), query string, args ...any,
) (list []T, err error) {
	rows, err := from.rows(ctx, query, args...)
	if err != nil {
		return nil, explain(act, err)
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, explain(act, err)
		}
		list = append(list, item)
	}
	return list, explain(act, rows.Err())
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

// failed is the row of a query that could not be made.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }
