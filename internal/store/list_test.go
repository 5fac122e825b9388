package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"

	"boomerang/internal/execution"
	"boomerang/internal/quota"
	"boomerang/internal/store"
)

// walked counts the rows that statements with the function walked() visit.
var walked atomic.Int64

var registerWalked = sync.OnceFunc(func() {
	sqlite.MustRegisterScalarFunction("walked", 1,
		func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
			walked.Add(1)
			return int64(1), nil
		})
})

// openCounting opens a store whose lists count the rows that they walk over.
func openCounting(t *testing.T, dir string) *store.Store {
	t.Helper()
	registerWalked()
	recorder, name := newRecorder()
	counted := strings.NewReplacer(
		` WHERE true`, ` WHERE walked(e.seq)`, ` WHERE state = `, ` WHERE walked(execution) AND state = `,
		`(SELECT 1 FROM executions WHERE subject = `, `(SELECT 1 FROM executions WHERE walked(seq) AND subject = `,
		`WHERE w.subject = ? AND w.name = ? AND`, `WHERE walked(e.size) AND w.subject = ? AND w.name = ? AND`)
	recorder.rewrite = func(query string) string {
		if strings.HasPrefix(query, "SELECT") {
			return counted.Replace(query)
		}
		return query
	}
	return openPart(t, name, dir, store.Whole)
}

// fillEnded stores n ended executions of a subject with delivered callbacks, a second apart, the last one now. Every
// seventh hundredth is in the language node, and its callback went to another receiver. The function writes rows,
// because 50 000 real executions would take minutes.
func fillEnded(t *testing.T, dir, subject string, n int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, store.DatabaseFile))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it was written
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	insert := func(query string, args ...any) {
		if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for i := range n {
		at := now.Add(time.Duration(i-n) * time.Second)
		id, language, destination := execution.NewID(at), "python", "https://receiver.example:443"
		if i%700 == 0 {
			language, destination = "node", "https://other.example:443"
		}
		insert(`INSERT INTO executions (id, name, subject, language, working_dir, timeout, created_at, state)
			VALUES (?, '', ?, ?, '/workspace', 1, ?, 'completed')`, id, subject, language, at.UnixNano())
		insert(`INSERT INTO callbacks (execution, url, depth)
			SELECT seq, 'https://receiver.example/hook', 0 FROM executions WHERE id = ?`, id)
		insert(`INSERT INTO deliveries (execution, subject, destination, state, reason, attempts, created_at, ended_at)
			SELECT seq, subject, ?, 'delivered', '', 1, created_at, created_at FROM executions WHERE id = ?`,
			destination, id)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// many is the number of stored executions in the tests of bounded walks.
const many = 50_000

// most is the largest number of rows that one page may walk over: 1000 for each of the three states of deliveries, when
// the end of the walk is found, and again when the page is read.
const most = 6 * 1000

// combine calls do with each combination of values of the fields of a filter. Each field must have values.
func combine[F any](t *testing.T, values map[string][]any, do func(F)) {
	t.Helper()
	filters := []F{*new(F)}
	for field := range reflect.TypeFor[F]().Fields() {
		if len(values[field.Name]) == 0 {
			t.Fatalf("the filter %s has no values in this test", field.Name)
		}
		var next []F
		for _, f := range filters {
			for _, value := range values[field.Name] {
				reflect.ValueOf(&f).Elem().FieldByName(field.Name).Set(reflect.ValueOf(value))
				next = append(next, f)
			}
		}
		filters = next
	}
	for _, f := range filters {
		do(f)
	}
}

// TestAPageOfAnyFilterWalksABoundedNumberOfRows tries every combination of filters beside 50 000 executions of the
// subject. No combination may cost more than a long page.
func TestAPageOfAnyFilterWalksABoundedNumberOfRows(t *testing.T) {
	dir := t.TempDir()
	s := openCounting(t, dir)
	fillEnded(t, dir, "eve", many)
	now := time.Now()
	middle, old := now.Add(-many/2*time.Second), now.Add(-2*many*time.Second)
	check := func(f any, read func() error) {
		walked.Store(0)
		if err := read(); err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		if n := walked.Load(); n > most {
			t.Errorf("%+v walks over %d rows, want %d at most", f, n, most)
		}
	}
	times := []any{time.Time{}, middle, now.Add(time.Hour)}
	page := func() execution.Page {
		found, err := s.List(t.Context(), execution.Filter{Subject: "eve", Until: middle, Limit: 1})
		if err != nil || len(found.Executions) != 1 {
			t.Fatalf("got %+v, %v", found, err)
		}
		return found
	}()
	combine(t, map[string][]any{
		"Subject": {"", "eve"},
		"States": {
			[]execution.State(nil),
			[]execution.State{execution.Queued},
			[]execution.State{execution.Running},
			[]execution.State{execution.Queued, execution.Running},
			[]execution.State{execution.Completed},
		},
		"Language": {"", "python", "zz"},
		"Batch":    {execution.BatchID(""), execution.NewBatchID(now)},
		"Since":    times, "Until": times,
		"Before": {execution.ID(""), page.Next, execution.NewID(old)},
		"Limit":  {200},
	}, func(f execution.Filter) {
		check(f, func() error { _, err := s.List(t.Context(), f); return err })
	})
	cursor := execution.DeliveryCursor{CreatedAt: page.Executions[0].CreatedAt, Execution: page.Next}
	combine(t, map[string][]any{
		"Subject": {"", "eve"},
		"States": {
			[]execution.DeliveryState(nil),
			[]execution.DeliveryState{execution.Dead},
			[]execution.DeliveryState{execution.Delivered, execution.Pending},
		},
		"Destination": {"", "https://receiver.example:443", "https://zz.example:443"},
		"Since":       times, "Until": times,
		"Before": {execution.DeliveryCursor{}, cursor, execution.DeliveryCursor{CreatedAt: old, Execution: "gone"}},
		"Limit":  {200},
	}, func(f execution.DeliveryFilter) {
		check(f, func() error { _, err := s.Deliveries(t.Context(), f); return err })
	})
	walked.Store(0)
	if n, err := s.Share(t.Context(), "eve"); err != nil || n.Kept != 10_000 || walked.Load() != 10_000 {
		t.Errorf("Share counts %d after %d rows, %v; want 10 000", n.Kept, walked.Load(), err)
	}
}

func TestTheWalksAreCounted(t *testing.T) {
	dir := t.TempDir()
	s := openCounting(t, dir)
	fillEnded(t, dir, "eve", 100)
	for name, read := range map[string]func() error{
		"List": func() error {
			_, err := s.List(t.Context(), execution.Filter{Subject: "eve", Limit: 200})
			return err
		},
		"Deliveries": func() error {
			_, err := s.Deliveries(t.Context(), execution.DeliveryFilter{Subject: "eve", Limit: 200})
			return err
		},
		"Share": func() error { _, err := s.Share(t.Context(), "eve"); return err },
	} {
		walked.Store(0)
		if err := read(); err != nil || walked.Load() != 100 {
			t.Errorf("%s: %d rows are counted, %v; want 100", name, walked.Load(), err)
		}
	}
}

// TestPagesOfARareFilterFindEverything follows the cursors of lists whose pages end before they are full.
func TestPagesOfARareFilterFindEverything(t *testing.T) {
	dir := t.TempDir()
	s := openCounting(t, dir)
	fillEnded(t, dir, "eve", 2500)
	fillEnded(t, dir, "ann", 2500)
	for _, subject := range []string{"eve", ""} {
		want := 4
		if subject == "" {
			want = 8
		}
		var found []execution.ID
		pages := 0
		for f := (execution.Filter{Subject: subject, Language: "node", Limit: 3}); ; pages++ {
			page, err := s.List(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Executions {
				found = append(found, e.ID)
			}
			if page.Next == "" {
				break
			}
			if f.Before != "" && page.Next >= f.Before {
				t.Fatalf("the cursor goes from %s to %s", f.Before, page.Next)
			}
			f.Before = page.Next
		}
		ordered := slices.IsSortedFunc(found, func(a, b execution.ID) int {
			return strings.Compare(string(b), string(a))
		})
		if len(found) != want || !ordered || len(slices.Compact(found)) != want || pages > 8 {
			t.Errorf("subject %q: %d pages have %v, want %d executions, newest first", subject, pages, found, want)
		}
		found, pages = nil, 0
		for f := (execution.DeliveryFilter{
			Subject: subject, Destination: "https://other.example:443", Limit: 3,
		}); ; pages++ {
			page, err := s.Deliveries(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range page.Deliveries {
				found = append(found, d.Execution)
			}
			if f.Before = page.Next; page.Next.Execution == "" {
				break
			}
		}
		if len(found) != want || len(slices.Compact(slices.Sorted(slices.Values(found)))) != want || pages > 8 {
			t.Errorf("subject %q: %d pages have %v, want %d deliveries", subject, pages, found, want)
		}
	}
}

// TestALongRunningExecutionIsOnTheFirstPage checks that newer executions do not hide one that runs.
func TestALongRunningExecutionIsOnTheFirstPage(t *testing.T) {
	dir := t.TempDir()
	s := openCounting(t, dir)
	e := queued(1)
	e.Subject = "eve"
	e.CreatedAt = time.Now().Add(-2 * time.Hour)
	e.ID = execution.NewID(e.CreatedAt)
	if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), e.ID, execution.Run{Container: "b", Nonce: "n"}); err != nil {
		t.Fatal(err)
	}
	fillEnded(t, dir, "eve", 3000)
	running := []execution.State{execution.Running}
	page, err := s.List(t.Context(), execution.Filter{Subject: "eve", States: running, Limit: 10})
	if err != nil || len(page.Executions) != 1 || page.Executions[0].ID != e.ID || page.Next != "" {
		t.Errorf("got %+v, %v; want %s alone", page, err, e.ID)
	}
}

// TestReadsOfOneSubjectLeaveConnectionsToOthers lets all reads of one subject hang.
func TestReadsOfOneSubjectLeaveConnectionsToOthers(t *testing.T) {
	recorder, name := newRecorder()
	hang := make(chan struct{})
	var hanging atomic.Int64
	s := openPart(t, name, t.TempDir(), store.Whole)
	recorder.read = func(ctx context.Context) {
		if quota.SubjectOf(ctx) == "eve" {
			hanging.Add(1)
			<-hang
			hanging.Add(-1)
		}
	}
	id := execution.NewID(time.Now())
	reads := map[string]func(ctx context.Context){
		"List":       func(ctx context.Context) { _, _ = s.List(ctx, execution.Filter{Limit: 1}) },
		"Deliveries": func(ctx context.Context) { _, _ = s.Deliveries(ctx, execution.DeliveryFilter{Limit: 1}) },
		"Recover":    func(ctx context.Context) { _, _ = s.Recover(ctx, execution.Recovery{}, time.Now()) },
		"Workspaces": func(ctx context.Context) { _, _ = s.Workspaces(ctx, "x", "", 1) },
		"Entries":    func(ctx context.Context) { _, _ = s.Entries(ctx, "x", "w", "", "", 1) },
		"Share":      func(ctx context.Context) { _, _ = s.Share(ctx, "x") },
		"Get":        func(ctx context.Context) { _, _ = s.Get(ctx, id) },
		"Output":     func(ctx context.Context) { _, _ = s.Output(ctx, id, execution.Stdout) },
		"Artifacts":  func(ctx context.Context) { _, _ = s.Artifacts(ctx, id) },
		"Attempts":   func(ctx context.Context) { _, _ = s.Attempts(ctx, id) },
		"Blob": func(ctx context.Context) {
			_, _ = s.Blob(ctx, execution.Blob{ID: 1, Size: 1}).Read(make([]byte, 1))
		},
	}
	var all sync.WaitGroup
	for _, read := range reads {
		for range 2 {
			all.Go(func() { read(quota.WithSubject(t.Context(), "eve")) })
		}
	}
	for hanging.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(quota.WithSubject(t.Context(), "bob"), time.Minute)
	defer cancel()
	for name, read := range reads {
		if read(ctx); ctx.Err() != nil {
			t.Errorf("%s waits for reads of another subject", name)
			break
		}
	}
	if n := hanging.Load(); n != 1 { // a quarter of four connections
		t.Errorf("%d reads of one subject have connections, want 1", n)
	}
	close(hang)
	all.Wait()
}

// TestEntriesWithAPrefixAreFoundAlongTheIndex lists files whose names are at the borders of prefixes.
func TestEntriesWithAPrefixAreFoundAlongTheIndex(t *testing.T) {
	s := openCounting(t, t.TempDir())
	paths := []string{"a", "a.b", "a0", "ab", "b", "é", "éa", "ê", "\U0010FFFF", "\U0010FFFFa"}
	for i := range 500 {
		paths = append(paths, fmt.Sprintf("m%03d", i))
	}
	for _, path := range paths {
		e := execution.Entry{Path: path, Kind: execution.EntryDir, ModifiedAt: time.Now()}
		if _, err := s.Put(t.Context(), "ann", "w", e, execution.Condition{}, execution.WorkspaceLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"a", "", []string{"a", "a.b", "a0", "ab"}},
		{"a", "a", []string{"a.b", "a0", "ab"}},
		{"a", "zz", nil},
		{"é", "", []string{"é", "éa"}},
		{"\U0010FFFF", "", []string{"\U0010FFFF", "\U0010FFFFa"}},
		{"zz", "", nil},
	} {
		walked.Store(0)
		entries, err := s.Entries(t.Context(), "ann", "w", c.prefix, c.after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Path)
		}
		if !slices.Equal(got, c.want) || walked.Load() != int64(len(c.want)) {
			t.Errorf("prefix %q after %q: got %q after %d rows, want %q", c.prefix, c.after, got, walked.Load(),
				c.want)
		}
	}
	entries, err := s.Entries(t.Context(), "ann", "w", "", "", 1000)
	if err != nil || len(entries) != len(paths) {
		t.Errorf("%d entries have any prefix, %v; want %d", len(entries), err, len(paths))
	}
}
