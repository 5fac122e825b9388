package pool

import (
	"errors"
	"slices"
	"time"

	"boomerang/internal/sandbox"
)

// stock is the warm containers of one language.
type stock struct {
	want   Want
	target int              // number of warm containers to have
	warm   []*warmContainer // the oldest first
	making int              // number of containers in the making

	used          time.Time // time of the last Prepare for this language
	lowest        int       // smallest number of warm containers since the last review
	nextReview    time.Time
	renewed       time.Time // containers made before are not handed out
	noResizeUntil time.Time // no container is resized before, because a resize failed

	retryAt time.Time     // no container is made before, because a making failed
	backOff time.Duration // the last pause after a failed making; 0 after a success
}

// warmContainer is a container that no execution uses yet.
type warmContainer struct {
	*ownedContainer
	spec  sandbox.Spec
	since time.Time     // start of its making
	left  chan struct{} // closed when the container leaves its stock
}

// alive tells whether the container still runs.
func (c *warmContainer) alive() bool {
	select {
	case <-c.Gone():
		return false
	default:
		return true
	}
}

// size counts the warm containers and those in the making.
func (s *stock) size() int { return len(s.warm) + s.making }

// usable tells whether a container may be handed out.
func (s *stock) usable(c *warmContainer) bool { return c.alive() && !c.since.Before(s.renewed) }

// renew makes all containers unusable and ends the pauses after failures.
func (s *stock) renew(now time.Time) {
	s.renewed = now
	s.retryAt, s.noResizeUntil = time.Time{}, time.Time{}
}

// pick takes out the oldest container that is usable and fits; nil if there is none.
func (s *stock) pick(spec sandbox.Spec) *warmContainer {
	for i, c := range s.warm {
		if s.usable(c) && c.spec.Fits(spec) {
			s.warm = slices.Delete(s.warm, i, i+1)
			close(c.left)
			s.lowest = min(s.lowest, len(s.warm))
			return c
		}
	}
	s.lowest = 0
	return nil
}

// adjustTarget sets the target of a stock of a fixed size. It lowers the target of an Auto stock once per interval, by
// the number of containers that were surplus during the whole interval.
func (s *stock) adjustTarget(now time.Time, interval time.Duration) {
	if s.want.Size != Auto {
		s.target = s.want.Size
		return
	}
	if s.nextReview.IsZero() {
		s.nextReview, s.lowest = now.Add(interval), len(s.warm)
	}
	if now.Before(s.nextReview) {
		return
	}
	s.target = max(s.target-s.lowest, 0)
	s.nextReview, s.lowest = now.Add(interval), len(s.warm)
}

// evict takes out unusable containers, containers with another spec than the want, and the oldest containers above the
// target. An old container stays until its replacement is made.
func (s *stock) evict() (out []*warmContainer) {
	keep := func(c *warmContainer) bool { return s.usable(c) && c.spec.Same(s.want.Spec) }
	for _, c := range s.warm {
		if !keep(c) {
			out = append(out, c)
		}
	}
	s.warm = slices.DeleteFunc(s.warm, func(c *warmContainer) bool { return !keep(c) })
	surplus := max(len(s.warm)-s.target, 0)
	out = append(out, s.warm[:surplus]...)
	s.warm = slices.Delete(s.warm, 0, surplus)
	for _, c := range out {
		close(c.left)
	}
	return out
}

// missing returns how many containers have to be made. Containers older than age do not count.
func (s *stock) missing(now time.Time, age time.Duration) int {
	if now.Before(s.retryAt) {
		return 0
	}
	young := 0
	for _, c := range s.warm {
		if now.Sub(c.since) < age {
			young++
		}
	}
	return max(s.target-young-s.making, 0)
}

// Bounds of the pause after a failed making.
const (
	minBackOff = time.Second
	maxBackOff = time.Minute
)

// probation is how long a warm container has to live before its making counts as a success. Its rehearsal is over then.
const probation = 15 * time.Second

// backOffAfter starts a pause after a failed making. The pause doubles with each failure. After sandbox.ErrRefused it
// is maxBackOff at once, because the engine will refuse until an operator changes something. After
// sandbox.ErrUnavailable it is minBackOff, so that the stock fills soon after the engine is back. It returns true for
// the first failure in a row.
func (s *stock) backOffAfter(now time.Time, err error) (first bool) {
	first = s.backOff == 0
	pause := min(max(2*s.backOff, minBackOff), maxBackOff)
	switch {
	case errors.Is(err, sandbox.ErrUnavailable):
		s.backOff = max(s.backOff, minBackOff)
		pause = minBackOff
	case errors.Is(err, sandbox.ErrRefused) && !errors.Is(err, sandbox.ErrImageUnavailable):
		pause = maxBackOff
		s.backOff = pause
	default:
		s.backOff = pause
	}
	s.retryAt = now.Add(pause)
	return first
}

// endBackOff ends a row of failures if a container has survived its probation; true if there was a row of failures.
func (s *stock) endBackOff(now time.Time) bool {
	survived := func(c *warmContainer) bool { return now.Sub(c.since) >= probation }
	if s.backOff == 0 || !slices.ContainsFunc(s.warm, survived) {
		return false
	}
	s.backOff = 0
	return true
}
