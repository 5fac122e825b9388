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

// ear hears every statement that goes through a connection, with the arguments that came first.
type ear struct {
	mu    sync.Mutex
	heard map[string][]any
}

// newEar registers a driver, which is SQLite's and tells all that it is asked.
func newEar() (e *ear, name string) {
	e, name = &ear{heard: make(map[string][]any)}, "sqlite heard by "+rand.Text() // a test may run twice in one process
	sql.Register(name, hearing{ear: e})
	return e, name
}

func (e *ear) hear(query string, args []driver.NamedValue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.heard[query]; ok {
		return
	}
	values := make([]any, 0, len(args))
	for _, a := range args {
		values = append(values, a.Value)
	}
	e.heard[query] = values
}

type hearing struct{ ear *ear }

func (h hearing) Open(string) (driver.Conn, error) { return nil, driver.ErrSkip }

func (h hearing) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := sqlite.NewConnector(dsn)
	return hearingConnector{Connector: c, ear: h.ear}, err
}

type hearingConnector struct {
	driver.Connector

	ear *ear
}

func (c hearingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return hearingConn{fullConn: conn.(fullConn), ear: c.ear}, nil //nolint:forcetypeassert,errcheck // the driver says that it is
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

type hearingConn struct {
	fullConn

	ear *ear
}

func (c hearingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.fullConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return hearingStmt{fullStmt: s.(fullStmt), query: query, ear: c.ear}, nil //nolint:forcetypeassert,errcheck // the driver says that it is
}

func (c hearingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.ear.hear(query, args)
	return c.fullConn.ExecContext(ctx, query, args)
}

func (c hearingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.ear.hear(query, args)
	return c.fullConn.QueryContext(ctx, query, args)
}

type fullStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type hearingStmt struct {
	fullStmt

	query string
	ear   *ear
}

func (s hearingStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.ear.hear(s.query, args)
	return s.fullStmt.ExecContext(ctx, args)
}

func (s hearingStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.ear.hear(s.query, args)
	return s.fullStmt.QueryContext(ctx, args)
}

// What walks over a whole table or index, and why it may.
var walks = map[string]string{
	"SCAN node":         "it has one row",
	"SCAN breakers":     "once, at the start",
	"SCAN environments": "at the start, and when all are sealed anew",
	"SCAN subjects":     "at the start, and for the metrics",
	"SCAN subjects USING INDEX subjects_next":                "it ends with the first",
	"SCAN executions USING COVERING INDEX executions_queued": "once, at the start: the queue is counted",
	"SCAN executions USING INDEX executions_queued":          "once, at the start: claims are void",
	"SCAN e USING INDEX sqlite_autoindex_executions_1":       "the list of all ends with the page",
	"SCAN blobs":        "a reader's, on whom nobody waits",
	"SCAN pending":      "one row for a destination",
	"SCAN p":            "one page",
	"SCAN CONSTANT ROW": "it has one row",
}

// What is sorted, by words of the query, and why it may.
var sorts = map[string]string{
	"GROUP BY subject ON CONFLICT":            "once, at the start: what runs",
	"INSERT OR IGNORE INTO snapshots":         "what is in one workspace",
	"SELECT DISTINCT blob FROM entries":       "what is in one workspace",
	"AND e.batch = ?":                         "one batch",
	"WITH RECURSIVE pending":                  "a few of each destination",
	"FROM (SELECT execution, created_at FROM": "one page of each state",
}

// Every statement that the contract's tests, and the few below, sent to SQLite is a walk along an index: no table is scanned
// and nothing is sorted but where it is meant. So a
// new query is checked as soon as it is tested. And no index is there for nothing.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	ear, name := newEar()
	open := func(t *testing.T, dir string, part store.Part) *store.Store {
		t.Helper()
		return openPart(t, name, dir, part)
	}
	t.Run("the contract is heard", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) func() storetest.Store {
			t.Helper()
			dir := t.TempDir()
			return func() storetest.Store { return contractStore{open(t, dir, store.Whole)} }
		})
	})
	t.Run("and what it does not ask", func(t *testing.T) {
		dir := t.TempDir()
		askTheRest(t, open(t, dir, store.Front), open(t, dir, store.Back))
	})

	dir := t.TempDir()
	open(t, dir, store.Whole).Close() //nolint:errcheck // it was made
	db, err := sql.Open("sqlite", store.DSN(filepath.Join(dir, store.DatabaseFile)))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it was read
	used := ear.judge(t, db)
	t.Run("with statistics, too", func(t *testing.T) {
		crowd(t, dir)
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
		ear.judge(t, again)
	})
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'index' AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err says it
	for rows.Next() {
		var index string
		if err := rows.Scan(&index); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(used, " "+index) && index != "idempotency_of_execution" { // a removal follows it from the execution
			t.Errorf("nobody uses the index %s", index)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// judge looks at the plan of all that was heard, and returns all plans.
func (e *ear) judge(t *testing.T, db *sql.DB) string {
	t.Helper()
	var all strings.Builder
	seen := 0
	for _, query := range slices.Sorted(maps.Keys(e.heard)) {
		switch verb, _, _ := strings.Cut(query, " "); verb {
		case "SELECT", "INSERT", "UPDATE", "DELETE", "WITH":
		default:
			continue
		}
		seen++
		if bareLimit.MatchString(query) {
			t.Errorf("SQLite prepares it anew each time it is asked: write LIMIT ? + 0\n%s", query)
		}
		for _, line := range explain(t, db, query, e.heard[query]) {
			fmt.Fprintln(&all, "", line)
			if reason := objection(query, line); reason != "" {
				t.Errorf("%s: %s\n%s", reason, line, query)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d statements were heard", seen)
	}
	return all.String()
}

// A bare parameter behind LIMIT makes a plan one for that number: SQLite prepares the statement anew whenever it is bound.
var bareLimit = regexp.MustCompile(`LIMIT \?\d*([^\d +]|$| [^+])`)

// objection says what is wrong with a line of a plan.
func objection(query, line string) string {
	switch {
	case strings.Contains(line, "AUTOMATIC"):
		return "an index is made for one question"
	case strings.HasPrefix(line, "SCAN json_each"), strings.HasPrefix(line, "SCAN (subquery-"):
	case strings.HasPrefix(line, "SCAN"):
		if walks[line] == "" {
			return "a walk over all"
		}
	case strings.HasPrefix(line, "USE TEMP B-TREE"):
		for words := range sorts {
			if strings.Contains(strings.Join(strings.Fields(query), " "), words) {
				return ""
			}
		}
		return "it is sorted"
	}
	return ""
}

func explain(t *testing.T, db *sql.DB, query string, args []any) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		t.Fatalf("explain %s: %v", query, err)
	}
	defer rows.Close() //nolint:errcheck // Err says it
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

// askTheRest asks what is no part of the contract. What is answered is tested elsewhere.
func askTheRest(t *testing.T, front, back *store.Store) {
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
	<-ended // what the other process does is looked for
}

// crowd fills a store with a few subjects of whom one has nearly everything, most of which has ended.
func crowd(t *testing.T, dir string) {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Defaults(), silent())
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
			continue // it waits
		}
		now := time.Now()
		if err := s.Start(t.Context(), e.ID, execution.Run{Container: "b", Nonce: "n", StartedAt: now, Deadline: now}); err != nil {
			t.Fatal(err)
		}
		if i%20 == 1 {
			continue // it runs
		}
		if err := s.Finish(t.Context(), e.ID, execution.Result{State: execution.Completed, Reason: execution.Exited, CompletedAt: now},
			&execution.Delivery{Body: []byte("{}"), NextAt: now, CreatedAt: now}); err != nil {
			t.Fatal(err)
		}
	}
}
