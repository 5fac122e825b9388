package callback

import (
	"net/http"
	"time"

	"boomerang/internal/execution"
)

const (
	maxRetryAfter = 24 * time.Hour  // a receiver cannot ask for a longer pause
	overloadPause = 1 * time.Minute // minimum pause after a timeout or an answer that reports overload
	quickFailure  = 1 * time.Second // a connection that fails sooner is retried at once
	jitterShare   = 0.2             // of a pause, in either direction
)

// nextStep is the consequence of an attempt.
type nextStep struct {
	state  execution.DeliveryState
	reason execution.DeadReason // set if state is Dead
	at     time.Time            // set if state is Pending
}

// nextStepAfter returns the consequence of attempt a. The schedule holds the pause before each attempt after the first,
// counted from the end of the attempt before. It starts again after resumed attempts, which is 0 unless the delivery is
// sent again. The jitter is from 0 to 1 and moves a pause by up to a fifth in either direction; 0.5 does not move it.
func nextStepAfter(a execution.Attempt, resumed int, schedule []time.Duration, jitter float64) nextStep {
	place := a.Number - resumed // position in the schedule, from 1
	switch {
	case a.Outcome == execution.AttemptSucceeded:
		return nextStep{state: execution.Delivered}
	case a.Outcome == execution.AttemptBlocked:
		return nextStep{state: execution.Dead, reason: execution.Blocked}
	case a.StatusCode == http.StatusGone:
		return nextStep{state: execution.Dead, reason: execution.Gone}
	case place > len(schedule):
		return nextStep{state: execution.Dead, reason: execution.Exhausted}
	}
	planned := schedule[place-1]
	pause := planned + time.Duration(float64(planned)*jitterShare*(2*jitter-1))
	pause = max(pause, min(a.RetryAfter, maxRetryAfter))
	if overloaded(a) {
		pause = max(pause, overloadPause)
	}
	return nextStep{state: execution.Pending, at: a.StartedAt.Add(a.Duration + pause)}
}

// overloaded reports whether the receiver, or a proxy in front of it, is overloaded.
func overloaded(a execution.Attempt) bool {
	switch a.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return a.Outcome == execution.AttemptTimeout
}

// retriesAtOnce reports whether attempt a is repeated at once, under the same number: the first attempt, if its
// connection failed so early that the receiver may just have been restarted.
func retriesAtOnce(a execution.Attempt) bool {
	broken := a.Outcome == execution.AttemptRefused || a.Outcome == execution.AttemptConnection
	return broken && a.Number == 1 && a.Duration < quickFailure
}
