package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// statements are the prepared statements of a connection, which live as long as the connection: to prepare a statement
// often costs more than to run it. For the same reason a limit is written `LIMIT ? + 0`. SQLite makes a bare parameter
// there part of the plan and prepares the statement anew for each value.
type statements struct {
	on       preparer
	mu       sync.Mutex // guards compiled, not the statements in it
	compiled map[string]*sql.Stmt
}

type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

func newStatements(on preparer) *statements {
	return &statements{on: on, compiled: make(map[string]*sql.Stmt)}
}

// prepare returns the prepared statement of a query. The number of statements is bounded because all queries are
// constants of this package.
func (p *statements) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := p.cached(query, nil); s != nil {
		return s, nil
	}
	s, err := p.on.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first := p.cached(query, s); first != s { // another goroutine prepared it at the same time
		return first, s.Close() //nolint:sqlclosecheck // the cached statement is used instead
	}
	return s, nil
}

// cached returns the cached statement of a query. If there is none it caches s, unless s is nil, and returns s.
func (p *statements) cached(query string, s *sql.Stmt) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.compiled[query]; ok || s == nil {
		return first
	}
	p.compiled[query] = s
	return s
}

// execNoArgs runs a statement without arguments.
func (p *statements) execNoArgs(ctx context.Context, query string) error {
	_, err := p.exec(ctx, query)
	return err
}

// exec runs a statement and returns the number of changed rows.
func (p *statements) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := p.prepare(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
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
	s, err := p.prepare(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(ctx, args...)
}

func (p *statements) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := p.prepare(ctx, query) //nolint:sqlclosecheck // it lives as long as the connection
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

// uncached runs queries that have too many forms to cache a statement of each.
type uncached struct{ *sql.DB }

func (u uncached) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return u.QueryContext(ctx, query, args...)
}

type querier interface {
	rows(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// collect scans all rows of a query.
func collect[T any](
	ctx context.Context, from querier, act string, scan func(scanner) (T, error), query string, args ...any,
) (list []T, err error) {
	rows, err := from.rows(ctx, query, args...)
	if err != nil {
		return nil, wrapError(act, err)
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, wrapError(act, err)
		}
		list = append(list, item)
	}
	return list, wrapError(act, rows.Err())
}

// scanner is one row of a result.
type scanner interface{ Scan(dest ...any) error }

// failedRow stands for the row of a query that could not be prepared; Scan returns the error.
type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }
