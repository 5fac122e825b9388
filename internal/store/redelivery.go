package store

import (
	"context"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// recoverBatch is the number of deliveries in one transaction of Recover, so that no other write waits long.
const recoverBatch = 100

// Deliveries implements httpapi.Deliveries.
func (s *Store) Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error) {
	query, args := selectDeliveries(f)
	return collect(ctx, uncached{s.db}, "list deliveries", scanDelivery, query, args...)
}

// selectDeliveries builds a query that reads one page of each state along an index and merges the pages.
func selectDeliveries(f execution.DeliveryFilter) (query string, args []any) {
	states := f.States
	if len(states) == 0 {
		states = execution.DeliveryStates()
	}
	walks := make([]string, 0, len(states))
	for _, state := range states {
		where, values := deliveryConditions(f.Subject, state, f.Destination, f.Since)
		if !f.Until.IsZero() {
			where, values = where+` AND created_at < ?`, append(values, unixNano(f.Until))
		}
		if f.Before.Execution != "" {
			where += ` AND (created_at, execution) < (?, coalesce((SELECT seq FROM executions WHERE id = ?), 0))`
			values = append(values, unixNano(f.Before.CreatedAt), f.Before.Execution)
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

// deliveryConditions returns the conditions that an index of deliveries supports. An empty argument adds no condition.
func deliveryConditions(
	subject string, state execution.DeliveryState, destination string, since time.Time,
) (where string, args []any) {
	where, args = `state = ?`, []any{state}
	if subject != "" {
		where, args = where+` AND subject = ?`, append(args, subject)
	}
	if destination != "" {
		where, args = where+` AND destination = ?`, append(args, destination)
	}
	if !since.IsZero() {
		where, args = where+` AND created_at >= ?`, append(args, unixNano(since))
	}
	return where, args
}

// redeliverable lists the states from which the table of transitions lets a delivery become pending, and pending
// itself, as values for SQL.
var redeliverable = func() string {
	var quoted []string
	for _, state := range append(execution.Pending.Sources(), execution.Pending) {
		quoted = append(quoted, "'"+string(state)+"'")
	}
	return strings.Join(quoted, ", ")
}()

// Redeliver implements httpapi.Deliveries. A pending delivery keeps its place in the schedule; the schedule of one that
// was delivered or given up begins anew. Attempts stay, and their numbers go on. If an attempt is in flight and fails,
// another attempt follows that begins after this call.
func (s *Store) Redeliver(ctx context.Context, id execution.ID, now time.Time) error {
	return s.writer.do(ctx, "redeliver", durable, func(ctx context.Context, t *tx) (events, error) {
		n, err := t.exec(ctx, `UPDATE deliveries SET resumed = CASE state WHEN 'pending' THEN resumed ELSE attempts END,
				state = 'pending', reason = '', next_at = ?, ended_at = NULL, revision = ?
			WHERE execution = (SELECT seq FROM executions WHERE id = ?)
				AND state IN (`+redeliverable+`)`, unixNano(now), t.nextRevision(), id)
		if err != nil || n == 1 {
			return events{pending: true}, err
		}
		return events{}, t.noDeliveryFault(ctx, id)
	})
}

// noDeliveryFault returns a fault that says why an execution has no delivery.
func (t *tx) noDeliveryFault(ctx context.Context, id execution.ID) error {
	var asked, together bool
	var state execution.State
	err := t.row(ctx, `SELECT EXISTS (SELECT 1 FROM callbacks WHERE execution = seq), summary, state FROM executions
		WHERE id = ?`, id).
		Scan(&asked, &together, &state)
	switch {
	case err != nil:
		return notFound(err)
	case together && state.Terminal():
		return fault.New(fault.Conflict,
			"The batch has one callback for all: it is that of the execution that ends last.")
	case asked:
		return fault.New(fault.Conflict, "The execution has not ended yet; its result is posted when it has.")
	}
	return fault.New(fault.Conflict, "The execution has no callback.")
}

const (
	resumeDead = `UPDATE deliveries
		SET state = 'pending', reason = '', resumed = attempts, next_at = ?, ended_at = NULL, revision = ?
		WHERE execution IN (SELECT execution FROM deliveries WHERE `
	oldestFirst = ` AND ended_at <= ? ORDER BY created_at, execution LIMIT ? + 0)`
)

// Recover implements httpapi.Deliveries. The oldest deliveries come first. Recover skips deliveries that were given up
// after now, so it ends even if deliveries die again meanwhile. Other writes run between its transactions.
func (s *Store) Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error) {
	where, chosen := deliveryConditions(r.Subject, execution.Dead, r.Destination, r.Since)
	query := resumeDead + where + oldestFirst
	for {
		var n int64
		err := s.writer.do(ctx, "recover deliveries", durable, func(ctx context.Context, t *tx) (_ events, err error) {
			args := append(append([]any{unixNano(now), t.nextRevision()}, chosen...), unixNano(now), recoverBatch)
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
