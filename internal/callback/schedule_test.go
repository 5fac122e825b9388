package callback

import (
	"testing"
	"time"

	"boomerang/internal/execution"
)

// attemptOf returns attempt number n, which took a second.
func attemptOf(n int, outcome execution.AttemptOutcome, status int, retryAfter time.Duration) execution.Attempt {
	return execution.Attempt{
		Number: n, Outcome: outcome, StatusCode: status, RetryAfter: retryAfter,
		StartedAt: time.Unix(1706400000, 0), Duration: time.Second,
	}
}

func TestPausesOfTheScheduleStartAtTheEndOfTheAttempt(t *testing.T) {
	schedule := Defaults().Schedule
	for i, want := range []string{
		"5s", "30s", "5m0s", "30m0s", "2h0m0s", "5h0m0s", "10h0m0s", "14h0m0s", "20h0m0s", "24h0m0s",
	} {
		a := attemptOf(i+1, execution.AttemptRefused, 0, 0)
		n := nextStepAfter(a, 0, schedule, 0.5)
		if got := n.at.Sub(a.StartedAt.Add(a.Duration)); n.state != execution.Pending || got.String() != want {
			t.Errorf("after attempt %d: %s in %s, want pending in %s", i+1, n.state, got, want)
		}
	}
	if n := nextStepAfter(attemptOf(11, execution.AttemptRefused, 0, 0), 0, schedule, 0.5); n.state != execution.Dead ||
		n.reason != execution.Exhausted {
		t.Errorf("after attempt 11: got %+v, want dead, exhausted", n)
	}
	last := attemptOf(12, execution.AttemptSucceeded, 200, 0)
	if n := nextStepAfter(last, 0, schedule, 0.5); n.state != execution.Delivered {
		t.Errorf("a success beyond the schedule: got %+v", n)
	}
	if n := nextStepAfter(attemptOf(1, execution.AttemptRefused, 0, 0), 0, nil, 0.5); n.reason != execution.Exhausted {
		t.Errorf("without a schedule: got %+v", n)
	}
}

func TestTheScheduleStartsAgainWhenADeliveryIsSentAgain(t *testing.T) {
	schedule := []time.Duration{5 * time.Second, 30 * time.Second}
	for _, c := range []struct {
		number, resumed int
		want            string // pause; empty if the delivery is given up
	}{
		{3, 0, ""},
		{4, 3, "5s"},
		{5, 3, "30s"},
		{6, 3, ""},
		{2, 1, "5s"}, // sent again right after a success
		{12, 11, "5s"},
	} {
		a := attemptOf(c.number, execution.AttemptRefused, 0, 0)
		n := nextStepAfter(a, c.resumed, schedule, 0.5)
		got := ""
		if n.state == execution.Pending {
			got = n.at.Sub(a.StartedAt.Add(a.Duration)).String()
		}
		if got != c.want {
			t.Errorf("attempt %d, resumed after %d: %+v; want the next in %q", c.number, c.resumed, n, c.want)
		}
	}
}

func TestTheNextStepFollowsFromTheAttempt(t *testing.T) {
	const planned = 5 * time.Second
	for name, c := range map[string]struct {
		attempt execution.Attempt
		jitter  float64
		want    nextStep
		pause   time.Duration
	}{
		"delivered": {attemptOf(1, execution.AttemptSucceeded, 200, 0), 0.5, nextStep{state: execution.Delivered}, 0},
		"gone": {
			attemptOf(1, execution.AttemptStatus, 410, time.Hour), 0.5,
			nextStep{state: execution.Dead, reason: execution.Gone},
			0,
		},
		"blocked": {
			attemptOf(1, execution.AttemptBlocked, 0, 0), 0.5,
			nextStep{state: execution.Dead, reason: execution.Blocked},
			0,
		},
		"redirect": {
			attemptOf(1, execution.AttemptRedirect, 301, 0), 0.5, nextStep{state: execution.Pending}, planned,
		},
		"404 is tried again": {
			attemptOf(1, execution.AttemptStatus, 404, 0), 0.5, nextStep{state: execution.Pending}, planned,
		},
		"500": {attemptOf(1, execution.AttemptStatus, 500, 0), 0.5, nextStep{state: execution.Pending}, planned},
		"503": {attemptOf(1, execution.AttemptStatus, 503, 0), 0.5, nextStep{state: execution.Pending}, planned},
		"DNS": {attemptOf(1, execution.AttemptDNS, 0, 0), 0.5, nextStep{state: execution.Pending}, planned},
		"TLS": {attemptOf(1, execution.AttemptTLS, 0, 0), 0.5, nextStep{state: execution.Pending}, planned},
		"connection": {
			attemptOf(1, execution.AttemptConnection, 0, 0), 0.5, nextStep{state: execution.Pending}, planned,
		},
		"least jitter": {
			attemptOf(1, execution.AttemptRefused, 0, 0), 0, nextStep{state: execution.Pending}, 4 * time.Second,
		},
		"most jitter": {
			attemptOf(1, execution.AttemptRefused, 0, 0), 1, nextStep{state: execution.Pending}, 6 * time.Second,
		},
		"429":     {attemptOf(1, execution.AttemptStatus, 429, 0), 0, nextStep{state: execution.Pending}, time.Minute},
		"502":     {attemptOf(1, execution.AttemptStatus, 502, 0), 0, nextStep{state: execution.Pending}, time.Minute},
		"504":     {attemptOf(1, execution.AttemptStatus, 504, 0), 0, nextStep{state: execution.Pending}, time.Minute},
		"timeout": {attemptOf(1, execution.AttemptTimeout, 0, 0), 0, nextStep{state: execution.Pending}, time.Minute},
		"timeout, later": {
			attemptOf(3, execution.AttemptTimeout, 0, 0), 0.5, nextStep{state: execution.Pending}, 5 * time.Minute,
		},
		"429 asks for more": {
			attemptOf(1, execution.AttemptStatus, 429, 2*time.Minute), 0,
			nextStep{state: execution.Pending},
			2 * time.Minute,
		},
		"429 asks for less": {
			attemptOf(1, execution.AttemptStatus, 429, 10*time.Second), 0,
			nextStep{state: execution.Pending},
			time.Minute,
		},
		"503 asks for less": {
			attemptOf(1, execution.AttemptStatus, 503, time.Second), 0.5, nextStep{state: execution.Pending}, planned,
		},
		"503 asks for too much": {
			attemptOf(1, execution.AttemptStatus, 503, 48*time.Hour), 0.5,
			nextStep{state: execution.Pending},
			24 * time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.want.state == execution.Pending {
				c.want.at = c.attempt.StartedAt.Add(c.attempt.Duration + c.pause)
			}
			if got := nextStepAfter(c.attempt, 0, Defaults().Schedule, c.jitter); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestOnlyTheFirstQuickConnectionFailureIsRetriedAtOnce(t *testing.T) {
	quick := func(number int, outcome execution.AttemptOutcome, d time.Duration) execution.Attempt {
		return execution.Attempt{Number: number, Outcome: outcome, Duration: d}
	}
	for _, c := range []struct {
		attempt execution.Attempt
		want    bool
	}{
		{quick(1, execution.AttemptRefused, 0), true},
		{quick(1, execution.AttemptConnection, quickFailure-1), true},
		{quick(1, execution.AttemptConnection, quickFailure), false},
		{quick(2, execution.AttemptRefused, 0), false},
		{quick(1, execution.AttemptSucceeded, 0), false},
		{quick(1, execution.AttemptStatus, 0), false},
		{quick(1, execution.AttemptBlocked, 0), false},
		{quick(1, execution.AttemptDNS, 0), false},
		{quick(1, execution.AttemptTLS, 0), false},
		{quick(1, execution.AttemptTimeout, 0), false},
	} {
		if got := retriesAtOnce(c.attempt); got != c.want {
			t.Errorf("%+v: got %v, want %v", c.attempt, got, c.want)
		}
	}
}
