package callback

import (
	"context"
	"errors"
	"net/http"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// A client chooses the receiver, so attempts at the private receivers that exceptions open would tell the client which
// ports are open, closed or filtered, and which services answer there. Unless the operator reveals it, an attempt at an
// exception has two outcomes, arrived and failed, and each failure takes the same time.

// hidesOutcome reports whether the outcome of an attempt is hidden. The refusals of the policy and the faults of this
// server say nothing about a receiver and are shown.
func (p *Policy) hidesOutcome(url string, trace *connTrace, err error) bool {
	if p.reveal || refusalRule(err) != "" {
		return false
	}
	if _, unsent := errors.AsType[*unsentError](err); unsent {
		return false
	}
	return trace.isException() || p.isException(url)
}

// hideOutcome returns an attempt that tells only whether the callback arrived. After a failure it waits for the end of
// ctx, which is the timeout of an attempt. The error is for the log of the operator and has the real outcome.
func (s *sender) hideOutcome(
	ctx context.Context, a execution.Attempt, began time.Time, err error,
) (execution.Attempt, error) {
	hidden := execution.Attempt{Execution: a.Execution, Number: a.Number, StartedAt: began, Outcome: a.Outcome}
	if a.Outcome == execution.AttemptSucceeded {
		hidden.StatusCode, hidden.Detail = http.StatusOK, "The callback arrived."
		hidden.Duration = s.now().Sub(began).Truncate(time.Second) + time.Second
		return hidden, nil
	}
	<-ctx.Done()
	hidden.Outcome, hidden.Duration = execution.AttemptFailed, s.timeout
	hidden.Detail = "The callback did not arrive. Of this private receiver the server shows no more."
	if err == nil {
		err = errors.New(a.Detail)
	}
	return hidden, err
}

// hideFetch returns the fault of a download from an exception that failed, when ctx has ended.
func hideFetch(ctx context.Context, field string, cause error) error {
	<-ctx.Done()
	return fault.New(fault.InvalidRequest, "%s could not be fetched: %s.", field, execution.AttemptFailed).Field(field).
		Detail("error", execution.AttemptFailed).Because(cause)
}
