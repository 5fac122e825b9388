package store_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"boomerang/internal/execution"
	"boomerang/internal/store"
	"boomerang/internal/store/storetest"
)

// recorder records every statement of its connections, with the arguments of its first use.
type recorder struct {
	mu      sync.Mutex
	queries map[string][]any
}

// newRecorder registers a driver that passes everything on to SQLite's and records it.
func newRecorder() (e *recorder, name string) {
	// a test may run twice in one process
	e, name = &recorder{queries: make(map[string][]any)}, "sqlite recorded by "+rand.Text()
	sql.Register(name, recordingDriver{recorder: e})
	return e, name
}

func (e *recorder) record(query string, args []driver.NamedValue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.queries[query]; ok {
		return
	}
	values := make([]any, 0, len(args))
	for _, a := range args {
		values = append(values, a.Value)
	}
	e.queries[query] = values
}

type recordingDriver struct{ recorder *recorder }

func (h recordingDriver) Open(string) (driver.Conn, error) { return nil, driver.ErrSkip }

func (h recordingDriver) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := sqlite.NewConnector(dsn)
	return recordingConnector{Connector: c, recorder: h.recorder}, err
}

type recordingConnector struct {
	driver.Connector

	recorder *recorder
}

func (c recordingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	// SQLite's driver implements it
	return recordingConn{fullConn: conn.(fullConn), recorder: c.recorder}, nil //nolint:forcetypeassert,errcheck
}

type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

type recordingConn struct {
	fullConn

	recorder *recorder
}

func (c recordingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.fullConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	full := s.(fullStmt) //nolint:forcetypeassert,errcheck // SQLite's driver implements it
	return recordingStmt{fullStmt: full, query: query, recorder: c.recorder}, nil
}

func (c recordingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.recorder.record(query, args)
	return c.fullConn.ExecContext(ctx, query, args)
}

func (c recordingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.recorder.record(query, args)
	return c.fullConn.QueryContext(ctx, query, args)
}

type fullStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type recordingStmt struct {
	fullStmt

	query    string
	recorder *recorder
}

func (s recordingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.recorder.record(s.query, args)
	return s.fullStmt.ExecContext(ctx, args)
}

func (s recordingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.recorder.record(s.query, args)
	return s.fullStmt.QueryContext(ctx, args)
}

// walks are the allowed scans of a whole table or index, with the reasons.
var walks = map[string]string{
	"SCAN node":         "it has one row",
	"SCAN breakers":     "once, at the start",
	"SCAN environments": "at the start, and when all environments are sealed anew",
	"SCAN subjects":     "at the start, and for the metrics",
	"SCAN subjects USING INDEX subjects_next":                "it ends with the first row",
	"SCAN executions USING COVERING INDEX executions_queued": "once, at the start: the queue is counted",
	"SCAN executions USING INDEX executions_queued":          "once, at the start: claims are void",
	"SCAN e USING INDEX sqlite_autoindex_executions_1":       "the list of all subjects ends with the page",
	"SCAN blobs":        "on a reader, so no write waits",
	"SCAN heads":        "one row for each pair that it returns",
	"SCAN p":            "one page",
	"SCAN CONSTANT ROW": "it has one row",
}

// sorts are the queries that may sort, by words of the query, with the reasons.
var sorts = map[string]string{
	"GROUP BY subject ON CONFLICT":            "once, at the start: the running executions",
	"INSERT OR IGNORE INTO snapshots":         "the entries of one workspace",
	"SELECT DISTINCT blob FROM entries":       "the entries of one workspace",
	"AND e.batch = ?":                         "one batch",
	"FROM (SELECT execution, created_at FROM": "one page of each state",
}

// TestEveryStatementUsesAnIndex checks the plans of all statements that the contract's tests, and the few below, sent
// to SQLite: only the listed statements scan a table or sort. So every tested query is checked. And each index is used.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	recorder, name := newRecorder()
	open := func(t *testing.T, dir string, part store.Part) *store.Store {
		t.Helper()
		return openPart(t, name, dir, part)
	}
	t.Run("the contract", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) func() storetest.Store {
			t.Helper()
			dir := t.TempDir()
			return func() storetest.Store { return contractStore{open(t, dir, store.Whole)} }
		})
	})
	t.Run("other queries", func(t *testing.T) {
		dir := t.TempDir()
		runOtherQueries(t, open(t, dir, store.Front), open(t, dir, store.Back))
	})

	dir := t.TempDir()
	open(t, dir, store.Whole).Close() //nolint:errcheck // it was made
	db, err := sql.Open("sqlite", store.DSN(filepath.Join(dir, store.DatabaseFile)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it was read
	used := recorder.checkPlans(t, db)
	t.Run("with statistics", func(t *testing.T) {
		fillUnevenly(t, dir)
		path := filepath.Join(dir, store.DatabaseFile)
		shell, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = shell.ExecContext(t.Context(), `ANALYZE`) // as an operator may
			err = errors.Join(err, shell.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := sql.Open("sqlite", store.DSN(path))
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close() //nolint:errcheck // it was read
		recorder.checkPlans(t, again)
	})
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'index'
		AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err returns its errors
	for rows.Next() {
		var index string
		if err := rows.Scan(&index); err != nil {
			t.Fatal(err)
		}
		// used by deletions of executions
		if !strings.Contains(used, " "+index) && index != "idempotency_of_execution" {
			t.Errorf("no statement uses the index %s", index)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// checkPlans checks the plans of all recorded statements and returns the plans.
func (e *recorder) checkPlans(t *testing.T, db *sql.DB) string {
	t.Helper()
	var all strings.Builder
	seen := 0
	for _, query := range slices.Sorted(maps.Keys(e.queries)) {
		switch verb, _, _ := strings.Cut(query, " "); verb {
		case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH":
		default:
			continue
		}
		seen++
		if bareLimit.MatchString(query) {
			t.Errorf("SQLite prepares it anew for each value: write LIMIT ? + 0\n%s", query)
		}
		for _, line := range explain(t, db, query, e.queries[query]) {
			fmt.Fprintln(&all, "", line)
			if reason := objection(query, line); reason != "" {
				t.Errorf("%s: %s\n%s", reason, line, query)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d statements were recorded", seen)
	}
	return all.String()
}

// bareLimit matches a bare parameter after LIMIT, with which SQLite prepares the statement anew for each value.
var bareLimit = regexp.MustCompile(`LIMIT \?\d*([^\d +]|$| [^+])`)

// objection returns the reason why a line of a plan is not allowed.
func objection(query, line string) string {
	switch {
	case strings.Contains(line, "AUTOMATIC"):
		return "SQLite makes an index for one query"
	case strings.HasPrefix(line, "SCAN json_each"), strings.HasPrefix(line, "SCAN (subquery-"):
	case strings.HasPrefix(line, "SCAN"):
		if walks[line] == "" {
			return "a scan"
		}
	case strings.HasPrefix(line, "USE TEMP B-TREE"):
		for words := range sorts {
			if strings.Contains(strings.Join(strings.Fields(query), " "), words) {
				return ""
			}
		}
		return "a sort"
	}
	return ""
}

func explain(t *testing.T, db *sql.DB, query string, args []any) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		t.Fatalf("explain %s: %v", query, err)
	}
	defer rows.Close() //nolint:errcheck // Err returns its errors
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// runOtherQueries sends the statements that are no part of the contract. Other tests check their results.
func runOtherQueries(t *testing.T, front, back *store.Store) {
	t.Helper()
	ctx := t.Context()
	e := queued(1)
	_, leave := front.Moves(e.ID)
	defer leave()
	if _, _, err := front.Enqueue(ctx, e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	if err := back.Start(ctx, e.ID, execution.Run{Container: "b", Nonce: "n"}); err != nil {
		t.Fatal(err)
	}
	ask := func(_ any, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	ask(nil, back.Publish(ctx, e.ID, execution.Stdout, 0, []byte("x")))
	ask(nil, back.Report(ctx, "engine", ""))
	ask(front.LastReport(ctx, "engine"))
	ask(front.Published(ctx, e.ID, execution.Stdout, 0))
	ask(front.Tally(ctx))
	ask(front.WorkspaceResult(ctx, e.ID))
	w, err := back.NewBlob(ctx)
	ask(nil, err)
	blob, err := w.Close()
	ask(nil, err)
	ended, release := front.Ended(e.ID)
	defer release()
	ask(nil, back.Finish(ctx, e.ID, execution.Result{
		State: execution.Completed, Reason: execution.Exited, CompletedAt: time.Now(),
		Artifacts: &execution.Artifacts{Files: []execution.Artifact{{Path: "a", Blob: blob}}},
	}, nil))
	ask(front.Artifacts(ctx, e.ID))
	_, _, err = front.Artifact(ctx, e.ID, "a")
	ask(nil, err)
	<-ended // the other process polls for the end
}

// fillUnevenly fills a store with executions that mostly belong to one subject and have mostly ended.
func fillUnevenly(t *testing.T, dir string) {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // it was written
	for i := range 400 {
		e := queued(10)
		if i%50 == 0 {
			e.Subject = fmt.Sprint("bob", i)
		}
		e.Callback.URL = "https://receiver.example/"
		if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			continue // it stays queued
		}
		now := time.Now()
		if err := s.Start(t.Context(), e.ID,
			execution.Run{Container: "b", Nonce: "n", StartedAt: now, Deadline: now}); err != nil {
			t.Fatal(err)
		}
		if i%20 == 1 {
			continue // it stays running
		}
		if err := s.Finish(t.Context(), e.ID,
			execution.Result{State: execution.Completed, Reason: execution.Exited, CompletedAt: now},
			&execution.Delivery{Body: []byte("{}"), NextAt: now, CreatedAt: now}); err != nil {
			t.Fatal(err)
		}
	}
}
