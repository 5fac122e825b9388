package callback

import (
	"math"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"boomerang/internal/execution"
)

const (
	maxPairs       = 1024      // pairs of one subject in memory; the others wait in the store
	evictionSample = 16        // pairs that are compared to find one to evict
	breakerMemory  = time.Hour // after its pause a breaker is forgotten if no probe was made
)

// traffic decides which attempt is made next. It belongs to one goroutine.
//
// Subjects come first, and then the destinations of a subject. Subjects share the places for attempts, and the places
// and the tokens of each destination; see mayTake. A pair of subject and destination has a breaker of its own.
//
// Each pair with a pending delivery stands at one place, and only an event moves it: a time, the end of an attempt, or
// news from the store. So the cost of an attempt does not grow with the number of pairs.
type traffic struct {
	config       Config
	bound        func(subject string) int // hard bound of a subject's attempts in flight; 0 = none
	subjects     map[string]*subject
	destinations map[string]*destination
	attempts     map[execution.ID]*attempt // in flight, tests included
	line         line
	timers       timers
	crowded      map[*subject]bool // subjects with crowded pairs
	served       int64
}

// attempt is an attempt in flight.
type attempt struct {
	pair  *pair
	again bool // the delivery became pending meanwhile
}

// newTraffic returns the traffic that starts with the breakers of an earlier process.
func newTraffic(c Config, bound func(string) int, kept []execution.Breaker) *traffic {
	t := &traffic{
		config:       c,
		bound:        bound,
		subjects:     make(map[string]*subject),
		destinations: make(map[string]*destination),
		attempts:     make(map[execution.ID]*attempt),
		crowded:      make(map[*subject]bool),
	}
	if c.Destination.Breaker {
		for _, b := range kept {
			if p := t.pair(b.Subject, b.Destination, b.OpenUntil); p != nil {
				p.breaker.Breaker = b
			}
		}
	}
	return t
}

// mayTake reports whether a subject with own of some places may take another one if free are left. A subject alone gets
// about three quarters of the places, each of two subjects three sevenths, and the last place is always for a subject
// that has none. So attempts that hang cannot shut out a newcomer.
func mayTake(own, free int) bool { return free > 0 && (own == 0 || own < 3*(free-1)) }

// free returns the number of attempts that may be started beside those in flight.
func (t *traffic) free() int { return t.config.Concurrency - len(t.attempts) }

// room returns the number of attempts that the subject may start now, if no other subject starts one.
func (t *traffic) room(s *subject) int {
	room := (3*(t.free()-1) - s.inFlight + 3) / 4
	if s.inFlight == 0 {
		room = max(room, min(t.free(), 1))
	}
	if bound := t.bound(s.name); bound > 0 {
		room = min(room, bound-s.inFlight)
	}
	return max(room, 0)
}

// add takes over a delivery that the store reports as pending. If complete is false, its pair may have further
// deliveries that are not in memory.
func (t *traffic) add(d execution.Due, complete bool, now time.Time) {
	if a, ok := t.attempts[d.Execution]; ok {
		a.again = true
		return
	}
	p := t.known(d.Subject, d.Destination)
	if p == nil {
		if p = t.pair(d.Subject, d.Destination, d.NextAt); p == nil {
			return
		}
		complete = complete && !p.subject.missing()
		p.insert(queued{d.Execution, d.NextAt}, t.queueLength())
		p.more = p.more || !complete
	} else {
		unknown := !slices.ContainsFunc(p.queue, func(q queued) bool { return q.execution == d.Execution })
		p.insert(queued{d.Execution, d.NextAt}, t.queueLength())
		p.more = p.more || !complete && unknown
	}
	t.settle(p, now)
}

// refill puts the deliveries that the store returned for a pair into its queue. They are the earliest of the pair, and
// the store may have more of them if full is true.
func (t *traffic) refill(p *pair, list []execution.Due, full bool) {
	p.queue = p.queue[:0]
	for _, d := range list {
		if _, flying := t.attempts[d.Execution]; !flying {
			p.queue = append(p.queue, queued{d.Execution, d.NextAt})
		}
	}
	p.more = full
}

// queueLength is the number of deliveries of a pair in memory: as many as can be in flight.
func (t *traffic) queueLength() int { return t.config.Destination.Concurrency }

// known returns a pair that is in memory, or nil.
func (t *traffic) known(subject, destination string) *pair {
	if s, ok := t.subjects[subject]; ok {
		return s.pairs[destination]
	}
	return nil
}

// pair returns the pair and makes it if need be. It returns nil if the subject has as many pairs in memory as it may
// have, and all of them are needed before at.
func (t *traffic) pair(subjectName, destinationName string, at time.Time) *pair {
	s, ok := t.subjects[subjectName]
	if !ok {
		s = &subject{name: subjectName, pairs: make(map[string]*pair), index: -1}
		t.subjects[subjectName] = s
	}
	if p, ok := s.pairs[destinationName]; ok {
		return p
	}
	if len(s.pairs) >= maxPairs && !t.evict(s, at) {
		s.miss(at)
		return nil
	}
	d, ok := t.destinations[destinationName]
	if !ok {
		limit := rate.Inf
		if t.config.Destination.Rate > 0 {
			limit = rate.Limit(t.config.Destination.Rate)
		}
		d = &destination{
			name:    destinationName,
			limiter: rate.NewLimiter(limit, int(math.Ceil(max(1, t.config.Destination.Rate)))),
		}
		d.timer.destination = d
		t.destinations[destinationName] = d
	}
	p := &pair{subject: s, destination: d}
	p.breaker.Subject, p.breaker.Destination, p.timer.pair = subjectName, destinationName, p
	d.pairs++
	s.pairs[destinationName] = p
	return p
}

// evict removes a pair of s from memory that is not needed before at. It returns false if it finds none.
func (t *traffic) evict(s *subject, at time.Time) bool {
	var chosen *pair
	seen := 0
	for _, p := range s.pairs {
		if seen++; seen > evictionSample {
			break
		}
		if p.inFlight > 0 || len(p.tests) > 0 || p.stand != idle && (p.stand != timed || !p.timer.at.After(at)) {
			continue
		}
		if chosen == nil || p.stand == idle && (chosen.stand != idle || p.breaker.Openings < chosen.breaker.Openings) ||
			p.stand == timed && chosen.stand == timed && p.timer.at.After(chosen.timer.at) {
			chosen = p
		}
	}
	if chosen == nil {
		return false
	}
	if chosen.pending() {
		s.miss(chosen.timer.at)
	}
	t.remove(chosen)
	return true
}

// remove forgets a pair without attempts in flight that is idle or timed.
func (t *traffic) remove(p *pair) {
	t.timers.stop(&p.timer)
	delete(p.subject.pairs, p.destination.name)
	p.destination.pairs--
}

// settle moves a pair that is idle, timed or held to the place where it belongs now.
func (t *traffic) settle(p *pair, now time.Time) {
	switch p.stand {
	case ready, waiting, crowded, freed:
		return // its turn comes, and start looks at it anew
	case idle, timed, held:
	}
	at := now
	if len(p.queue) > 0 && p.queue[0].at.After(at) && len(p.tests) == 0 {
		at = p.queue[0].at
	}
	if p.breaker.open(now) && p.breaker.OpenUntil.After(at) {
		at = p.breaker.OpenUntil
	}
	switch {
	case !p.pending():
		t.timers.stop(&p.timer)
		p.stand = idle
	case at.After(now):
		t.timers.set(&p.timer, at)
		p.stand = timed
	default:
		t.makeReady(p)
	}
}

// makeReady appends a pair to the ready ones of its subject.
func (t *traffic) makeReady(p *pair) {
	t.timers.stop(&p.timer)
	p.stand = ready
	p.subject.ready = append(p.subject.ready, p)
	t.line.join(p.subject)
}

// next takes the pair whose turn it is out of the ready ones. It returns nil if no subject with a ready pair may start
// an attempt.
func (t *traffic) next() *pair {
	for len(t.line) > 0 {
		s := t.line[0]
		if !mayTake(s.inFlight, t.free()) {
			return nil // and no subject behind it may
		}
		if bound := t.bound(s.name); bound > 0 && s.inFlight >= bound {
			t.line.leave(s) // until one of its attempts ends
			continue
		}
		p := s.ready[0]
		s.ready[0] = nil
		if s.ready = s.ready[1:]; len(s.ready) == 0 {
			t.line.leave(s)
		}
		p.stand = idle
		return p
	}
	return nil
}

// mayStart reports whether an attempt of an idle pair may start now. If not, it moves the pair to the place where it
// waits.
func (t *traffic) mayStart(p *pair, now time.Time) bool {
	s, d := p.subject, p.destination
	switch {
	case p.breaker.open(now) || len(p.tests) == 0 && (len(p.queue) == 0 || p.queue[0].at.After(now)):
		t.settle(p, now)
	case p.breaker.halfOpen(now) && p.inFlight > 0:
		p.stand = held
	case p.inFlight > 0 && 4*t.room(s) <= s.inFlight+t.room(s):
		// the last quarter of the subject's places is for destinations that have none
		p.stand = crowded
		s.crowded = append(s.crowded, p)
		t.crowded[s] = true
	case !mayTake(p.inFlight, t.config.Destination.Concurrency-d.inFlight):
		p.stand = waiting
		d.waiting = append(d.waiting, p)
	case d.timer.index > 0 || d.limiter.TokensAt(now) < 1:
		p.stand = waiting
		d.waiting = append(d.waiting, p)
		t.awaitToken(d, now)
	default:
		return true
	}
	return false
}

// awaitToken sets the timer of a destination to the time of its next token.
func (t *traffic) awaitToken(d *destination, now time.Time) {
	if d.timer.index > 0 {
		return
	}
	missing := max(0, 1-d.limiter.TokensAt(now))
	pause := time.Duration(math.Ceil(missing / float64(d.limiter.Limit()) * float64(time.Second)))
	t.timers.set(&d.timer, now.Add(pause))
}

// begin counts an attempt of an idle pair that starts now, and moves the pair to its next place.
func (t *traffic) begin(p *pair, id execution.ID, now time.Time) {
	t.attempts[id] = &attempt{pair: p}
	p.inFlight++
	p.destination.inFlight++
	p.destination.limiter.AllowN(now, 1)
	p.subject.inFlight++
	t.served++
	p.subject.served = t.served
	t.line.join(p.subject)
	t.settle(p, now)
}

// end reverts begin. It returns the attempt, and the pairs that waited for its destination.
func (t *traffic) end(id execution.ID) (a *attempt, freed []*pair) {
	a = t.attempts[id]
	p := a.pair
	delete(t.attempts, id)
	p.inFlight--
	p.destination.inFlight--
	p.subject.inFlight--
	t.line.join(p.subject)
	for s := range t.crowded {
		if 4*t.room(s) > s.inFlight+t.room(s) {
			for _, crowding := range s.crowded {
				t.makeReady(crowding)
			}
			s.crowded = nil
			delete(t.crowded, s)
		}
	}
	if at := slices.Index(p.subject.crowded, p); at >= 0 && p.inFlight == 0 {
		p.subject.crowded = slices.Delete(p.subject.crowded, at, at+1)
		t.makeReady(p)
	}
	return a, t.released(p.destination)
}

// released takes the pairs that wait for a destination out of their places, in their order.
func (t *traffic) released(d *destination) []*pair {
	t.timers.stop(&d.timer)
	pairs := d.waiting
	d.waiting = nil
	for _, p := range pairs {
		p.stand = freed
	}
	return pairs
}

// expired takes the timers out that have come. It returns the pairs that waited for a token.
func (t *traffic) expired(now time.Time) (freed []*pair) {
	for len(t.timers) > 0 && !t.timers[0].at.After(now) {
		w := t.timers[0]
		t.timers.stop(w)
		if w.pair != nil {
			w.pair.stand = idle
			t.settle(w.pair, now)
		} else {
			freed = append(freed, t.released(w.destination)...)
		}
	}
	return freed
}

// putFirst makes a pair the next one of its subject.
func (t *traffic) putFirst(p *pair) {
	p.stand = ready
	p.subject.ready = slices.Insert(p.subject.ready, 0, p)
	t.line.join(p.subject)
}

// subjectMayStart reports whether a subject may start an attempt now.
func (t *traffic) subjectMayStart(s *subject) bool {
	bound := t.bound(s.name)
	return mayTake(s.inFlight, t.free()) && (bound <= 0 || s.inFlight < bound)
}

// observe passes an attempt to the breaker of its pair, and to the evidence of its destination. It returns true if the
// breaker opened or closed.
func (t *traffic) observe(p *pair, end attemptEnd, now time.Time) bool {
	if !t.config.Destination.Breaker || !end.made {
		return false
	}
	d := p.destination
	switch {
	case end.answered:
		d.evidence = evidence{}
	case end.failed:
		d.evidence.add(p.subject.name, now)
	}
	suspect := end.failed && !end.answered && d.evidence.unreachable(now)
	return p.breaker.observe(end.startedAt, now, end.failed, suspect)
}

// resettle looks at every timed pair anew, because the clock was set back: a breaker may be open no longer.
func (t *traffic) resettle(now time.Time) {
	for _, w := range slices.Clone(t.timers) {
		if w.pair != nil {
			t.settle(w.pair, now)
		} else {
			t.timers.set(w, now)
		}
	}
}

// dropIdle forgets what is no longer worth remembering.
func (t *traffic) dropIdle(now time.Time) {
	for name, s := range t.subjects {
		for _, p := range s.pairs {
			if p.breaker.Openings > 0 && now.Sub(p.breaker.OpenUntil) > breakerMemory {
				p.breaker.Openings, p.breaker.OpenUntil = 0, time.Time{}
			}
			counted, _ := p.breaker.counts.sum(now)
			if p.stand == idle && p.inFlight == 0 && p.breaker.Openings == 0 && counted == 0 {
				t.remove(p)
			}
		}
		if len(s.pairs) == 0 && s.tests == 0 && !s.missing() {
			delete(t.subjects, name)
		}
	}
	for name, d := range t.destinations {
		if d.pairs == 0 && d.limiter.TokensAt(now) >= float64(d.limiter.Burst()) {
			delete(t.destinations, name)
		}
	}
}
