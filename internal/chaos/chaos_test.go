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
)

// mark is a name for a program that no other test uses.
func mark(name string) string {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return fmt.Sprintf("m%x", hash.Sum64())
}

// setting reads a number from the environment.
func setting(name string, otherwise int) int {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return n
}

// tally counts what all rounds did, for the last line of the report.
type tally struct {
	executions, kills, restarts, arrivals int
	ends                                  map[execution.Reason]int
	faults                                map[string]int
}

// TestNothingIsLostInChaos runs rounds of submissions while everything is broken that can be. ROUNDS, SEED and
// EXECUTIONS (of a round) come from the environment.
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
	h := enter(t, seed+n, rand.New(rand.NewPCG(seed, n+1<<32)), warm)
	plans := make([]plan, executions)
	for i := range plans {
		plans[i] = draw(chance, fmt.Sprintf("s%d-%d-%d", seed, n, i))
	}
	deck := shuffle(chance)
	signal := syscall.SIGTERM
	if chance.IntN(2) == 0 {
		signal = syscall.SIGQUIT // dumps the goroutines
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	const customers = 6
	for c := range customers {
		wg.Go(func() {
			var own sync.WaitGroup
			for i := c; i < len(plans); i += customers {
				rest(ctx, plans[i].after)
				ticket := h.book(plans[i])
				own.Go(func() {
					h.customer.submit(ctx, ticket)
					if ticket.cancel > 0 && ticket.id() != "" && rest(ctx, ticket.cancel) {
						h.customer.cancel(ctx, ticket)
					}
				})
			}
			own.Wait()
		})
	}
	for _, f := range deck {
		h.hook.await(ctx, f.news)
		rest(ctx, f.after)
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

// draw makes up a submission.
func draw(chance *rand.Rand, mark string) plan {
	p := plan{
		Program: Program{Mark: mark, Lines: 1 + chance.IntN(5)}, every: 1, timeout: 300,
		pause: between(chance, 0, 50*time.Millisecond), after: between(chance, 0, 3*time.Second), twin: chance.IntN(6) == 0,
	}
	switch kind := chance.IntN(20); {
	case kind < 5: // steady
		p.Lines, p.pause = 10+chance.IntN(20), 100*time.Millisecond
	case kind < 7: // a burst
		p.Lines, p.every, p.Pad = 3000, 1000, 20
	case kind < 8: // more than is kept
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
