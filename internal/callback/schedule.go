package callback

import (
	"net/http"
	"time"

	"boomerang/internal/execution"
)

const (
	maxRetryAfter = 24 * time.Hour  // a receiver may not ask for more
	busyPause     = 1 * time.Minute // at least, after an answer that says "too much" or none in time
	instant       = 1 * time.Second // a connection that fails sooner is tried once more at once
	jitterShare   = 0.2             // of a pause, in either direction
)

// next is what follows an attempt.
type next struct {
	state  execution.DeliveryState
	reason execution.DeadReason // when dead
	at     time.Time            // when pending
}

// after decides what follows attempt a. Schedule holds the pause before each attempt after the first, counted from the
// end of the one before; it began after resumed attempts, 0 unless the delivery is sent again. Jitter is from 0 to 1 and moves
// a pause by up to a fifth of it, 0.5 not at all.
func after(a execution.Attempt, resumed int, schedule []time.Duration, jitter float64) next {
	place := a.Number - resumed // in the schedule, from 1
	switch {
	case a.Outcome == execution.AttemptSucceeded:
		return next{state: execution.Delivered}
	case a.Outcome == execution.AttemptBlocked:
		return next{state: execution.Dead, reason: execution.Blocked}
	case a.StatusCode == http.StatusGone:
		return next{state: execution.Dead, reason: execution.Gone}
	case place > len(schedule):
		return next{state: execution.Dead, reason: execution.Exhausted}
	}
	planned := schedule[place-1]
	pause := planned + time.Duration(float64(planned)*jitterShare*(2*jitter-1))
	pause = max(pause, min(a.RetryAfter, maxRetryAfter))
	if overloaded(a) {
		pause = max(pause, busyPause)
	}
	return next{state: execution.Pending, at: a.StartedAt.Add(a.Duration + pause)}
}

// overloaded tells whether the receiver, or something before it, has more than it can do.
func overloaded(a execution.Attempt) bool {
	switch a.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return a.Outcome == execution.AttemptTimeout
}

// atOnce tells whether attempt a is to be made once more at once, under the same number: the first one, whose connection
// failed so soon that the receiver may just have been restarted.
func atOnce(a execution.Attempt) bool {
	broken := a.Outcome == execution.AttemptRefused || a.Outcome == execution.AttemptConnection
	return broken && a.Number == 1 && a.Duration < instant
}
