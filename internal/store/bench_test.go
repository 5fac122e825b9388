package store

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

func discardLog() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func open(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), dir, Defaults(), discardLog())
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

func sample(subject string) execution.Execution {
	now := time.Now()
	return execution.Execution{
		ID: execution.NewID(now), Subject: subject, Language: "python", WorkingDir: "/workspace", Timeout: time.Hour,
		Code: make([]byte, 200), Env: make([]byte, 60), EnvNames: []string{"A", "B"},
		CreatedAt: now.UTC(), State: execution.Queued,
		Callback: execution.Callback{
			URL: "https://receiver.example/hook", Headers: make([]byte, 60), HeaderNames: []string{"X-A"},
			Secret: make([]byte, 50),
		},
	}
}

// BenchmarkEnqueue measures durable submissions of 64 clients and 16 subjects.
func BenchmarkEnqueue(b *testing.B) {
	s := open(b, b.TempDir())
	const clients = 64
	var next atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	b.ResetTimer()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			var mine []time.Duration
			subject := fmt.Sprint("subject", c%16)
			for next.Add(1) <= int64(b.N) {
				begin := time.Now()
				if _, _, err := s.Enqueue(b.Context(), sample(subject), nil,
					execution.QueueLimits{Total: 1e9, PerSubject: 1e9}); err != nil {
					b.Error(err)
					return
				}
				mine = append(mine, time.Since(begin))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stored/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkClaim measures one claim and its release, with a short and with a long queue.
func BenchmarkClaim(b *testing.B) {
	for _, queued := range []int{1, 100_000} {
		b.Run(fmt.Sprint(queued, " queued"), func(b *testing.B) {
			s := open(b, b.TempDir())
			fill(b, s, queued, min(queued, 10_000))
			for b.Loop() {
				claims, err := s.Claim(b.Context(), 1, execution.ClaimLimits{})
				if err != nil || len(claims) != 1 {
					b.Fatalf("claimed %d, error %v", len(claims), err)
				}
				if err := s.Release(b.Context(), claims[0].ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeliveries measures the last page of the dead deliveries of one of 100 subjects.
func BenchmarkDeliveries(b *testing.B) {
	for _, there := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(there, " there"), func(b *testing.B) {
			s := open(b, b.TempDir())
			fillDead(b, s, there)
			f := execution.DeliveryFilter{
				Subject: "subject7", States: []execution.DeliveryState{execution.Dead},
				Limit: 5,
			}
			f.Before.CreatedAt, f.Before.Execution = timeOf(600), "exec_600"
			for b.Loop() {
				page, err := s.Deliveries(b.Context(), f)
				if err != nil || len(page.Deliveries) != 5 {
					b.Fatalf("got %d, error %v", len(page.Deliveries), err)
				}
			}
		})
	}
}

// fillDead stores n dead deliveries of 100 subjects.
func fillDead(tb testing.TB, s *Store, n int) {
	tb.Helper()
	err := s.writer.do(tb.Context(), "fill", volatile, func(ctx context.Context, t *tx) (events, error) {
		for _, query := range []string{
			`INSERT INTO executions (seq, id, name, subject, language, working_dir, timeout, created_at, state)
				SELECT value, 'exec_' || value, '', 'subject' || (value % 100), 'python', '/', 1, value, 'failed'
					FROM generate_series(1, ?)`,
			`INSERT INTO callbacks (execution, url, depth) SELECT value, 'https://a.example/', 0
				FROM generate_series(1, ?)`,
			`INSERT INTO deliveries (execution, subject, destination, state, reason, attempts, created_at, ended_at)
				SELECT value, 'subject' || (value % 100), 'https://a.example:443', 'dead', 'gone', 1, value, value
					FROM generate_series(1, ?)`,
		} {
			query = strings.Replace(query, "generate_series(1, ?)",
				numbers, 1)
			if _, err := t.exec(ctx, query, n); err != nil {
				return events{}, err
			}
		}
		return events{}, nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkRecover measures how long another write waits while 10 000 deliveries are recovered.
func BenchmarkRecover(b *testing.B) {
	s := open(b, b.TempDir())
	fillDead(b, s, 10_000)
	for b.Loop() {
		done := make(chan error, 1)
		go func() {
			n, err := s.Recover(b.Context(), execution.Recovery{}, time.Now())
			if n != 10_000 && err == nil {
				err = fmt.Errorf("recovered %d", n)
			}
			done <- err
		}()
		var longest time.Duration
		for over := false; !over; {
			begin := time.Now()
			if err := s.Writable(b.Context()); err != nil {
				b.Fatal(err)
			}
			longest = max(longest, time.Since(begin))
			select {
			case err := <-done:
				if err != nil {
					b.Fatal(err)
				}
				over = true
			default:
			}
		}
		b.ReportMetric(float64(longest.Microseconds())/1000, "longest-wait-ms")
		if err := s.writer.do(b.Context(), "die again", volatile, func(ctx context.Context, t *tx) (events, error) {
			return events{}, t.execNoArgs(ctx, `UPDATE deliveries SET state = 'dead', ended_at = 1`)
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// fill enqueues n executions of the given number of subjects.
func fill(tb testing.TB, s *Store, n, subjects int) {
	tb.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, _, err := s.Enqueue(tb.Context(), sample(fmt.Sprint("subject", i%int64(subjects))), nil,
					execution.QueueLimits{}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
