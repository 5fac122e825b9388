package callback

import "time"

const (
	walkInterval = time.Minute
	walkShare    = 50           // a walk takes at most one fiftieth of the time, if subjects wait for it
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

// hurry makes the next walk begin as early as it may.
func (w *walk) hurry() { w.at = w.earliest }

// readHeads makes a step of the walk, or begins the next walk if it is time.
func (r *runState) readHeads(now time.Time) error {
	w := &r.walk
	if !w.walking {
		if now.Before(w.at) {
			return nil
		}
		*w = walk{walking: true}
		for _, s := range r.traffic.subjects {
			s.missed = false
		}
	}
	heads, err := r.store.Heads(r.ctx, w.subject, w.destination, readSize)
	if err != nil {
		return err
	}
	for _, d := range heads {
		if s, ok := r.traffic.subjects[d.Subject]; ok && s.missed {
			continue // the walk goes on behind the subject
		}
		r.traffic.add(d, false, now)
	}
	if len(heads) == readSize {
		last := heads[len(heads)-1]
		if w.subject, w.destination = last.Subject, last.Destination; r.traffic.subjects[last.Subject].missed {
			w.destination = lastName
		}
		w.spent += r.sender.now().Sub(now)
		return nil
	}
	w.walking, w.spent = false, w.spent+r.sender.now().Sub(now)
	w.earliest = now.Add(walkShare * w.spent)
	w.at = w.earliest
	if regular := now.Add(walkInterval); regular.After(w.at) {
		w.at = regular
	}
	r.traffic.dropIdle(now)
	return r.store.ForgetBreakers(r.ctx, now.Add(-breakerMemory))
}
