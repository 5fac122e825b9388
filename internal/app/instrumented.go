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

// ledger is what is written down, by whoever writes it.
type ledger interface {
	admission.Store
	dispatch.Store
	callback.Store
	Cancel(ctx context.Context, id execution.ID, at time.Time,
		finish func(execution.Execution) (execution.Result, *execution.Delivery)) (execution.Execution, error)
}

// instrumented counts what was written down durably; so the rooms need not know that anybody counts.
type instrumented struct {
	ledger
	metrics *metrics.Metrics
}

func (c instrumented) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	err := c.ledger.Finish(ctx, id, r, d)
	if err == nil {
		c.metrics.Ended(r.State, r.Reason)
	}
	return err
}

func (c instrumented) Cancel(
	ctx context.Context, id execution.ID, at time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (execution.Execution, error) {
	var ended *execution.Result // by this call: what runs is ended by Finish
	e, err := c.ledger.Cancel(ctx, id, at, func(e execution.Execution) (execution.Result, *execution.Delivery) {
		r, d := finish(e)
		ended = &r
		return r, d
	})
	if err == nil && ended != nil {
		c.metrics.Ended(ended.State, ended.Reason)
	}
	return e, err
}

func (c instrumented) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time,
) error {
	err := c.ledger.Record(ctx, a, state, reason, nextAt)
	if err == nil {
		c.metrics.Attempted(a.Outcome)
	}
	return err
}
