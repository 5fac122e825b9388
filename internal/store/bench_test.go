package store

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

func quiet() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

func open(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), dir, Defaults(), quiet())
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
		Code: make([]byte, 200), Env: make([]byte, 60), EnvNames: []string{"A", "B"}, CreatedAt: now.UTC(), State: execution.Queued,
		Callback: execution.Callback{
			URL: "https://receiver.example/hook", Headers: make([]byte, 60), HeaderNames: []string{"X-A"}, Secret: make([]byte, 50),
		},
	}
}

// BenchmarkEnqueue: 64 clients of 16 subjects, every write durable.
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
				if _, _, err := s.Enqueue(b.Context(), sample(subject), nil, execution.QueueLimits{Total: 1e9, PerSubject: 1e9}); err != nil {
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

// BenchmarkClaim: one claim and its release, with few and with many in line.
func BenchmarkClaim(b *testing.B) {
	for _, queued := range []int{1, 100_000} {
		b.Run(fmt.Sprint(queued, " queued"), func(b *testing.B) {
			s := open(b, b.TempDir())
			fill(b, s, queued, min(queued, 10_000))
			for b.Loop() {
				claims, err := s.Claim(b.Context(), 1)
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

// fill enqueues n executions of so many subjects.
func fill(tb testing.TB, s *Store, n, subjects int) {
	tb.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, _, err := s.Enqueue(tb.Context(), sample(fmt.Sprint("subject", i%int64(subjects))), nil, execution.QueueLimits{}); err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
