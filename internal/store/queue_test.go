package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
)

// checkCounts compares the counts of the queue with the stored rows.
func checkCounts(t *testing.T, s *Store) {
	t.Helper()
	count := func(query string) map[string]string {
		rows, err := s.db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close() //nolint:errcheck // Err returns its errors
		counts := make(map[string]string)
		for rows.Next() {
			var subject string
			var waiting, claimed, behind, running, size int
			if err := rows.Scan(&subject, &waiting, &claimed, &behind, &running, &size); err != nil {
				t.Fatal(err)
			}
			counts[subject] = fmt.Sprintf("%d waiting, %d claimed, %d behind, %d running, %d bytes", waiting, claimed,
				behind, running, size)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return counts
	}
	got := count(`SELECT subject, waiting, claimed, behind, running, size FROM subjects`)
	want := count(`SELECT subject, sum(state = 'queued' AND place = 'waiting'), sum(state = 'queued'
		AND place = 'claimed'),
			sum(state = 'queued' AND place = 'behind'), sum(state = 'running'), sum(` + programSize + `)
		FROM executions JOIN programs ON execution = seq WHERE state IN ('queued', 'running') GROUP BY subject`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("subjects: -there +counted:\n%s", diff)
	}
	var queued int
	if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM executions WHERE state = 'queued'
		AND place IS NOT NULL`).Scan(&queued); err != nil {
		t.Fatal(err)
	}
	var size int64
	if err := s.db.QueryRowContext(t.Context(), `SELECT coalesce(sum(`+programSize+`), 0) FROM programs`).
		Scan(&size); err != nil {
		t.Fatal(err)
	}
	var stored int64
	if err := s.db.QueryRowContext(t.Context(), `SELECT coalesce(sum(size), 0) FROM results`).
		Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if want := (totals{queued, size, stored}); s.writer.tx.totals != want { // the writer is idle
		t.Errorf("all subjects: counted %+v, there %+v", s.writer.tx.totals, want)
	}
}

func TestTheCountsAlwaysAgreeWithTheRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	random := rand.New(rand.NewPCG(1, 2))
	var known []execution.ID
	result := execution.Result{State: execution.Failed, Reason: execution.Lost, CompletedAt: time.Now()}
	delivery := &execution.Delivery{Body: []byte("{}"), NextAt: time.Now(), CreatedAt: time.Now()}
	pick := func() execution.ID { return known[random.IntN(len(known))] }
	for i := range 400 {
		var err error
		switch random.IntN(8) {
		case 0, 1:
			e := sample(fmt.Sprint("subject", random.IntN(4)))
			if random.IntN(2) == 0 {
				e.Options.Workspace.Name = "w"
			}
			if _, _, err = s.Enqueue(t.Context(), e, nil, execution.QueueLimits{Total: 20, PerSubject: 7}); err == nil {
				known = append(known, e.ID)
			}
		case 2:
			_, err = s.Claim(t.Context(), random.IntN(3), execution.ClaimLimits{})
		default:
			if len(known) == 0 {
				continue
			}
			switch random.IntN(5) {
			case 0:
				err = s.Release(t.Context(), pick())
			case 1:
				err = s.Start(t.Context(), pick(), execution.Run{Container: "b", Nonce: "n"})
			case 2:
				err = s.Requeue(t.Context(), pick())
			case 3:
				err = s.Finish(t.Context(), pick(), result, delivery)
			case 4:
				_, err = s.Cancel(t.Context(), pick(), time.Now(),
					func(execution.Execution) (execution.Result, *execution.Delivery) {
						return execution.Result{State: execution.Cancelled, Reason: execution.WasCancelled}, delivery
					})
			}
		}
		if i%20 == 0 || err == nil && i%3 == 0 {
			checkCounts(t, s)
		}
		if i == 200 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
			checkCounts(t, s)
		}
	}
}

// TestTheQueriesUseIndexes checks the plans of the frequent queries. A claim must read only the rows that it takes,
// however long the queue is: no query scans a table, and none sorts, except the few due deliveries.
func TestTheQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	joins := []string{
		"SEARCH c USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
		"SEARCH r USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
		"SEARCH z USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN",
		"SEARCH o USING PRIMARY KEY (execution=? AND stream=?) LEFT-JOIN",
		"SEARCH p USING PRIMARY KEY (execution=? AND stream=?) LEFT-JOIN",
	}
	check := func(name, query string, args []any, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, plan(t, s, query, args...)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	check("next subjects", nextSubjects, nil, "SCAN subjects USING INDEX subjects_next")
	check("its oldest", oldestOfSubject, []any{"ann"},
		"SEARCH executions USING COVERING INDEX executions_queued (subject=? AND place=?)")
	check("what is ahead", selectAhead, []any{"ann", 7, 1000}, "CO-ROUTINE (subquery-1)",
		"SEARCH q USING COVERING INDEX executions_queued (subject=? AND place=? AND rowid<?)", "SCAN (subquery-1)")
	const walk = "SEARCH executions USING COVERING INDEX executions_of_workspace "
	check("taken", hasWriter, []any{1}, "SCAN CONSTANT ROW", "SCALAR SUBQUERY 1",
		walk+"(workspace=? AND writes=? AND state=?)")
	check("next in turn", selectNextBehind, []any{1}, walk+"(workspace=? AND writes=? AND state=? AND place=?)")
	check("used", selectUser, []any{1}, "SEARCH executions USING INDEX executions_of_workspace (workspace=?)")
	check("written", selectRunningWriter, []any{1},
		"SEARCH executions USING INDEX executions_of_workspace (workspace=? AND writes=? AND state=?)")
	check("what is to be removed", selectRemovable, []any{1, 1, 1},
		"SEARCH r USING COVERING INDEX results_completed (completed_at<?)",
		"CORRELATED SCALAR SUBQUERY 1", "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
		"SEARCH q USING INDEX executions_open_of_batch (batch=?)",
		"SEARCH d USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN")
	check("expired keys", selectExpiredKeys, []any{1},
		"SEARCH idempotency USING COVERING INDEX idempotency_oldest (created_at<?)")
	destinations := []string{ // from one destination to the next, not row by row
		"CO-ROUTINE pending",
		"SETUP", "SEARCH deliveries USING COVERING INDEX deliveries_pending",
		"RECURSIVE STEP", "SCAN pending",
		"CORRELATED SCALAR SUBQUERY 2", "SEARCH d USING COVERING INDEX deliveries_pending (destination>?)",
	}
	check("due", selectDue, []any{"[]", 1, "[]", 4, 64}, append(slices.Clone(destinations),
		"SCAN pending",
		"LIST SUBQUERY 4", "SCAN json_each VIRTUAL TABLE INDEX 1:", "CREATE BLOOM FILTER",
		"SEARCH d USING INTEGER PRIMARY KEY (rowid=?)",
		"CORRELATED LIST SUBQUERY 7",
		"SEARCH deliveries USING COVERING INDEX deliveries_pending (destination=? AND next_at<?)",
		"LIST SUBQUERY 6", "SEARCH f USING COVERING INDEX sqlite_autoindex_executions_1 (id=?)",
		"LIST SUBQUERY 5", "SCAN json_each VIRTUAL TABLE INDEX 1:", "CREATE BLOOM FILTER",
		"SEARCH e USING INTEGER PRIMARY KEY (rowid=?)",
		"USE TEMP B-TREE FOR ORDER BY")...) // a few of each destination
	check("next due", selectNextDue, []any{1}, append(slices.Clone(destinations),
		"SEARCH pending",
		"CORRELATED SCALAR SUBQUERY 4",
		"SEARCH deliveries USING COVERING INDEX deliveries_pending (destination=? AND next_at>?)")...)
	check("running", selectRunning, nil,
		append([]string{"SEARCH e USING INDEX executions_running (state=?)"}, joins...)...)
	check("open ones of a batch", selectOpen, []any{"x"}, "SCAN CONSTANT ROW", "SCALAR SUBQUERY 1",
		"SEARCH executions USING INDEX executions_open_of_batch (batch=?)")
	check("a batch", selectBatch, []any{"x"},
		append([]string{"SEARCH e USING INDEX executions_of_batch (batch=?)"}, joins...)...)
	check("cancel requests", selectCancelRequested, nil, "SEARCH executions USING INDEX executions_running (state=?)")

	f := execution.Filter{Before: "x", Since: time.Now(), Language: "python", Limit: 1}
	query, args := selectList(f, "")
	check("all subjects' list", query, args,
		append([]string{"SEARCH e USING INDEX sqlite_autoindex_executions_1 (id>? AND id<?)"}, joins...)...)
	query, args = selectWalkEnd(f)
	check("the end of a walk", query, args,
		"SEARCH e USING COVERING INDEX sqlite_autoindex_executions_1 (id>? AND id<?)")
	byState := []string{"LIST SUBQUERY 1", "SCAN json_each VIRTUAL TABLE INDEX 1:", "CREATE BLOOM FILTER"}
	f.Subject, f.States = "ann", execution.States()
	query, args = selectWalkEnd(f)
	check("the end of a subject's walk", query, args,
		"SEARCH e USING COVERING INDEX executions_of_subject (subject=? AND id>? AND id<?)")
	query, args = selectList(f, "end")
	check("a subject's list", query, args, append(append([]string{
		"SEARCH e USING INDEX executions_of_subject (subject=? AND id>? AND id<?)",
	}, byState...), joins...)...)
	f.States = []execution.State{execution.Running}
	query, args = selectList(f, "")
	check("what runs of a subject", query, args, append(append(append([]string{
		"SEARCH e USING INDEX executions_running (state=?)",
	}, byState...), joins...), "USE TEMP B-TREE FOR ORDER BY")...)
	f.Batch = "x"
	query, args = selectList(f, "")
	check("what runs of a batch", query, args, append(append(append([]string{
		"SEARCH e USING INDEX executions_of_batch (batch=?)",
	}, byState...), joins...), "USE TEMP B-TREE FOR ORDER BY")...)
}

// TestListsOfDeliveriesUseIndexes checks that a page of deliveries only costs the page: each state is read along a
// covering index up to the size of the page, and only these rows are sorted.
func TestListsOfDeliveriesUseIndexes(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	before := execution.DeliveryCursor{CreatedAt: time.Now(), Execution: "x"}
	for name, c := range map[string]struct {
		filter execution.DeliveryFilter
		walk   string
		walks  int
	}{
		"all subjects' dead": {
			execution.DeliveryFilter{States: []execution.DeliveryState{execution.Dead}},
			"deliveries_of_all (state=?)", 1,
		},
		"all subjects'": {execution.DeliveryFilter{}, "deliveries_of_all (state=?)", 3},
		"to a destination": {
			execution.DeliveryFilter{Destination: "https://a:443"},
			"deliveries_of_all (state=?)",
			3,
		},
		"since": {
			execution.DeliveryFilter{Since: time.Now()},
			"deliveries_of_all (state=? AND created_at>?)", 3,
		},
		"from a cursor": {
			execution.DeliveryFilter{Before: before},
			"deliveries_of_all (state=? AND created_at<?)", 3,
		},
		"a subject's": {
			execution.DeliveryFilter{Subject: "ann"},
			"deliveries_of_subject (subject=? AND state=?)", 3,
		},
		"a subject's, at most": {
			execution.DeliveryFilter{Subject: "ann", Until: time.Now()},
			"deliveries_of_subject (subject=? AND state=? AND created_at<?)", 3,
		},
		"a subject's, paged on": {
			execution.DeliveryFilter{Subject: "ann", Before: before},
			"deliveries_of_subject (subject=? AND state=? AND created_at<?)", 3,
		},
	} {
		query, args := selectDeliveries(c.filter, nil)
		walks := 0
		for _, line := range plan(t, s, query, args...) {
			switch {
			case strings.HasPrefix(line, "SEARCH deliveries"):
				walks++
				if line != "SEARCH deliveries USING COVERING INDEX "+c.walk {
					t.Errorf("%s: %s", name, line)
				}
			case strings.HasPrefix(line, "SCAN") && line != "SCAN p" && !strings.HasPrefix(line, "SCAN (subquery-"):
				t.Errorf("%s: %s", name, line)
			}
		}
		if walks != c.walks {
			t.Errorf("%s: got %d walks, want %d:\n%s", name, walks, c.walks,
				strings.Join(plan(t, s, query, args...), "\n"))
		}
	}
	query, args := selectDead("ann", deadDelivery{}, time.Now())
	got := strings.Join(plan(t, s, query, args...), "\n")
	const walk = "SEARCH deliveries USING COVERING INDEX deliveries_of_subject " +
		"(subject=? AND state=? AND created_at>? AND created_at<?)"
	if got != walk {
		t.Errorf("Recover:\n%s", got)
	}
}

// plan returns the lines of EXPLAIN QUERY PLAN.
func plan(t *testing.T, s *Store, query string, args ...any) (lines []string) {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // Err returns its errors
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(detail))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestCodeAndEnvAreDeletedWhenTheExecutionEnds(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	e := sample("ann")
	if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	programs := func() (n int) {
		if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM programs`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := programs(); n != 1 {
		t.Fatalf("got %d programs before the end, want 1", n)
	}
	delivery := &execution.Delivery{Body: []byte("{}"), NextAt: time.Now(), CreatedAt: time.Now()}
	if err := s.Finish(t.Context(), e.ID, execution.Result{State: execution.Failed, Reason: execution.StartFailed},
		delivery); err != nil {
		t.Fatal(err)
	}
	if n := programs(); n != 0 {
		t.Errorf("got %d programs after the end, want 0", n)
	}
}

func TestExpiredKeysAreDeletedWithNewOnes(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	start := time.Now()
	keys := func() (n int) {
		if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM idempotency`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	use := func(key string, at time.Time) {
		e := sample("ann")
		e.CreatedAt = at
		if _, _, err := s.Enqueue(t.Context(), e, &execution.Idempotency{Key: key, Fingerprint: "f"},
			execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		use(fmt.Sprint("old", i), start)
	}
	var got []int
	for i := range 8 {
		use(fmt.Sprint("new", i), start.Add(idempotencyWindow+time.Hour))
		got = append(got, keys())
	}
	if diff := cmp.Diff([]int{9, 8, 7, 6, 5, 6, 7, 8}, got); diff != "" {
		t.Errorf("keys kept: -want +got:\n%s", diff)
	}
}

func TestEachSealedReturnsTheHeadOfEveryField(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	e := sample("ann")
	e.Code, e.Env, e.Callback.Headers, e.Callback.Secret = []byte("1-code"), []byte("2-env"), []byte("3-headers"),
		[]byte("4-secret")
	e.Input = []byte("6-input")
	if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	bare := sample("ann")
	bare.Env, bare.Callback.Headers, bare.Callback.Secret, bare.Code = nil, nil, nil, []byte("5-code")
	if _, _, err := s.Enqueue(t.Context(), bare, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	if err := s.ChangeEnvironment(t.Context(), "ann",
		func(execution.Sealed) (execution.Sealed, error) { return []byte("7-environment"), nil }); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := EachSealed(t.Context(), dir, 3, func(head []byte) error {
		got = append(got, string(head))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if want := []string{"1-c", "2-e", "3-h", "4-s", "5-c", "6-i", "7-e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	stop := errors.New("enough")
	if err := EachSealed(t.Context(), dir, 3, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what f returned", err)
	}
}

func TestTheTwoPartsSignalEachOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	part := func(p Part) *Store {
		s, err := OpenPart(t.Context(), dir, p, Defaults(), discardLog())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	front, back := part(Front), part(Back)
	await := func(what string, ch <-chan struct{}) {
		t.Helper()
		select {
		case <-ch:
		case <-time.After(time.Minute):
			t.Fatalf("no signal came: %s", what)
		}
	}
	if front.Epoch() != 0 || back.Epoch() != 1 || front.Node() != back.Node() {
		t.Errorf("epochs %d and %d, nodes %s and %s", front.Epoch(), back.Epoch(), front.Node(), back.Node())
	}
	for _, ch := range []<-chan struct{}{back.Queued(), back.Cancelling(), front.Pending()} {
		await("the start", ch)
	}
	e := sample("ann")
	if _, _, err := front.Enqueue(t.Context(), e, nil, execution.QueueLimits{Total: 1}); err != nil {
		t.Fatal(err)
	}
	var claimed []execution.Execution
	for len(claimed) == 0 {
		await("that something is queued", back.Queued())
		var err error
		if claimed, err = back.Claim(t.Context(), 1, execution.ClaimLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := front.Enqueue(t.Context(), sample("ann"), nil, execution.QueueLimits{Total: 1}); err == nil {
		t.Error("a second one was taken into a queue of one")
	}
	moves, leave := front.Moves(e.ID)
	defer leave()
	if err := back.Start(t.Context(), e.ID,
		execution.Run{Node: back.Node(), Epoch: back.Epoch(), Container: "b", Nonce: "n"}); err != nil {
		t.Fatal(err)
	}
	// the first signal may be of an earlier change
	for got := (execution.Execution{}); got.State != execution.Running; {
		await("that it runs", moves)
		var err error
		if got, err = front.Get(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
	}
	for at, piece := range map[int64]string{0: "one ", 4: "two"} {
		if err := back.Publish(t.Context(), e.ID, execution.Stdout, at, []byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := front.Published(t.Context(), e.ID, execution.Stdout, 0); err != nil || string(got) != "one two" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := front.Published(t.Context(), e.ID, execution.Stdout, 4); err != nil || string(got) != "two" {
		t.Errorf("from there on: got %q, %v", got, err)
	}
	ended, release := front.Ended(e.ID)
	defer release()
	r := execution.Result{
		State: execution.Completed, Reason: execution.Exited, ExitCode: new(0),
		CompletedAt: time.Now(),
	}
	var d *execution.Delivery
	if e.Callback.URL != "" {
		d = &execution.Delivery{Body: []byte("{}"), NextAt: time.Now(), CreatedAt: time.Now()}
	}
	if err := back.Finish(t.Context(), e.ID, r, d); err != nil {
		t.Fatal(err)
	}
	await("that it ended", ended)
	await("that it ended, too", moves)
	await("that its result is to be sent", front.Pending())
	if got, err := front.Published(t.Context(), e.ID, execution.Stdout, 0); err != nil || len(got) != 0 {
		t.Errorf("after the end %q is still published, %v", got, err)
	}
	if err := back.Publish(t.Context(), e.ID, execution.Stdout, 7, []byte("late")); !errors.Is(err, ErrStale) {
		t.Errorf("what ended was published: %v", err)
	}
	if _, _, err := front.Enqueue(t.Context(), sample("ann"), nil, execution.QueueLimits{Total: 1}); err != nil {
		t.Errorf("the queue is empty again, and yet: %v", err)
	}
}

func TestAnOldReportIsUnavailable(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := s.Reported(t.Context(), "docker"); err == nil {
		t.Error("without a report all is well")
	}
	for _, sentence := range []string{"", "The engine sleeps."} {
		if err := s.Report(t.Context(), "docker", sentence); err != nil {
			t.Fatal(err)
		}
		if err := s.Reported(t.Context(),
			"docker"); (err == nil) != (sentence == "") || err != nil && !strings.Contains(err.Error(), sentence) {
			t.Errorf("reported %q, got %v", sentence, err)
		}
	}
	if err := s.Report(t.Context(), "docker", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.writer.do(t.Context(), "age", durable, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `UPDATE reports SET at = at - ?`, maxReportAge+time.Second)
		return events{}, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reported(t.Context(), "docker"); err == nil || !strings.Contains(err.Error(), "not been heard of") {
		t.Errorf("an old report: got %v", err)
	}
}
