package callback

import (
	"container/heap"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"boomerang/internal/execution"
)

// subject is the traffic of one subject. It exists as long as it has a pair.
type subject struct {
	name     string
	inFlight int
	tests    int              // that wait or are in flight
	pairs    map[string]*pair // by destination
	ready    []*pair          // due, in the order of their turns
	crowded  []*pair          // due, with an attempt in flight; they wait until the subject has room
	served   int64            // number of its last attempt
	missedAt time.Time        // when the first pair is due that is in the store and not in memory; zero = none
	index    int              // in the line, or -1
}

// missing reports whether the store may hold pairs of the subject that are not in memory.
func (s *subject) missing() bool { return !s.missedAt.IsZero() }

// miss notes that a pair is not in memory, although a delivery of it is due at a time.
func (s *subject) miss(at time.Time) {
	if s.missedAt.IsZero() || at.Before(s.missedAt) {
		s.missedAt = at
	}
}

// destination is the traffic of all subjects to one destination.
type destination struct {
	name     string
	inFlight int
	pairs    int // that refer to it
	limiter  *rate.Limiter
	waiting  []*pair // due, in the order of their turns; the destination has no place or no token for them
	timer    timer   // set to the time of the next token while a pair waits for one
	evidence evidence
}

// pair is the traffic of one subject to one destination.
type pair struct {
	subject     *subject
	destination *destination
	inFlight    int
	breaker     breaker
	queue       []queued // the earliest waiting deliveries, in the order of their times
	more        bool     // the store may hold deliveries later than those in the queue
	tests       []*turn  // tests that wait
	stand       stand
	timer       timer
}

// stand is the place where a pair waits.
type stand string

// The stands of a pair.
const (
	idle    stand = ""        // it has nothing to send
	timed   stand = "timed"   // among the timers, for its next delivery or for the end of the breaker's pause
	ready   stand = "ready"   // among the ready pairs of its subject
	crowded stand = "crowded" // among the crowded pairs of its subject
	held    stand = "held"    // its breaker's probe is in flight
	waiting stand = "waiting" // among the waiting pairs of its destination
	freed   stand = "freed"   // its destination has room again; start looks at it next
)

// queued is a delivery that waits.
type queued struct {
	execution execution.ID
	at        time.Time // of its next attempt
}

// insert adds a delivery to the queue, or moves it to its new time. The queue keeps the earliest most deliveries.
func (p *pair) insert(q queued, most int) {
	p.queue = slices.DeleteFunc(p.queue, func(other queued) bool { return other.execution == q.execution })
	at := len(p.queue)
	for at > 0 && p.queue[at-1].at.After(q.at) {
		at--
	}
	if at == len(p.queue) && p.more {
		return // the store may hold an earlier one
	}
	p.queue = slices.Insert(p.queue, at, q)
	if len(p.queue) > most {
		p.queue, p.more = slices.Delete(p.queue, most, len(p.queue)), true
	}
}

// forget empties the queue, so that it is read from the store before the next attempt.
func (p *pair) forget() { p.queue, p.more = nil, true }

// pending reports whether anything waits, as far as the memory knows.
func (p *pair) pending() bool { return len(p.queue) > 0 || p.more || len(p.tests) > 0 }

// evidence holds the failures of a destination since its last answer: those that have the same cause for every
// subject, because no HTTP was spoken.
type evidence struct {
	failures map[string]int // by subject
	last     time.Time
}

// Limits of the evidence against a destination.
const (
	maxWitnesses   = 16 // subjects that are remembered
	maxTestimonies = breakerMinAttempts / 2
)

// add counts a failure of a subject. The share of one subject is bounded, so that no subject can close a destination.
func (e *evidence) add(subject string, now time.Time) {
	if now.Sub(e.last) > breakerWindow || now.Before(e.last) {
		e.failures = nil
	}
	e.last = now
	if e.failures == nil {
		e.failures = make(map[string]int)
	}
	if n, known := e.failures[subject]; known && n < maxTestimonies || !known && len(e.failures) < maxWitnesses {
		e.failures[subject]++
	}
}

// unreachable reports whether several subjects found the destination unreachable.
func (e *evidence) unreachable(now time.Time) bool {
	sum := 0
	for _, n := range e.failures {
		sum += n
	}
	return sum >= breakerMinAttempts && now.Sub(e.last) <= breakerWindow
}

// timer wakes a pair or a destination.
type timer struct {
	at          time.Time
	index       int // in the timers, from 1; 0 if the timer is not set
	pair        *pair
	destination *destination
}

// timers holds the timers that are set, the earliest first. It implements heap.Interface.
type timers []*timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	w := x.(*timer) //nolint:forcetypeassert,errcheck // heap passes on the argument of set
	*t = append(*t, w)
	w.index = len(*t)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := (*t)[len(*t)-1]
	(*t)[len(*t)-1] = nil
	*t = (*t)[:len(*t)-1]
	last.index = 0
	return last
}

func (t *timers) set(w *timer, at time.Time) {
	w.at = at
	if w.index > 0 {
		heap.Fix(t, w.index-1)
		return
	}
	heap.Push(t, w)
}

func (t *timers) stop(w *timer) {
	if w.index > 0 {
		heap.Remove(t, w.index-1)
	}
}

// line holds the subjects with a ready pair. The subject with the fewest attempts in flight comes first, and of several
// the subject that was served longest ago. It implements heap.Interface.
type line []*subject

func (l line) Len() int { return len(l) }

func (l line) Less(i, j int) bool {
	if l[i].inFlight != l[j].inFlight {
		return l[i].inFlight < l[j].inFlight
	}
	return l[i].served < l[j].served
}

func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push implements heap.Interface.
func (l *line) Push(x any) {
	s := x.(*subject) //nolint:forcetypeassert,errcheck // heap passes on the argument of join
	s.index = len(*l)
	*l = append(*l, s)
}

// Pop implements heap.Interface.
func (l *line) Pop() any {
	last := (*l)[len(*l)-1]
	(*l)[len(*l)-1] = nil
	*l = (*l)[:len(*l)-1]
	last.index = -1
	return last
}

// join adds a subject, or moves it to its place after a change.
func (l *line) join(s *subject) {
	switch {
	case s.index >= 0:
		heap.Fix(l, s.index)
	case len(s.ready) > 0:
		heap.Push(l, s)
	}
}

func (l *line) leave(s *subject) {
	if s.index >= 0 {
		heap.Remove(l, s.index)
	}
}
