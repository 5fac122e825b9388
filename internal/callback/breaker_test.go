package callback

import (
	"testing"
	"time"

	"boomerang/internal/execution"
)

// clockedBreaker is a breaker with a clock.
type clockedBreaker struct {
	breaker
	now time.Time
}

// try ends an attempt now, if the breaker allows one.
func (s *clockedBreaker) try(failed bool) (made bool) {
	if s.open(s.now) {
		return false
	}
	s.observe(s.now, s.now, failed, false)
	return true
}

func TestABreakerOpensWhenNearlyAllFail(t *testing.T) {
	for name, c := range map[string]struct {
		outcomes string // one per second: x fails, . succeeds
		pause    time.Duration
		want     bool
	}{
		"nine failures are too few to tell":      {"xxxxxxxxx", time.Second, false},
		"ten failures":                           {"xxxxxxxxxx", time.Second, true},
		"seven of ten":                           {"...xxxxxxx", time.Second, true},
		"six of ten":                             {"....xxxxxx", time.Second, false},
		"a good past counts":                     {"....................xxxxxxxxxxxx", time.Second, false},
		"but only five minutes of it":            {"..........xxxxxxxxxx", 30 * time.Second, true},
		"ten failures in more than five minutes": {"xxxxxxxxxxxxxxxxxxxx", 40 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := clockedBreaker{now: time.Unix(1_706_400_000, 0)}
			for i := range c.outcomes {
				s.try(c.outcomes[i] == 'x')
				if i < len(c.outcomes)-1 {
					s.now = s.now.Add(c.pause)
				}
			}
			if got := s.open(s.now); got != c.want {
				t.Errorf("open: %v, want %v", got, c.want)
			}
		})
	}
}

func TestEachFailedProbeDoublesThePauseOfABreaker(t *testing.T) {
	s := clockedBreaker{now: time.Unix(1_706_400_000, 0)}
	for range breakerMinAttempts {
		s.try(true)
	}
	for _, want := range []time.Duration{
		30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute,
		10 * time.Minute,
	} {
		if got := s.OpenUntil.Sub(s.now); got != want {
			t.Fatalf("opened for %s, want %s", got, want)
		}
		s.now = s.OpenUntil.Add(-1)
		if s.try(true) {
			t.Fatal("an attempt was made while it was open")
		}
		s.now = s.OpenUntil
		if !s.halfOpen(s.now) || !s.try(true) {
			t.Fatal("no probe was made when it had been open")
		}
	}
	s.now = s.OpenUntil
	s.try(false)
	if s.halfOpen(s.now) || s.open(s.now) || s.Openings != 0 {
		t.Errorf("after a probe that succeeded: %+v, want it closed", s.Breaker)
	}
	for range breakerMinAttempts - 1 {
		s.try(true)
	}
	if s.open(s.now) {
		t.Error("it remembers attempts from before it closed")
	}
	s.try(true)
	if got := s.OpenUntil.Sub(s.now); got != breakerPause {
		t.Errorf("opened for %s, want %s as at first", got, breakerPause)
	}
}

func TestAnAttemptStartedBeforeTheBreakerOpenedIsNoProbe(t *testing.T) {
	s := clockedBreaker{now: time.Unix(1_706_400_000, 0)}
	began := s.now
	for range breakerMinAttempts {
		s.try(true)
	}
	before := s.Breaker
	s.now = s.OpenUntil.Add(time.Second)
	for _, failed := range []bool{true, false} {
		if s.observe(began, s.now, failed, false) || s.Breaker != before {
			t.Errorf("an old attempt (failed: %v) changed it to %+v", failed, s.Breaker)
		}
	}
}

func TestAClockSetBackDoesNotKeepABreakerOpen(t *testing.T) {
	s := clockedBreaker{now: time.Unix(1_706_400_000, 0)}
	for range breakerMinAttempts {
		s.try(true)
	}
	if s.now = s.now.Add(-24 * time.Hour); s.open(s.now) || !s.halfOpen(s.now) {
		t.Errorf("a day earlier it is still open: %+v", s.Breaker)
	}
}

func TestOnlyFailuresOfTheDestinationCount(t *testing.T) {
	for a, want := range map[execution.AttemptOutcome]map[int]bool{
		execution.AttemptSucceeded:  {200: false, 204: false},
		execution.AttemptBlocked:    {0: false},
		execution.AttemptTimeout:    {0: true},
		execution.AttemptRefused:    {0: true},
		execution.AttemptConnection: {0: true},
		execution.AttemptDNS:        {0: true},
		execution.AttemptTLS:        {0: true},
		execution.AttemptRedirect:   {302: false},
		execution.AttemptStatus: {
			400: false, 401: false, 404: false, 408: true, 410: false, 429: true, 500: true, 502: true, 503: true,
			504: true,
		},
	} {
		for status, want := range want {
			if got := countsAsFailure(execution.Attempt{Outcome: a, StatusCode: status}); got != want {
				t.Errorf("%s %d: got %v, want %v", a, status, got, want)
			}
		}
	}
}
