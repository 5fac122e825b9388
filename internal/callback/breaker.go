package callback

import (
	"net/http"
	"time"

	"boomerang/internal/execution"
)

const (
	breakerSpan     = 5 * time.Minute  // of what is counted
	breakerFewest   = 10               // attempts, before a share of them means anything
	breakerShare    = 0.7              // of failures opens it
	breakerPause    = 30 * time.Second // for which it opens first; doubled each time that the probe fails
	maxBreakerPause = 10 * time.Minute
)

// breaker keeps attempts away from a destination that fails nearly all of them: for a while none is made, then a single
// one as a probe. It belongs to one destination and one goroutine.
type breaker struct {
	execution.Breaker // what outlives a restart
	counts            counts
}

// open tells whether no attempt may be made. A clock that was set back does not keep it open for longer than it ever
// opens.
func (b *breaker) open(now time.Time) bool {
	left := b.OpenUntil.Sub(now)
	return left > 0 && left <= maxBreakerPause
}

// probing tells whether one attempt may be made, and no second beside it.
func (b *breaker) probing(now time.Time) bool { return b.Openings > 0 && !b.open(now) }

// observe counts an attempt that was begun at began and has ended now. It tells whether the breaker opened or closed.
func (b *breaker) observe(began, now time.Time, failed bool) bool {
	if b.Openings > 0 {
		if began.Before(b.OpenUntil) {
			return false // it was on its way already: it is no probe
		}
		b.counts = counts{}
		if failed {
			b.trip(now)
		} else {
			b.Openings, b.OpenUntil = 0, time.Time{}
		}
		return true
	}
	b.counts.add(now, failed)
	all, failures := b.counts.sum(now)
	if all < breakerFewest || float64(failures) < breakerShare*float64(all) {
		return false
	}
	b.counts = counts{}
	b.trip(now)
	return true
}

func (b *breaker) trip(now time.Time) {
	pause := breakerPause
	for range b.Openings {
		pause = min(2*pause, maxBreakerPause)
	}
	b.Openings, b.OpenUntil = b.Openings+1, now.Add(pause)
}

// sickens tells whether an attempt speaks against its destination: no answer, an answer that something is wrong there or
// too much. A receiver that refuses one client's callbacks (404, 410, a redirect) is well: it must not be closed to others.
func sickens(a execution.Attempt) bool {
	switch {
	case a.Outcome == execution.AttemptSucceeded, a.Outcome == execution.AttemptBlocked:
		return false
	case a.StatusCode == 0, a.StatusCode >= 500:
		return true
	}
	return a.StatusCode == http.StatusRequestTimeout || a.StatusCode == http.StatusTooManyRequests
}

// counts are how many attempts ended in each ten seconds of the last five minutes.
type counts [30]struct {
	slot          int64
	all, failures int
}

const countSlot = breakerSpan / time.Duration(len(counts{}))

func (c *counts) add(now time.Time, failed bool) {
	slot := now.UnixNano() / int64(countSlot)
	at := &c[slot%int64(len(c))]
	if at.slot != slot {
		at.slot, at.all, at.failures = slot, 0, 0
	}
	at.all++
	if failed {
		at.failures++
	}
}

func (c *counts) sum(now time.Time) (all, failures int) {
	oldest := now.UnixNano()/int64(countSlot) - int64(len(c)) + 1
	for _, at := range c {
		if at.slot >= oldest {
			all, failures = all+at.all, failures+at.failures
		}
	}
	return all, failures
}
