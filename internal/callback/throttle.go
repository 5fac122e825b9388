package callback

import (
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"boomerang/internal/execution"
)

// throttle decides whether a destination may get an attempt now. It belongs to one goroutine.
//
// Each destination has limits for attempts in flight and attempts per second, and a breaker. If three quarters of all
// slots are taken, the rest is reserved for destinations without an attempt in flight: many hanging destinations must
// not shut out a healthy one.
type throttle struct {
	config        Config
	destinationOf map[execution.ID]string      // destination of each attempt in flight
	destinations  map[string]*destinationState // only destinations with something to remember
}

// destinationState holds the limits and the breaker of one destination.
type destinationState struct {
	inFlight int
	limiter  *rate.Limiter
	breaker  breaker
}

// newThrottle returns a throttle that starts with the breakers of an earlier process.
func newThrottle(c Config, kept []execution.Breaker) *throttle {
	t := &throttle{
		config:        c,
		destinationOf: make(map[execution.ID]string),
		destinations:  make(map[string]*destinationState),
	}
	if c.Destination.Breaker {
		for _, b := range kept {
			t.state(b.Destination).breaker.Breaker = b
		}
	}
	return t
}

func (t *throttle) state(destination string) *destinationState {
	r, ok := t.destinations[destination]
	if !ok {
		limit := rate.Inf
		if t.config.Destination.Rate > 0 {
			limit = rate.Limit(t.config.Destination.Rate)
		}
		r = &destinationState{limiter: rate.NewLimiter(limit, int(math.Ceil(max(1, t.config.Destination.Rate))))}
		r.breaker.Destination = destination
		t.destinations[destination] = r
	}
	return r
}

// freeSlots returns the number of attempts that may be started beside those in flight.
func (t *throttle) freeSlots() int { return t.config.Concurrency - len(t.destinationOf) }

// allows reports whether the destination may get an attempt now.
func (t *throttle) allows(destination string, now time.Time) bool {
	r, known := t.destinations[destination]
	return t.freeSlots() > 0 && (!known || t.available(r, now))
}

func (t *throttle) available(r *destinationState, now time.Time) bool {
	alone := r.breaker.halfOpen(now) || 4*t.freeSlots() <= t.config.Concurrency
	switch {
	case r.inFlight >= t.config.Destination.Concurrency, alone && r.inFlight > 0:
		return false
	}
	return !r.breaker.open(now) && r.limiter.TokensAt(now) >= 1
}

// unavailable lists the destinations that may get no attempt now.
func (t *throttle) unavailable(now time.Time) []string {
	var closed []string
	for destination, r := range t.destinations {
		if !t.available(r, now) {
			closed = append(closed, destination)
		}
	}
	return closed
}

// nextAvailable returns the time when the first of the destinations closed for a time opens again; ok is false if there
// is none.
func (t *throttle) nextAvailable(now time.Time) (at time.Time, ok bool) {
	for _, r := range t.destinations {
		opens := now
		if missing := 1 - r.limiter.TokensAt(now); missing > 0 {
			opens = now.Add(time.Duration(missing / float64(r.limiter.Limit()) * float64(time.Second)))
		}
		if r.breaker.open(now) && r.breaker.OpenUntil.After(opens) {
			opens = r.breaker.OpenUntil
		}
		if opens.After(now) && (!ok || opens.Before(at)) {
			at, ok = opens, true
		}
	}
	return at, ok
}

// inFlight lists the executions whose results are being sent.
func (t *throttle) inFlight() []execution.ID { return slices.Collect(maps.Keys(t.destinationOf)) }

// startAttempt counts an attempt that starts now.
func (t *throttle) startAttempt(due execution.Due, now time.Time) {
	r := t.state(due.Destination)
	t.destinationOf[due.Execution] = due.Destination
	r.inFlight++
	r.limiter.AllowN(now, 1)
}

// endAttempt reverts startAttempt and passes the attempt to the destination's breaker. It returns the breaker and true
// if the breaker opened or closed.
func (t *throttle) endAttempt(end attemptEnd, now time.Time) (execution.Breaker, bool) {
	destination := t.destinationOf[end.id]
	delete(t.destinationOf, end.id)
	r := t.destinations[destination]
	r.inFlight--
	if !t.config.Destination.Breaker || !end.made {
		return execution.Breaker{}, false
	}
	changed := r.breaker.observe(end.startedAt, now, end.failed)
	return r.breaker.Breaker, changed
}

// dropIdle deletes destinations that have nothing to remember.
func (t *throttle) dropIdle(now time.Time) {
	maps.DeleteFunc(t.destinations, func(_ string, r *destinationState) bool {
		counted, _ := r.breaker.counts.sum(now)
		full := r.limiter.TokensAt(now) >= float64(r.limiter.Burst())
		return r.inFlight == 0 && r.breaker.Openings == 0 && counted == 0 && full
	})
}
