package callback

import (
	"context"
	"time"
)

const (
	walkInterval = time.Minute
	minWalkPause = 100 * time.Millisecond
	walkShare    = 50           // a walk takes at most one fiftieth of the time
	lastName     = "\U0010FFFF" // is behind every destination
)

// walk reads the heads of all pairs from the store, in the order of subjects and destinations. The first walk loads
// what an earlier process left. Later walks find the pairs of subjects that have more than memory keeps, and
// deliveries that no news reported, because an operator or another version of the program wrote them.
type walk struct {
	walking              bool
	subject, destination string        // the pair behind which the walk goes on
	spent                time.Duration // by this walk
	earliest             time.Time     // of the next walk
	at                   time.Time     // of the next walk
}

// hurry makes the next walk begin as early as it may if a subject needs it: it has nothing ready, and deliveries in the
// store that are due and not in memory.
func (w *walk) hurry(s *subject) {
	if s.missing() && len(s.ready) == 0 {
		needed := w.earliest
		if s.missedAt.After(needed) {
			needed = s.missedAt
		}
		if needed.Before(w.at) {
			w.at = needed
		}
	}
}

// readHeads makes a step of the walk, or begins the next walk if it is time.
func (r *runState) readHeads(ctx context.Context, now time.Time) error {
	w := &r.walk
	if !w.walking {
		if now.Before(w.at) {
			return nil
		}
		*w = walk{walking: true}
		for _, s := range r.traffic.subjects {
			s.missedAt = time.Time{}
		}
	}
	heads, err := r.store.Heads(ctx, w.subject, w.destination, readSize)
	if err != nil {
		return err
	}
	full := func(name string) bool { // the memory of a subject is full of deliveries that are due
		s, ok := r.traffic.subjects[name]
		return ok && s.missing() && !s.missedAt.After(now)
	}
	for _, d := range heads {
		if !full(d.Subject) {
			r.traffic.add(d, false, now)
		}
	}
	w.spent += r.sender.now().Sub(now)
	if len(heads) == readSize {
		last := heads[len(heads)-1]
		if w.subject, w.destination = last.Subject, last.Destination; full(last.Subject) {
			w.destination = lastName
		}
		return nil
	}
	w.walking, w.earliest = false, now.Add(max(minWalkPause, walkShare*w.spent))
	w.at = now.Add(max(walkInterval, walkShare*w.spent))
	for _, s := range r.traffic.subjects {
		w.hurry(s)
	}
	r.traffic.dropIdle(now)
	return r.store.ForgetBreakers(ctx, now.Add(-breakerMemory))
}
