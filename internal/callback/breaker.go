package callback

import (
	"net/http"
	"time"

	"boomerang/internal/execution"
)

const (
	breakerWindow       = 5 * time.Minute  // the breaker counts attempts of this period
	breakerMinAttempts  = 10               // with fewer attempts a share means nothing
	breakerFailureShare = 0.7              // this share of failures opens the breaker
	breakerPause        = 30 * time.Second // first pause; doubled after each failed probe
	maxBreakerPause     = 10 * time.Minute
)

// breaker stops the attempts of a subject to a destination that fails nearly all of them. After a pause it allows a
// single attempt as a probe. A breaker belongs to one pair and one goroutine.
type breaker struct {
	execution.Breaker // this part survives a restart
	counts            attemptCounts
}

// open reports whether the breaker forbids attempts at now. A clock that was set back cannot keep the breaker open for
// longer than maxBreakerPause.
func (b *breaker) open(now time.Time) bool {
	left := b.OpenUntil.Sub(now)
	return left > 0 && left <= maxBreakerPause
}

// halfOpen reports whether the breaker allows one attempt, as a probe, and no second one beside it.
func (b *breaker) halfOpen(now time.Time) bool { return b.Openings > 0 && !b.open(now) }

// observe counts an attempt that started at startedAt and has ended now. The failure of an attempt to a suspect
// destination opens the breaker at once. The result is true if the breaker opened or closed.
func (b *breaker) observe(startedAt, now time.Time, failed, suspect bool) bool {
	if b.Openings > 0 {
		if startedAt.Before(b.OpenUntil) {
			return false // the attempt started before the breaker opened, so it is no probe
		}
		b.counts = attemptCounts{}
		if failed {
			b.trip(now)
		} else {
			b.Openings, b.OpenUntil = 0, time.Time{}
		}
		return true
	}
	b.counts.add(now, failed)
	all, failures := b.counts.sum(now)
	if !suspect && (all < breakerMinAttempts || float64(failures) < breakerFailureShare*float64(all)) {
		return false
	}
	b.counts = attemptCounts{}
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

// countsAsFailure reports whether an attempt is a failure of its destination: no answer, an overload or a server error.
// A receiver that refuses some callbacks (404, 410, a redirect) is healthy and must stay open for the others.
func countsAsFailure(a execution.Attempt) bool {
	switch {
	case a.Outcome == execution.AttemptSucceeded, a.Outcome == execution.AttemptBlocked:
		return false
	case a.StatusCode == 0, a.StatusCode >= 500:
		return true
	}
	return a.StatusCode == http.StatusRequestTimeout || a.StatusCode == http.StatusTooManyRequests
}

// attemptCounts holds the numbers of attempts in each half minute of the last five minutes.
type attemptCounts [10]struct{ slot, all, failures uint32 }

const countSlot = breakerWindow / time.Duration(len(attemptCounts{}))

func (c *attemptCounts) add(now time.Time, failed bool) {
	slot := uint32(now.UnixNano() / int64(countSlot)) //nolint:gosec // it fits for two thousand years
	at := &c[slot%uint32(len(c))]
	if at.slot != slot {
		at.slot, at.all, at.failures = slot, 0, 0
	}
	at.all++
	if failed {
		at.failures++
	}
}

func (c *attemptCounts) sum(now time.Time) (all, failures int) {
	slot := uint32(now.UnixNano() / int64(countSlot)) //nolint:gosec // it fits for two thousand years
	for _, at := range c {
		if at.slot+uint32(len(c)) > slot {
			all, failures = all+int(at.all), failures+int(at.failures)
		}
	}
	return all, failures
}
