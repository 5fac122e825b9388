package store

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// BenchmarkLife measures the writes and reads for one execution, from its submission to the record of its callback.
func BenchmarkLife(b *testing.B) {
	for _, clients := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(clients, " at once"), func(b *testing.B) {
			s := open(b, b.TempDir())
			names := []string{"submit", "claim", "start", "finish", "news", "delivery", "record", "get"}
			took := make([][]time.Duration, len(names))
			var mu sync.Mutex
			var wg sync.WaitGroup
			var next atomic.Int64
			b.ResetTimer()
			for c := range clients {
				wg.Go(func() {
					mine := make([][]time.Duration, len(names))
					for next.Add(1) <= int64(b.N) {
						for i, d := range life(b, s, fmt.Sprint("subject", c%16)) {
							mine[i] = append(mine[i], d)
						}
					}
					mu.Lock()
					for i, d := range mine {
						took[i] = append(took[i], d...)
					}
					mu.Unlock()
				})
			}
			wg.Wait()
			b.StopTimer()
			for i, name := range names {
				slices.Sort(took[i])
				b.ReportMetric(float64(took[i][len(took[i])/2].Microseconds()), name+"-µs")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lives/s")
		})
	}
}

// life takes one execution through the store and returns the duration of each step.
func life(b *testing.B, s *Store, subject string) (took []time.Duration) {
	b.Helper()
	step := func(f func() error) {
		begin := time.Now()
		if err := f(); err != nil {
			b.Error(err)
		}
		took = append(took, time.Since(begin))
	}
	var id execution.ID
	now := time.Now()
	step(func() error {
		e, _, err := s.Enqueue(b.Context(), sample(subject), nil, execution.QueueLimits{Total: 1e9, PerSubject: 1e9})
		id = e.ID
		return err
	})
	step(func() error {
		c, err := s.Claim(b.Context(), 1)
		if err == nil {
			id = c[0].ID
		}
		return err
	})
	step(func() error {
		return s.Start(b.Context(), id,
			execution.Run{
				Container: "boomerang-warm-0123456789", Nonce: "0123456789abcdef", StartedAt: now,
				Deadline: now.Add(time.Hour),
			})
	})
	step(func() error {
		r := execution.Result{
			State: execution.Completed, Reason: execution.Exited, ExitCode: new(0), StartedAt: now, CompletedAt: now,
			OutputComplete: true,
			Stdout:         execution.Output{Bytes: 2, Head: []byte("1\n")},
		}
		return s.Finish(b.Context(), id, r, &execution.Delivery{Body: make([]byte, 600), NextAt: now, CreatedAt: now})
	})
	step(func() error {
		latest, err := s.LatestNews(b.Context())
		if err != nil {
			return err
		}
		latest.Revision--
		_, _, err = s.News(b.Context(), latest, 64)
		return err
	})
	step(func() error {
		_, err := s.Delivery(b.Context(), id)
		return err
	})
	step(func() error {
		a := execution.Attempt{
			Execution: id, Number: 1, StartedAt: now, Outcome: execution.AttemptStatus,
			StatusCode: 200,
		}
		return s.Record(b.Context(), a, execution.Delivered, "", time.Time{})
	})
	step(func() error {
		_, err := s.Get(b.Context(), id)
		return err
	})
	return took
}
