//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// mark derives the name of a program from the name of a test.
func mark(name string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return fmt.Sprintf("m%x", hash.Sum64())
}

// setting returns a number from the environment, or a default.
func setting(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}

// tally counts the events of all rounds, for the last line of the report.
type tally struct {
	executions, kills, restarts, arrivals int
	ends                                  map[execution.Reason]int
	faults                                map[string]int
}

// TestNothingIsLostInChaos runs rounds of submissions while it injects faults. The environment sets ROUNDS, SEED, and
// EXECUTIONS per round.
func TestNothingIsLostInChaos(t *testing.T) {
	seed := uint64(setting("SEED", int(time.Now().Unix())))
	rounds, executions := setting("ROUNDS", 1), setting("EXECUTIONS", 20)
	first := setting("FIRST", 1)
	t.Logf("repeat with SEED=%d ROUNDS=%d EXECUTIONS=%d", seed, rounds, executions)
	sum := tally{ends: map[execution.Reason]int{}, faults: map[string]int{}}
	for n := first; n < first+rounds; n++ {
		t.Run(fmt.Sprintf("round %d", n), func(t *testing.T) {
			round(t, seed, uint64(n), executions, &sum)
		})
	}
	t.Logf("%d executions, %d SIGKILLs, %d restarts of dockerd, %d arrivals; ends %v; faults %v; seed %d",
		sum.executions, sum.kills, sum.restarts, sum.arrivals, sum.ends, sum.faults, seed)
}

func round(t *testing.T, seed, n uint64, executions int, sum *tally) {
	t.Helper()
	chance := rand.New(rand.NewPCG(seed, n))
	warm := []string{"0", "2", "auto"}[n%3]
	t.Logf("warm: %s", warm)
	h := newHarness(t, seed+n, rand.New(rand.NewPCG(seed, n+1<<32)), warm)
	plans := make([]plan, executions)
	for i := range plans {
		plans[i] = drawPlan(chance, fmt.Sprintf("s%d-%d-%d", seed, n, i))
	}
	deck := drawFaults(chance)
	signal := syscall.SIGTERM
	if chance.IntN(2) == 0 {
		signal = syscall.SIGQUIT // the server dumps its goroutines
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	const customers = 6
	for c := range customers {
		wg.Go(func() {
			var own sync.WaitGroup
			for i := c; i < len(plans); i += customers {
				servertest.Rest(ctx, plans[i].after)
				ticket := h.addTicket(plans[i])
				own.Go(func() {
					h.customer.submit(ctx, ticket)
					if ticket.cancel > 0 && ticket.id() != "" && servertest.Rest(ctx, ticket.cancel) {
						h.customer.cancel(ctx, ticket)
					}
				})
			}
			own.Wait()
		})
	}
	for _, f := range deck {
		h.hook.awaitMore(ctx, f.news)
		servertest.Rest(ctx, f.after)
		began := time.Now()
		f.strike(ctx, h, f)
		t.Logf("%s, %s", f.name, time.Since(began).Round(time.Millisecond))
		sum.faults[f.name]++
	}
	h.proxy.set(healthy)
	wg.Wait()
	books := h.audit(signal)

	sum.executions += len(books.Stored)
	sum.kills += h.server.kills
	sum.restarts += countRestarts(deck)
	sum.arrivals += len(books.Got)
	for _, r := range books.Stored {
		if r.Execution.Result != nil {
			sum.ends[r.Execution.Result.Reason]++
		}
	}
}

func between(chance *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(chance.Int64N(int64(high-low)))
}

// drawPlan returns a random submission.
func drawPlan(chance *rand.Rand, mark string) plan {
	p := plan{
		Program: Program{Mark: mark, Lines: 1 + chance.IntN(5)}, every: 1, timeout: 300,
		pause: between(chance, 0, 50*time.Millisecond), after: between(chance, 0, 3*time.Second),
		twin: chance.IntN(6) == 0,
	}
	switch kind := chance.IntN(20); {
	case kind < 5: // steady
		p.Lines, p.pause = 10+chance.IntN(20), 100*time.Millisecond
	case kind < 7: // a burst
		p.Lines, p.every, p.Pad = 3000, 1000, 20
	case kind < 8: // more output than is kept
		p.Lines, p.every, p.Pad = 2000, 1000, 1000
	case kind < 10:
		p.Endless, p.pause, p.timeout = true, 50*time.Millisecond, 1+chance.IntN(3)
	}
	if chance.IntN(3) == 0 {
		p.Exit = 1 + chance.IntN(97)
	}
	p.Files = max(chance.IntN(6)-2, 0)
	if chance.IntN(10) == 0 {
		p.cancel = between(chance, time.Millisecond, 2*time.Second)
	}
	p.small = chance.IntN(4) == 0
	return p
}
