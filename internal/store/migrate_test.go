package store

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"boomerang/internal/execution"
)

func TestDeliveriesOfTheFirstSchemaAreListedAndSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := migrations.ReadFile("migrations/0001_executions.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, DatabaseFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{
		`CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT`,
		`INSERT INTO migrations VALUES (1, '0001', 1)`,
		string(first),
		`INSERT INTO executions (seq, id, name, subject, language, working_dir, timeout, created_at, state)
			VALUES (7, 'exec_1', '', 'ann', 'python', '/', 1, 1, 'failed')`,
		`INSERT INTO callbacks (execution, url, depth) VALUES (7, 'https://a.example/', 0)`,
		`INSERT INTO deliveries VALUES (7, 'https://a.example:443', 'dead', 'exhausted', 11, NULL, 2, 3)`,
		`INSERT INTO bodies VALUES (7, x'7b7d')`,
	} {
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatalf("%v in\n%s", err, script)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := open(t, dir)
	for subject, want := range map[string]int{"ann": 1, "": 1, "ben": 0} {
		list, err := s.Deliveries(t.Context(), execution.DeliveryFilter{Subject: subject, Limit: 10})
		if err != nil || len(list) != want {
			t.Errorf("of %q: got %+v, %v; want %d", subject, list, err, want)
		}
	}
	now := time.Unix(1, 0).UTC()
	if n, err := s.Recover(t.Context(), execution.Recovery{Subject: "ann"}, now); err != nil || n != 1 {
		t.Fatalf("recovered %d, %v; want 1", n, err)
	}
	due, err := s.Due(t.Context(), now, 10, 10, nil, nil)
	if err != nil || len(due) != 1 {
		t.Fatalf("due: %+v, %v; want one", due, err)
	}
	if d, err := s.Delivery(t.Context(), due[0].Execution); err != nil || d.Attempts != 11 || d.Resumed != 11 || string(d.Body) != "{}" {
		t.Errorf("due: %+v, %v; want it after 11 attempts", d, err)
	}
}
