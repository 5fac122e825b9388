package store

import (
	"context"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// recoverBatch is how many deliveries one write recovers: enough to be quick, few enough that nobody waits for it.
const recoverBatch = 100

// Deliveries returns the deliveries that f chooses, those created last first, without their bodies and sealed fields.
func (s *Store) Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error) {
	query, args := selectDeliveries(f)
	return collect(ctx, unprepared{s.db}, "list deliveries", scanDelivery, query, args...)
}

// selectDeliveries walks along an index for each state, no further than the page, and merges them.
func selectDeliveries(f execution.DeliveryFilter) (query string, args []any) {
	states := f.States
	if len(states) == 0 {
		states = execution.DeliveryStates()
	}
	walks := make([]string, 0, len(states))
	for _, state := range states {
		where, values := conditions(f.Subject, state, f.Destination, f.Since)
		if !f.Until.IsZero() {
			where, values = where+` AND created_at < ?`, append(values, stamp(f.Until))
		}
		if f.Before.Execution != "" {
			where += ` AND (created_at, execution) < (?, coalesce((SELECT seq FROM executions WHERE id = ?), 0))`
			values = append(values, stamp(f.Before.CreatedAt), f.Before.Execution)
		}
		walks = append(walks, `SELECT * FROM (SELECT execution, created_at FROM deliveries WHERE `+where+
			` ORDER BY created_at DESC, execution DESC LIMIT ? + 0)`)
		args = append(append(args, values...), f.Limit)
	}
	return `SELECT e.id, d.state, d.reason, d.attempts, d.resumed, d.next_at, d.created_at, d.ended_at, NULL,
			c.url, c.header_names, c.depth, NULL, NULL
		FROM (` + strings.Join(walks, ` UNION ALL `) + ` ORDER BY created_at DESC, execution DESC LIMIT ? + 0) p
		CROSS JOIN deliveries d ON d.execution = p.execution
		CROSS JOIN executions e ON e.seq = p.execution
		CROSS JOIN callbacks c ON c.execution = p.execution
		ORDER BY p.created_at DESC, p.execution DESC`, append(args, f.Limit)
}

// conditions are those of an index of deliveries; what is empty is no condition.
func conditions(subject string, state execution.DeliveryState, destination string, since time.Time) (where string, args []any) {
	where, args = `state = ?`, []any{state}
	if subject != "" {
		where, args = where+` AND subject = ?`, append(args, subject)
	}
	if destination != "" {
		where, args = where+` AND destination = ?`, append(args, destination)
	}
	if !since.IsZero() {
		where, args = where+` AND created_at >= ?`, append(args, stamp(since))
	}
	return where, args
}

// Redeliver makes a delivery due at now, whatever became of it: one that is pending keeps its place in the schedule, for one
// that was delivered or given up the schedule begins anew. The attempts stay and their numbers go on. An attempt in flight
// goes on too: if it fails there is one more, begun after this call. Faults EXECUTION_NOT_FOUND; CONFLICT where there is no delivery.
func (s *Store) Redeliver(ctx context.Context, id execution.ID, now time.Time) error {
	return s.writer.do(ctx, "redeliver", durable, func(ctx context.Context, t *tx) (events, error) {
		n, err := t.exec(ctx, `UPDATE deliveries SET resumed = CASE state WHEN 'pending' THEN resumed ELSE attempts END,
				state = 'pending', reason = '', next_at = ?, ended_at = NULL
			WHERE execution = (SELECT seq FROM executions WHERE id = ?)`, stamp(now), id)
		if err != nil || n == 1 {
			return events{pending: true}, err
		}
		return events{}, t.undeliverable(ctx, id)
	})
}

// undeliverable says why an execution has no delivery.
func (t *tx) undeliverable(ctx context.Context, id execution.ID) error {
	var asked, together bool
	var state execution.State
	err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM callbacks WHERE execution = seq), summary, state FROM executions WHERE id = ?`, id).
		Scan(&asked, &together, &state)
	switch {
	case err != nil:
		return missing(err)
	case together && state.Terminal():
		return fault.New(fault.Conflict, "The batch has one callback for all: it is that of the execution that ends last.")
	case asked:
		return fault.New(fault.Conflict, "The execution has not ended yet; its result is posted when it has.")
	}
	return fault.New(fault.Conflict, "The execution has no callback.")
}

const (
	resume = `UPDATE deliveries SET state = 'pending', reason = '', resumed = attempts, next_at = ?, ended_at = NULL
		WHERE execution IN (SELECT execution FROM deliveries WHERE `
	resumeOrder = ` AND ended_at <= ? ORDER BY created_at, execution LIMIT ? + 0)`
)

// Recover makes the dead deliveries that r chooses due at now, the oldest first, as Redeliver does each. It returns how many,
// and those are recovered also when there is an error. It takes none that was given up after now, so that what dies again
// meanwhile does not keep it going. Other writes pass in between.
func (s *Store) Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error) {
	where, chosen := conditions(r.Subject, execution.Dead, r.Destination, r.Since)
	query := resume + where + resumeOrder
	args := append(append([]any{stamp(now)}, chosen...), stamp(now), recoverBatch)
	for {
		var n int64
		err := s.writer.do(ctx, "recover deliveries", durable, func(ctx context.Context, t *tx) (_ events, err error) {
			n, err = t.exec(ctx, query, args...)
			return events{pending: n > 0}, err
		})
		if err != nil {
			return recovered, err
		}
		recovered += int(n)
		if n < recoverBatch {
			return recovered, nil
		}
	}
}
