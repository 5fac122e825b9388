package store

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// numbers is a table of the whole numbers from 1 to its argument.
const numbers = `(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < ?)
	SELECT value FROM n)`

// depth is a store with so many queued executions of so many subjects, and so many ended executions.
type depth struct {
	queued, width, ended int

	store *Store
	next  int // number of the next submission
}

func (d *depth) String() string { return fmt.Sprint(d.queued, "q-", d.width, "w-", d.ended, "e") }

// fill fills the store by SQL.
func (d *depth) fill(b *testing.B) {
	b.Helper()
	d.store = open(b, b.TempDir())
	var steps []string // each has the number of ended executions as its argument
	if d.ended > 0 {
		subject := `'subject' || (value % ` + strconv.Itoa(d.width) + `)`
		const at = `1700000000000000000 + value * 1000000`
		steps = append(
			steps,
			`INSERT INTO executions (seq, id, name, subject, language, working_dir, timeout, created_at, state)
				SELECT value, printf('exec_00%012d', value), '', `+subject+`,
				CASE value % 5 WHEN 0 THEN 'go' ELSE 'python' END, '/', 1, `+at+`,
				CASE value % 100 WHEN 0 THEN 'timeout' ELSE 'completed' END FROM `+numbers,
			`INSERT INTO callbacks (execution, url, depth) SELECT value, 'https://a.example/', 0 FROM `+numbers,
			`INSERT INTO runs (execution, node, epoch, container, nonce, started_at, deadline)
				SELECT value, 'n', 1, 'b', 'n', `+at+`, 1 FROM `+numbers,
			`INSERT INTO results (execution, reason, exit_code, error, started_at, completed_at, duration,
				output_complete, cpu_time, max_memory)
				SELECT value, 'exited', 0, '', `+at+`, `+at+`, 1, 1, 1, 1 FROM `+numbers,
			`INSERT INTO outputs (execution, stream, bytes, head) SELECT value, 'stdout', 2, x'310a' FROM `+numbers,
			`INSERT INTO deliveries (execution, subject, destination, state, reason, attempts, created_at, ended_at)
				SELECT value, `+subject+`, 'https://a.example:443', 'delivered', '', 1, `+at+`, `+at+` FROM `+numbers,
			`INSERT INTO bodies (execution, body) SELECT value, x'7b7d' FROM `+numbers,
			`INSERT INTO attempts (execution, number, started_at, duration, outcome, status_code, detail, retry_after)
				SELECT value, 1, `+at+`, 1, 'status', 200, '', 0 FROM `+numbers,
		)
	}
	write := func(run func(context.Context, *tx) error) {
		if err := d.store.writer.do(b.Context(), "fill", volatile,
			func(ctx context.Context, t *tx) (events, error) { return events{}, run(ctx, t) }); err != nil {
			b.Fatal(err)
		}
	}
	for _, query := range steps {
		write(func(ctx context.Context, t *tx) error {
			_, err := t.exec(ctx, query, d.ended)
			return err
		})
	}
	for first := 0; first < d.queued; first += 10_000 {
		write(func(ctx context.Context, t *tx) error {
			for range min(10_000, d.queued-first) {
				e := d.another()
				if _, err := t.insertExecution(ctx, e, queuePosition{place: waiting}); err != nil {
					return err
				}
				if err := t.countMove(ctx, e.Subject, nowhere, waiting); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func (d *depth) another() execution.Execution {
	d.next++
	return sample(fmt.Sprint("subject", d.next%d.width))
}

// lap takes one execution through all its states, runs the queries of the API, and reports the duration of each step.
// The queue is as deep after it as before.
func (d *depth) lap(b *testing.B, told func(operation string, took time.Duration)) {
	b.Helper()
	ctx, s := b.Context(), d.store
	now := time.Now()
	step := func(name string, f func() error) {
		b.Helper()
		begin := time.Now()
		if err := f(); err != nil {
			b.Fatalf("%s at %s: %v", name, d, err)
		}
		told(name, time.Since(begin))
	}
	delivery := func() *execution.Delivery {
		return &execution.Delivery{Body: make([]byte, 600), NextAt: now, CreatedAt: now}
	}
	var last, id execution.ID
	step("submit", func() error {
		e, _, err := s.Enqueue(ctx, d.another(), nil, execution.QueueLimits{Total: 1e9, PerSubject: 1e9})
		last = e.ID
		return err
	})
	step("claim", func() error {
		claims, err := s.Claim(ctx, 1)
		if err == nil {
			id = claims[0].ID
		}
		return err
	})
	step("start", func() error {
		return s.Start(ctx, id,
			execution.Run{
				Container: "container-0123456789", Nonce: "0123456789abcdef", StartedAt: now,
				Deadline: now.Add(time.Hour),
			})
	})
	step("finish", func() error {
		return s.Finish(ctx, id, execution.Result{
			State: execution.Completed, Reason: execution.Exited, ExitCode: new(0), StartedAt: now, CompletedAt: now,
			OutputComplete: true, Stdout: execution.Output{Bytes: 2, Head: []byte("1\n")},
		}, delivery())
	})
	latest, err := s.LatestNews(ctx)
	if err != nil {
		b.Fatal(err)
	}
	latest.Revision--
	step("news", func() error { _, _, err := s.News(ctx, latest, 256); return err })
	step("waiting", func() error {
		_, err := s.Waiting(ctx, "subject1", "https://receiver.example:443", 4)
		return err
	})
	step("delivery", func() error { _, err := s.Delivery(ctx, id); return err })
	step("record", func() error {
		a := execution.Attempt{
			Execution: id, Number: 1, StartedAt: now, Outcome: execution.AttemptStatus,
			StatusCode: 200,
		}
		return s.Record(ctx, a, execution.Delivered, "", time.Time{})
	})
	step("get", func() error { _, err := s.Get(ctx, id); return err })
	ahead := last
	if d.queued == 0 {
		ahead = id
	}
	step("ahead", func() error { _, err := s.Ahead(ctx, ahead); return err })
	step("share", func() error { _, err := s.Share(ctx, "subject1"); return err })
	step("tally", func() error { _, err := s.Tally(ctx); return err })
	list := func(name string, f execution.Filter) {
		f.Limit = 20
		step(name, func() error { _, err := s.List(ctx, f); return err })
	}
	deep := execution.ID(fmt.Sprintf("exec_00%012d", d.ended/2))
	list("list", execution.Filter{})
	list("list, deep", execution.Filter{Before: deep})
	list("list of a subject", execution.Filter{Subject: "subject1"})
	list("list by state", execution.Filter{States: []execution.State{execution.Timeout}, Before: deep})
	var extra execution.ID
	e, _, err := s.Enqueue(ctx, d.another(), nil, execution.QueueLimits{})
	if err != nil {
		b.Fatal(err)
	}
	extra = e.ID
	step("cancel", func() error {
		_, err := s.Cancel(ctx, extra, now, func(execution.Execution) (execution.Result, *execution.Delivery) {
			return execution.Result{
				State: execution.Cancelled, Reason: execution.WasCancelled,
				CompletedAt: now,
			}, delivery()
		})
		return err
	})
	if err := s.Record(ctx,
		execution.Attempt{
			Execution: extra, Number: 1, StartedAt: now, Outcome: execution.AttemptStatus,
			StatusCode: 200,
		},
		execution.Delivered, "", time.Time{}); err != nil {
		b.Fatal(err)
	}
	// As many executions are removed as were added, so that the depth does not change.
	old := time.Unix(0, 1700000000000000000)
	if d.ended == 0 {
		old = time.Now()
	} else {
		old = old.Add(time.Hour * 24 * 365)
	}
	step("remove 2", func() error { _, err := s.Remove(ctx, old, old, 2); return err })
	step("sweep", func() error { _, err := s.Sweep(ctx, now, 100); return err })
}

// BenchmarkDepth measures each operation at each depth and width in turn, so that other load on the machine meets all
// of them alike. It reports the medians as ratios to those of the lowest depth, and writes them to the file that
// DEPTH_CSV names, with a chart beside it.
func BenchmarkDepth(b *testing.B) {
	scene := func(queued, width, ended int) *depth { return &depth{queued: queued, width: width, ended: ended} }
	depths := []*depth{
		scene(0, 1, 0), scene(1_000, 100, 1_000), scene(10_000, 100, 10_000), scene(100_000, 100, 100_000),
		scene(100_000, 1, 0), scene(100_000, 10_000, 0), scene(10_000, 10_000, 0),
		scene(0, 100, 1_000_000),
	}
	if testing.Short() {
		depths = depths[:3]
	}
	for _, d := range depths {
		d.fill(b)
	}
	type place struct {
		operation string
		depth     int
	}
	took := make(map[place][]time.Duration)
	var operations []string
	laps := 0
	for b.Loop() {
		laps++
		for i := range depths {
			i = (i + laps) % len(depths)
			depths[i].lap(b, func(operation string, d time.Duration) {
				if !slices.Contains(operations, operation) {
					operations = append(operations, operation)
				}
				took[place{operation, i}] = append(took[place{operation, i}], d)
			})
		}
	}
	table := [][]string{{"operation", "queued", "subjects", "ended", "p50_us", "p99_us"}}
	for _, operation := range operations {
		var least time.Duration
		for i, d := range depths {
			all := took[place{operation, i}]
			slices.Sort(all)
			p50, p99 := all[len(all)/2], all[len(all)*99/100]
			if i == 0 {
				least = p50
			}
			table = append(table, []string{
				operation, strconv.Itoa(d.queued), strconv.Itoa(d.width), strconv.Itoa(d.ended),
				fmt.Sprintf("%.1f", p50.Seconds()*1e6), fmt.Sprintf("%.1f", p99.Seconds()*1e6),
			})
			if d.queued == 100_000 && d.width == 100 {
				b.ReportMetric(float64(p50)/float64(least), strings.ReplaceAll(operation, " ", "_")+"-ratio")
			}
		}
	}
	if path := os.Getenv("DEPTH_CSV"); path != "" {
		if err := writeTable(path, table); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimSuffix(path, ".csv")+".svg", []byte(draw(curves(b, table))),
			0o600); err != nil {
			b.Fatal(err)
		}
	}
}

func writeTable(path string, table [][]string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := csv.NewWriter(f).WriteAll(table); err != nil {
		return err
	}
	return f.Close()
}
