package callback

import (
	"maps"
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"boomerang/internal/execution"
)

// traffic is the place that decides whether a destination takes an attempt now. It belongs to one goroutine.
//
// A destination has its own bounds: attempts in flight, attempts a second, and its breaker. When three quarters of all
// places are taken, the rest is for destinations that have none: many that hang together do not shut out one that is well.
type traffic struct {
	config Config
	flying map[execution.ID]string // to which destination
	routes map[string]*route       // only those that have something to remember
}

// route is what is known of the way to one destination.
type route struct {
	flying  int
	limiter *rate.Limiter
	breaker breaker
}

// newTraffic begins with the breakers of an earlier process.
func newTraffic(c Config, kept []execution.Breaker) *traffic {
	t := &traffic{config: c, flying: make(map[execution.ID]string), routes: make(map[string]*route)}
	if c.Destination.Breaker {
		for _, b := range kept {
			t.route(b.Destination).breaker.Breaker = b
		}
	}
	return t
}

func (t *traffic) route(destination string) *route {
	r, ok := t.routes[destination]
	if !ok {
		limit := rate.Inf
		if t.config.Destination.Rate > 0 {
			limit = rate.Limit(t.config.Destination.Rate)
		}
		r = &route{limiter: rate.NewLimiter(limit, int(math.Ceil(max(1, t.config.Destination.Rate))))}
		r.breaker.Destination = destination
		t.routes[destination] = r
	}
	return r
}

// free is how many attempts more may be made at the same time.
func (t *traffic) free() int { return t.config.Concurrency - len(t.flying) }

// takes tells whether the destination takes an attempt now.
func (t *traffic) takes(destination string, now time.Time) bool {
	r, known := t.routes[destination]
	return t.free() > 0 && (!known || t.open(r, now))
}

func (t *traffic) open(r *route, now time.Time) bool {
	alone := r.breaker.probing(now) || 4*t.free() <= t.config.Concurrency
	switch {
	case r.flying >= t.config.Destination.Concurrency, alone && r.flying > 0:
		return false
	}
	return !r.breaker.open(now) && r.limiter.TokensAt(now) >= 1
}

// closed lists the destinations that take no attempt now.
func (t *traffic) closed(now time.Time) []string {
	var closed []string
	for destination, r := range t.routes {
		if !t.open(r, now) {
			closed = append(closed, destination)
		}
	}
	return closed
}

// reopens is when the first destination opens that is closed now for a time; ok is false when there is none.
func (t *traffic) reopens(now time.Time) (at time.Time, ok bool) {
	for _, r := range t.routes {
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

// inFlight lists the executions whose result is being sent.
func (t *traffic) inFlight() []execution.ID { return slices.Collect(maps.Keys(t.flying)) }

// depart counts an attempt that begins now.
func (t *traffic) depart(due execution.Due, now time.Time) {
	r := t.route(due.Destination)
	t.flying[due.Execution] = due.Destination
	r.flying++
	r.limiter.AllowN(now, 1)
}

// land takes back what depart counted, and learns from the attempt. When the destination's breaker opened or closed,
// it is returned with true.
func (t *traffic) land(l landing, now time.Time) (execution.Breaker, bool) {
	destination := t.flying[l.id]
	delete(t.flying, l.id)
	r := t.routes[destination]
	r.flying--
	if !t.config.Destination.Breaker || !l.counts {
		return execution.Breaker{}, false
	}
	changed := r.breaker.observe(l.began, now, l.sickens)
	return r.breaker.Breaker, changed
}

// forget drops what there is nothing to remember of.
func (t *traffic) forget(now time.Time) {
	maps.DeleteFunc(t.routes, func(_ string, r *route) bool {
		counted, _ := r.breaker.counts.sum(now)
		full := r.limiter.TokensAt(now) >= float64(r.limiter.Burst())
		return r.flying == 0 && r.breaker.Openings == 0 && counted == 0 && full
	})
}
