package store

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
)

// makeOldDatabase makes a database in dir whose schema ends with a migration, and runs the scripts.
func makeOldDatabase(t testing.TB, dir string, number int, scripts ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, DatabaseFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the scripts are committed
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the scripts are committed
	if err := migrateTo(t.Context(), conn, discardLog(), number); err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if _, err := conn.ExecContext(t.Context(), script); err != nil {
			t.Fatalf("%v in\n%s", err, script)
		}
	}
}

func TestDeliveriesOfTheFirstSchemaAreListedAndSentAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeOldDatabase(
		t, dir, 1,
		`INSERT INTO executions (seq, id, name, subject, language, working_dir, timeout, created_at, state)
			VALUES (7, 'exec_1', '', 'ann', 'python', '/', 1, 1, 'failed')`,
		`INSERT INTO callbacks (execution, url, depth) VALUES (7, 'https://a.example/', 0)`,
		`INSERT INTO deliveries VALUES (7, 'https://a.example:443', 'dead', 'exhausted', 11, NULL, 2, 3)`,
		`INSERT INTO bodies VALUES (7, x'7b7d')`,
	)

	s := open(t, dir)
	for subject, want := range map[string]int{"ann": 1, "": 1, "ben": 0} {
		list, err := s.Deliveries(t.Context(), execution.DeliveryFilter{Subject: subject, Limit: 10})
		if err != nil || len(list.Deliveries) != want {
			t.Errorf("Deliveries of %q = %+v, %v; want %d", subject, list, err, want)
		}
	}
	now := time.Unix(1, 0).UTC()
	if n, err := s.Recover(t.Context(), execution.Recovery{Subject: "ann"}, now); err != nil || n != 1 {
		t.Fatalf("Recover = %d, %v; want 1", n, err)
	}
	due, err := s.Due(t.Context(), now, 10, 10, nil, nil)
	if err != nil || len(due) != 1 {
		t.Fatalf("Due = %+v, %v; want one", due, err)
	}
	d, err := s.Delivery(t.Context(), due[0].Execution)
	if err != nil || d.Attempts != 11 || d.Resumed != 11 || string(d.Body) != "{}" {
		t.Errorf("Delivery = %+v, %v; want it resumed after 11 attempts", d, err)
	}
}

// makeDatabaseWithNumberedPlaces makes a database whose column claimed holds numbers, with n queued executions in each
// of the three places, a running and an ended one. Those named "exec_b…" are behind "exec_c1": they change the same
// workspace.
func makeDatabaseWithNumberedPlaces(t testing.TB, dir string, n int) {
	t.Helper()
	insert := func(id, subject, state string, claimed, workspace, n int) string {
		return fmt.Sprintf(`INSERT INTO executions
				(id, name, subject, language, working_dir, timeout, created_at, state, claimed, workspace, writes)
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT '%s' || i, '', '%s', 'python', '/', 1, i, '%s', %d, nullif(%d, 0), %d FROM n`,
			n, id, subject, state, claimed, workspace, min(workspace, 1))
	}
	makeOldDatabase(
		t, dir, 13,
		`INSERT INTO workspaces (id, subject, name, created_at, used_at) VALUES (1, 'ann', 'w', 1, 1)`,
		insert("exec_w", "ben", "queued", 0, 0, n),
		insert("exec_c", "ann", "queued", 1, 1, 1),
		insert("exec_d", "cid", "queued", 1, 0, n-1),
		insert("exec_b", "ann", "queued", 2, 1, n),
		insert("exec_r", "dan", "running", 0, 0, 1),
		insert("exec_e", "dan", "failed", 0, 0, 1),
		`INSERT INTO programs (execution) SELECT seq FROM executions WHERE state IN ('queued', 'running')`,
		`INSERT INTO runs (execution, node, epoch, container, nonce) SELECT seq, 'n', 1, 'c', 'n' FROM executions
			WHERE state = 'running'`,
	)
}

func TestNumberedPlacesBecomeWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeDatabaseWithNumberedPlaces(t, dir, 2)

	// A process that takes executions in begins no epoch, so all claims hold.
	front, err := OpenPart(t.Context(), dir, Front, Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	got := map[execution.ID]string{}
	rows, err := front.db.QueryContext(t.Context(), `SELECT id, coalesce(place, '') FROM executions`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err returns its errors
	for rows.Next() {
		var id execution.ID
		var place string
		if err := rows.Scan(&id, &place); err != nil {
			t.Fatal(err)
		}
		got[id] = place
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[execution.ID]string{
		"exec_w1": "waiting", "exec_w2": "waiting", "exec_c1": "claimed", "exec_d1": "claimed", "exec_b1": "behind",
		"exec_b2": "behind",
		"exec_r1": "", "exec_e1": "",
	}, got); diff != "" {
		t.Errorf("places after the upgrade: -want +got:\n%s", diff)
	}
	if err := front.Close(); err != nil {
		t.Fatal(err)
	}

	s := open(t, dir) // voids the claims
	checkCounts(t, s)
	claims, err := s.Claim(t.Context(), 10, execution.ClaimLimits{})
	if err != nil {
		t.Fatal(err)
	}
	var claimed []execution.ID
	for _, e := range claims {
		claimed = append(claimed, e.ID)
	}
	slices.Sort(claimed)
	if diff := cmp.Diff([]execution.ID{"exec_c1", "exec_d1", "exec_w1", "exec_w2"}, claimed); diff != "" {
		t.Errorf("Claim after the upgrade: -want +got:\n%s", diff)
	}
	result := execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: time.Now()}
	if err := s.Finish(t.Context(), "exec_c1", result, nil); err != nil {
		t.Fatal(err)
	}
	claims, err = s.Claim(t.Context(), 10, execution.ClaimLimits{})
	if err != nil || len(claims) != 1 || claims[0].ID != "exec_b1" {
		t.Errorf("Claim after the end of exec_c1 = %v, %v; want exec_b1, which was behind it", claims, err)
	}
	checkCounts(t, s)
}

// BenchmarkUpgradeOfNumberedPlaces measures the migration of 99 999 queued executions from schema 13.
func BenchmarkUpgradeOfNumberedPlaces(b *testing.B) {
	for range b.N {
		b.StopTimer()
		dir := b.TempDir()
		makeDatabaseWithNumberedPlaces(b, dir, 33_333)
		b.StartTimer()
		s := open(b, dir)
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
