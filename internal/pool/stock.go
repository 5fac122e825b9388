package pool

import (
	"errors"
	"slices"
	"time"

	"boomerang/internal/sandbox"
)

// stock is what waits for one language.
type stock struct {
	want    Want
	target  int        // how many should wait
	waiting []*waiting // the longest waiting first
	making  int

	used    time.Time // when somebody asked last
	lowest  int       // the fewest that waited since the last review
	review  time.Time // the next
	renewed time.Time // nobody is given one that is older
	rigid   time.Time // until then none is resized: the last one could not be

	retry   time.Time     // not before: a making failed
	setback time.Duration // the pause before; 0: the last one succeeded
}

// waiting is a berth that nobody has yet.
type waiting struct {
	*held
	spec  sandbox.Spec
	since time.Time     // its making began
	left  chan struct{} // closed when it is out of its stock
}

// there tells whether it has not gone.
func (b *waiting) there() bool {
	select {
	case <-b.Gone():
		return false
	default:
		return true
	}
}

// well tells whether somebody may have it.
func (s *stock) well(b *waiting) bool { return b.there() && !b.since.Before(s.renewed) }

// renew lets no berth wait any longer, and begins anew with what could not be done.
func (s *stock) renew(now time.Time) {
	s.renewed = now
	s.retry, s.rigid = time.Time{}, time.Time{}
}

// pick takes the longest waiting berth that is well and fits; nil when there is none.
func (s *stock) pick(spec sandbox.Spec) *waiting {
	for i, b := range s.waiting {
		if s.well(b) && b.spec.Fits(spec) {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			close(b.left)
			s.lowest = min(s.lowest, len(s.waiting))
			return b
		}
	}
	s.lowest = 0
	return nil
}

// judge looks at the demand of the time since the last review: berths that nobody needed in all of it are too many.
func (s *stock) judge(now time.Time, every time.Duration) {
	if s.want.Size != Auto {
		s.target = s.want.Size
		return
	}
	if s.review.IsZero() {
		s.review, s.lowest = now.Add(every), len(s.waiting)
	}
	if now.Before(s.review) {
		return
	}
	s.target = max(s.target-s.lowest, 0)
	s.review, s.lowest = now.Add(every), len(s.waiting)
}

// cull takes out what must not wait any longer: what is not well or not what is wanted now and, the longest waiting first, what
// is more than the target. What is old stays until there is a new one to take its place.
func (s *stock) cull() (out []*waiting) {
	fit := func(b *waiting) bool { return s.well(b) && b.spec.Same(s.want.Spec) }
	for _, b := range s.waiting {
		if !fit(b) {
			out = append(out, b)
		}
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(b *waiting) bool { return !fit(b) })
	surplus := max(len(s.waiting)-s.target, 0)
	out = append(out, s.waiting[:surplus]...)
	s.waiting = slices.Delete(s.waiting, 0, surplus)
	for _, b := range out {
		close(b.left)
	}
	return out
}

// missing is how many berths have to be made.
func (s *stock) missing(now time.Time, age time.Duration) int {
	if now.Before(s.retry) {
		return 0
	}
	young := 0
	for _, b := range s.waiting {
		if now.Sub(b.since) < age {
			young++
		}
	}
	return max(s.target-young-s.making, 0)
}

// The pauses before another making after one that failed.
const (
	firstSetback   = time.Second
	longestSetback = time.Minute
)

// infancy is how long a berth waits before its making is held for a success: its rehearsal is over then, and what can be wrong
// with it has shown.
const infancy = 15 * time.Second

// failed puts the next making off, the longer the more have failed. An engine that refuses is asked rarely from the beginning,
// for it will refuse again until somebody changes something; one that does not answer is asked as often as at first, so that
// berths wait soon after it is back. It returns true for the first failure of several.
func (s *stock) failed(now time.Time, err error) (first bool) {
	first = s.setback == 0
	pause := min(max(2*s.setback, firstSetback), longestSetback)
	switch {
	case errors.Is(err, sandbox.ErrUnavailable):
		s.setback = max(s.setback, firstSetback)
		pause = firstSetback
	case errors.Is(err, sandbox.ErrRefused) && !errors.Is(err, sandbox.ErrImageUnavailable):
		pause = longestSetback
		s.setback = pause
	default:
		s.setback = pause
	}
	s.retry = now.Add(pause)
	return first
}

// proven ends a series of failures when a berth has outlived its infancy; true if there was one.
func (s *stock) proven(now time.Time) (again bool) {
	if s.setback == 0 || !slices.ContainsFunc(s.waiting, func(b *waiting) bool { return now.Sub(b.since) >= infancy }) {
		return false
	}
	s.setback = 0
	return true
}
