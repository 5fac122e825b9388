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

// throughput measures print(1) in executions per second. A number of clients each wait for the end of an execution
// before they begin the next; the server has as many slots. The sides take turns of equally many executions. A turn
// ends when the engine has removed the containers and the warm containers are ready again, so that each side pays for
// its own cleanup.
//
// The goals hold for a machine whose CPUs are saturated, so the numbers of clients are multiples of the number of CPUs.
func throughput(h *harness) {
	costs := []string{"\traw\tcold\twarm\tdocker run\tcold, a full queue\t"}
	few, many := 2*runtime.NumCPU(), 4*runtime.NumCPU()
	for _, clients := range []int{few, many} {
		cold, warm := h.serve(settings{slots: clients}), h.serve(settings{slots: clients, warm: clients})
		figures, cost := h.takeTurns(clients, h.sides(clients, clients == many, cold, warm))
		costs = append(costs, cost)
		correct := map[string]string{"cold": cold.stop(), "warm": warm.stop()}
		correct["cold, a full queue"] = correct["cold"]
		add := func(ours, theirs string, goal float64) {
			figure := figures[ours]
			figure.Name = ""
			h.add(AtLeast(goal, Row{
				What: fmt.Sprintf("B  %s, %d at once", ours, clients), Ours: figure, Theirs: figures[theirs],
				Correct: correct[ours],
			}))
		}
		add("cold", "raw", 0.95)
		add("warm", "raw", 0.95)
		if clients == many {
			add("cold", "docker run", 1.8)
			add("cold, a full queue", "raw", 0.95)
		}
	}
	h.note("The CPU time of one execution on the whole machine, in ms (medians):", costs...)
}

// each is the number of executions of a client in a turn: enough that the first and the last do not dominate.
const each = 8

// side is one way to run programs. Its turn runs each programs per client.
type side struct {
	name string
	turn func() error
}

// sides returns the sides of throughput. Docker run and the full queue are included if all is true.
func (h *harness) sides(clients int, all bool, cold, warm *server) []side {
	h.Helper()
	ctx := h.Context()
	config, err := cold.readHardenedConfig(ctx)
	if err != nil {
		h.Fatal(err)
	}
	flags, err := config.flags(h.dir)
	if err != nil {
		h.Fatal(err)
	}
	together := func(do func() error) error { return share(clients, clients*each, do) }
	waiting := func(s *server) func() error {
		return func() error {
			return errors.Join(together(func() error {
				_, err := s.run(ctx, "python", "print(1)", printsOne)
				return err
			}), s.awaitRest(ctx))
		}
	}
	sides := []side{
		{"raw", func() error {
			return together(func() error { _, _, err := h.engine.rawPrint(ctx, config); return err })
		}},
		{"cold", waiting(cold)},
		{"warm", waiting(warm)},
	}
	if !all {
		return sides
	}
	return append(sides,
		side{"docker run", func() error {
			return together(func() error { _, err := command(ctx, "docker", flags...); return err })
		}},
		side{"cold, a full queue", func() error {
			return errors.Join(cold.queue(ctx, clients*each), cold.awaitRest(ctx))
		}})
}

// takeTurns measures the sides in turns. It returns executions per second by side, and a line with the CPU times.
func (h *harness) takeTurns(clients int, sides []side) (figures map[string]Figure, cost string) {
	h.Helper()
	rates, cpu := map[string]Sample{}, map[string]Sample{}
	n := float64(clients * each)
	for range h.laps {
		for _, side := range sides {
			began, before := time.Now(), busy()
			if err := side.turn(); err != nil {
				h.Fatalf("%s: %v", side.name, err)
			}
			rates[side.name] = append(rates[side.name], n/time.Since(began).Seconds())
			cpu[side.name] = append(cpu[side.name], Millis(busy()-before)/n)
		}
	}
	cells := []string{fmt.Sprintf("%d at once", clients)}
	figures = map[string]Figure{}
	for _, side := range sides {
		figures[side.name] = Figure{Name: side.name, Unit: "/s", Sample: rates[side.name]}
		cells = append(cells, digits(cpu[side.name].Median()))
	}
	return figures, strings.Join(cells, "\t") + "\t"
}

// share calls do n times in all from a number of workers.
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
		c, err := s.h.callback(ctx, id)
		if err != nil {
			return err
		}
		s.checkResult(c.Payload, printsOne)
	}
	return nil
}
