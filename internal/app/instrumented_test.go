package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/metrics"
)

// scriptedLedger is a ledger whose writes return err.
type scriptedLedger struct {
	ledger
	err     error
	running bool // the cancelled execution runs, so Cancel does not end it
}

func (s scriptedLedger) Finish(context.Context, execution.ID, execution.Result, *execution.Delivery) error {
	return s.err
}

func (s scriptedLedger) Record(
	context.Context, execution.Attempt, execution.DeliveryState, execution.DeadReason, time.Time,
) error {
	return s.err
}

func (s scriptedLedger) Cancel(
	_ context.Context, _ execution.ID, _ time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (execution.Execution, error) {
	if !s.running {
		finish(execution.Execution{})
	}
	return execution.Execution{}, s.err
}

func TestSuccessfulWritesAreCounted(t *testing.T) {
	ended := execution.Result{State: execution.Cancelled, Reason: execution.WasCancelled}
	finish := func(execution.Execution) (execution.Result, *execution.Delivery) { return ended, &execution.Delivery{} }
	const (
		execs    = `boomerang_executions_total{reason="cancelled",state="cancelled"} 1`
		attempts = `boomerang_callback_attempts_total{outcome="connection_refused"} 1`
	)
	for name, test := range map[string]struct {
		ledger scriptedLedger
		write  func(instrumented) error
		line   string
		want   bool
	}{
		"an end": {
			scriptedLedger{},
			func(c instrumented) error { return c.Finish(t.Context(), "", ended, nil) }, execs, true,
		},
		"an end not written": {
			scriptedLedger{err: execution.ErrStale},
			func(c instrumented) error { return c.Finish(t.Context(), "", ended, nil) }, execs, false,
		},
		"cancelled in the queue": {scriptedLedger{}, func(c instrumented) error {
			_, err := c.Cancel(t.Context(), "", time.Time{}, finish)
			return err
		}, execs, true},
		"cancelled while it runs": {scriptedLedger{running: true}, func(c instrumented) error {
			_, err := c.Cancel(t.Context(), "", time.Time{}, finish)
			return err
		}, execs, false},
		"not cancelled": {scriptedLedger{err: execution.ErrStale}, func(c instrumented) error {
			_, err := c.Cancel(t.Context(), "", time.Time{}, finish)
			return err
		}, execs, false},
		"an attempt": {scriptedLedger{}, func(c instrumented) error {
			return c.Record(t.Context(), execution.Attempt{Outcome: execution.AttemptRefused}, "", "", time.Time{})
		}, attempts, true},
		"an attempt not written": {scriptedLedger{err: execution.ErrStale}, func(c instrumented) error {
			return c.Record(t.Context(), execution.Attempt{Outcome: execution.AttemptRefused}, "", "", time.Time{})
		}, attempts, false},
	} {
		tally := func(context.Context) (execution.Tally, error) { return execution.Tally{}, nil }
		m := metrics.New(metrics.Facts{Tally: tally})
		if err := test.write(instrumented{test.ledger, m}); !errors.Is(err, test.ledger.err) {
			t.Errorf("%s: got %v; want %v", name, err, test.ledger.err)
		}
		w := httptest.NewRecorder()
		m.Server().Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		if got := strings.Contains(w.Body.String(), test.line); got != test.want {
			t.Errorf("%s: counted: %t; want %t", name, got, test.want)
		}
	}
}
