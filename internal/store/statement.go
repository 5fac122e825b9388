package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"boomerang/internal/quota"
	"boomerang/internal/semaphore"
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

// readers read on a pool of connections. The requests of one subject hold at most a quarter of the pool at the same
// time, and one connection at least, so that other subjects' reads find a connection and a processor.
type readers struct {
	*statements
	shares *semaphore.Shares
}

func newReaders(db *sql.DB, connections int) *readers {
	return &readers{newStatements(db), semaphore.NewShares(max(1, connections/4))}
}

// share waits until the subject of ctx may use a connection. The server's own work does not wait.
func (r *readers) share(ctx context.Context) (release func(), err error) {
	subject := quota.SubjectOf(ctx)
	if subject == "" {
		return func() {}, nil
	}
	return r.shares.Acquire(ctx, subject)
}

// row runs a query that returns one row. Scan must be called, because it gives the connection back.
func (r *readers) row(ctx context.Context, query string, args ...any) scanner {
	release, err := r.share(ctx)
	if err != nil {
		return failedRow{err}
	}
	return sharedRow{r.statements.row(ctx, query, args...), release}
}

type sharedRow struct {
	scanner
	release func()
}

func (r sharedRow) Scan(dest ...any) error {
	defer r.release()
	return r.scanner.Scan(dest...)
}

// uncached runs queries that have too many forms to cache a statement of each.
type uncached struct {
	*readers
	db *sql.DB
}

func (u uncached) rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return u.db.QueryContext(ctx, query, args...)
}

type querier interface {
	rows(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	share(ctx context.Context) (release func(), err error)
}

// collect scans all rows of a query.
func collect[T any](
	ctx context.Context, from querier, act string, scan func(scanner) (T, error), query string, args ...any,
) (list []T, err error) {
	release, err := from.share(ctx)
	if err != nil {
		return nil, wrapError(act, err)
	}
	defer release()
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
