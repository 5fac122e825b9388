package pool

import (
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
	retry   time.Time // not before: a making failed
	rigid   time.Time // until then none is resized: the last one could not be
	setback time.Duration
}

// waiting is a berth that nobody has yet.
type waiting struct {
	*held
	spec   sandbox.Spec
	since  time.Time
	spoilt bool
	left   chan struct{} // closed when it is out of its stock
}

// well tells whether somebody may have it.
func (b *waiting) well() bool {
	select {
	case <-b.Gone():
		return false
	default:
		return !b.spoilt
	}
}

// pick takes the longest waiting berth that is well and fits; nil when there is none.
func (s *stock) pick(spec sandbox.Spec) *waiting {
	for i, b := range s.waiting {
		if b.well() && b.spec.Fits(spec) {
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
	fit := func(b *waiting) bool { return b.well() && b.spec.Same(s.want.Spec) }
	for _, b := range s.waiting {
		if !fit(b) {
			out = append(out, b)
		}
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(b *waiting) bool { return !fit(b) })
	surplus := max(len(s.waiting)-s.target, 0)
	out = append(out, s.waiting[:surplus]...)
	s.waiting = slices.Delete(s.waiting, 0, surplus)
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

// failed puts the next making off; true for the first failure of several.
func (s *stock) failed(now time.Time) (first bool) {
	first = s.setback == 0
	s.setback = min(max(2*s.setback, firstSetback), longestSetback)
	s.retry = now.Add(s.setback)
	return first
}

// made ends a series of failures; true if there was one.
func (s *stock) made() (again bool) {
	again = s.setback > 0
	s.setback, s.retry = 0, time.Time{}
	return again
}
