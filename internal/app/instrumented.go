package app

import (
	"context"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/callback"
	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/metrics"
)

// ledger is all writes of executions and deliveries.
type ledger interface {
	admission.Store
	dispatch.Store
	callback.Store
	Cancel(ctx context.Context, id execution.ID, at time.Time,
		finish func(execution.Execution) (execution.Result, *execution.Delivery)) (execution.Execution, error)
}

// instrumented counts successful writes, so that no other package needs the metrics.
type instrumented struct {
	ledger
	metrics *metrics.Metrics
}

// Finish implements dispatch.Ledger.
func (i instrumented) Finish(
	ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery,
) error {
	err := i.ledger.Finish(ctx, id, r, d)
	if err == nil {
		i.metrics.Ended(r.State, r.Reason)
	}
	return err
}

// Cancel implements ledger.
func (i instrumented) Cancel(
	ctx context.Context, id execution.ID, at time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (execution.Execution, error) {
	var ended *execution.Result // nil if the execution runs: Finish ends it
	e, err := i.ledger.Cancel(ctx, id, at, func(e execution.Execution) (execution.Result, *execution.Delivery) {
		r, d := finish(e)
		ended = &r
		return r, d
	})
	if err == nil && ended != nil {
		i.metrics.Ended(ended.State, ended.Reason)
	}
	return e, err
}

// Record implements callback.Store.
func (i instrumented) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason,
	nextAt time.Time,
) error {
	err := i.ledger.Record(ctx, a, state, reason, nextAt)
	if err == nil {
		i.metrics.Attempted(a.Outcome)
	}
	return err
}
