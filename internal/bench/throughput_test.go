//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"boomerang/internal/execution"
)

// throughput measures executions per second of print(1): so many clients, each of which waits for the end of one before it
// begins the next, and so many slots. The sides take turns of the same number of executions. A turn ends when the engine has
// cleared up behind it, and warm containers are there again: what a side leaves for later is its own.
//
// The goals are those of a machine that has no CPU left. With fewer clients the ratio is only shown: with one slot the next
// execution waits until the container of the one before is gone.
func throughput(h *house) {
	const each = 8 // executions of a client in a turn: enough that its first and its last do not decide
	saturated := 2 * runtime.NumCPU()
	ctx := h.Context()
	costs := []string{"\traw\tdocker run\tcold\twarm\tcold, a full queue\t"}
	for _, clients := range h.clients {
		cold, warm := h.serve(settings{slots: clients}), h.serve(settings{slots: clients, warm: clients})
		model, err := cold.model(ctx)
		if err != nil {
			h.Fatal(err)
		}
		flags, err := model.flags(h.dir)
		if err != nil {
			h.Fatal(err)
		}
		ours := func(s *server, turn func(context.Context) error) func() error {
			return func() error { return errors.Join(turn(ctx), s.settle(ctx)) }
		}
		closed := func(s *server) func() error {
			return ours(s, func(ctx context.Context) error {
				return share(clients, clients*each, func() error {
					_, err := s.run(ctx, "python", "print(1)", printsOne)
					return err
				})
			})
		}
		open := func(s *server) func() error {
			return ours(s, func(ctx context.Context) error { return s.queue(ctx, clients*each) })
		}
		sides := []struct {
			name string
			turn func() error
		}{
			{"raw", func() error {
				return share(clients, clients*each, func() error { _, _, err := h.engine.rawPrint(ctx, model); return err })
			}},
			{"docker run", func() error {
				return share(clients, clients*each, func() error { _, err := command(ctx, "docker", flags...); return err })
			}},
			{"cold", closed(cold)},
			{"warm", closed(warm)},
			{"cold, a full queue", open(cold)},
		}
		figures, cpu := map[string]*Figure{}, map[string]Sample{}
		for range h.laps {
			for _, side := range sides {
				if figures[side.name] == nil {
					figures[side.name] = &Figure{Name: side.name, Unit: "/s"}
				}
				began, before := time.Now(), busy()
				if err := side.turn(); err != nil {
					h.Fatalf("%s: %v", side.name, err)
				}
				f, n := figures[side.name], float64(clients*each)
				f.Sample = append(f.Sample, n/time.Since(began).Seconds())
				cpu[side.name] = append(cpu[side.name], Millis(busy()-before)/n)
			}
		}
		cost := []string{fmt.Sprintf("%d at once", clients)}
		for _, side := range sides {
			cost = append(cost, digits(cpu[side.name].Median()))
		}
		costs = append(costs, strings.Join(cost, "\t")+"\t")
		correct := map[string]string{"cold": cold.stop(), "warm": warm.stop()}
		correct["cold, a full queue"] = correct["cold"]
		for _, side := range []string{"cold", "warm", "cold, a full queue"} {
			ours := *figures[side]
			ours.Name = ""
			row := Row{What: fmt.Sprintf("B  %s, %d at once", side, clients), Ours: ours, Correct: correct[side]}
			for _, goal := range []struct {
				other string
				limit float64
			}{{"raw", 0.95}, {"docker run", 1.8}} {
				row.Theirs = *figures[goal.other]
				if clients >= saturated {
					h.add(AtLeast(goal.limit, row))
				} else {
					h.add(beside(row))
				}
			}
		}
	}
	h.note("What one execution costs the machine in CPU, whoever uses it, in ms (medians):", costs...)
}

// share has so many workers do a thing n times in all.
func share(workers, n int, do func() error) error {
	errs := make([]error, workers)
	var done atomic.Int64
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for done.Add(1) <= int64(n) && errs[w] == nil {
				errs[w] = do()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// queue submits n programs and then waits for all of them.
func (s *server) queue(ctx context.Context, n int) error {
	ids := make([]execution.ID, n)
	for i := range ids {
		var err error
		if ids[i], err = s.submit(ctx, s.me, "python", "print(1)"); err != nil {
			return err
		}
	}
	for _, id := range ids {
		c, err := s.h.hook.await(ctx, id)
		if err != nil {
			return err
		}
		s.judge(c.Payload, printsOne)
	}
	return nil
}
