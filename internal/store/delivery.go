package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"boomerang/internal/execution"
)

const (
	deliveryColumns = `SELECT e.id, coalesce(d.state, 'none'), coalesce(d.reason, ''), coalesce(d.attempts, 0),
		coalesce(d.resumed, 0), d.next_at, d.created_at, d.ended_at, b.body,
		coalesce(c.url, ''), c.header_names, coalesce(c.depth, 0), c.headers, c.secret`
	selectDelivery = deliveryColumns + ` FROM executions e
		LEFT JOIN callbacks c ON c.execution = e.seq
		LEFT JOIN deliveries d ON d.execution = e.seq
		LEFT JOIN bodies b ON b.execution = e.seq`
	// The query pendingDestinations steps from one destination with a pending delivery to the next along an index, so
	// that many deliveries to one destination do not delay the others. Without the hint SQLite would choose an index
	// made for the lists.
	pendingDestinations = `WITH RECURSIVE pending(destination) AS (
			SELECT min(destination) FROM deliveries INDEXED BY deliveries_pending WHERE state = 'pending'
			UNION ALL
			SELECT (SELECT min(d.destination) FROM deliveries d INDEXED BY deliveries_pending
				WHERE d.state = 'pending' AND d.destination > pending.destination)
			FROM pending WHERE pending.destination IS NOT NULL
		) `
	// The order of the tables is fixed: SQLite never reorders a cross join.
	selectDue = pendingDestinations + `SELECT e.id, d.destination FROM pending
		CROSS JOIN deliveries d
		CROSS JOIN executions e ON e.seq = d.execution
		WHERE pending.destination NOT IN (SELECT value FROM json_each(?1))
			AND d.execution IN (SELECT execution FROM deliveries
				WHERE state = 'pending' AND destination = pending.destination AND next_at <= ?2
					AND execution NOT IN (SELECT f.seq FROM executions f
						WHERE f.id IN (SELECT value FROM json_each(?3)))
				ORDER BY next_at LIMIT ?4 + 0)
		ORDER BY d.next_at LIMIT ?5 + 0`
	selectNextDue = pendingDestinations + `SELECT min(
			(SELECT min(next_at) FROM deliveries WHERE state = 'pending' AND destination = pending.destination
				AND next_at > ?)
		) FROM pending`
)

// insertDelivery stores a pending delivery.
func (t *tx) insertDelivery(ctx context.Context, e row, d execution.Delivery) error {
	if _, err := t.exec(ctx,
		`INSERT INTO deliveries (execution, subject, destination, state, reason, attempts, next_at, created_at)
		VALUES (?, ?, ?, ?, '', 0, ?, ?)`,
		e.seq, e.subject, execution.Callback{URL: e.url}.Destination(), execution.Pending, unixNano(d.NextAt),
		unixNano(d.CreatedAt)); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO bodies (execution, body) VALUES (?, ?)`, e.seq, d.Body)
	return err
}

// Due implements callback.Store. Reading does not reserve: a delivery is due until its attempt is recorded.
func (s *Store) Due(
	ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string,
) ([]execution.Due, error) {
	return collect(ctx, s.readers, "list due deliveries", scanDue, selectDue, jsonArray(closed), unixNano(now),
		jsonArray(inFlight), each, limit)
}

func scanDue(r scanner) (d execution.Due, err error) {
	err = r.Scan(&d.Execution, &d.Destination)
	return d, err
}

// jsonArray returns a JSON array for json_each, for which NULL would be no array.
func jsonArray[T ~string](items []T) string {
	if len(items) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(items) // strings always marshal
	return string(text)
}

// NextDue implements callback.Store.
func (s *Store) NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error) {
	var next sql.Null[int64]
	err = s.readers.row(ctx, selectNextDue, unixNano(now)).Scan(&next)
	return optionalTime(next), next.Valid, wrapError("find next delivery", err)
}

// Record implements callback.Store. It returns ErrStale unless the delivery is pending and a.Number follows the number
// of recorded attempts, so no attempt is counted twice. A delivery that was redelivered during a failed attempt stays
// due.
//
// The sealed secret and headers of the callback are kept as long as the execution, because a delivery can be sent again
// after it was delivered or given up, and needs them then.
func (s *Store) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason,
	nextAt time.Time,
) error {
	var ended time.Time
	switch {
	case state == execution.Pending: // it stays pending
		reason = ""
	case execution.Pending.CanBecome(state):
		nextAt, ended = time.Time{}, a.StartedAt.Add(a.Duration)
	default:
		return fmt.Errorf("record attempt: no attempt leads to %s", state)
	}
	return s.writer.do(ctx, "record attempt", durable, func(ctx context.Context, t *tx) (events, error) {
		recorded, err := t.keepRedeliveryDue(ctx, a, state)
		if err == nil && !recorded {
			err = t.updateDelivery(ctx, a, state, reason, nextAt, ended)
		}
		if err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `INSERT INTO attempts (execution, number, started_at, duration, outcome, status_code,
			detail, answer, retry_after)
			SELECT seq, ?, ?, ?, ?, ?, ?, ?, ? FROM executions WHERE id = ?`,
			a.Number, unixNano(a.StartedAt), a.Duration, a.Outcome, a.StatusCode, a.Detail, a.Answer, a.RetryAfter,
			a.Execution)
		return events{}, err
	})
}

// updateDelivery applies an attempt to the delivery.
func (t *tx) updateDelivery(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt,
	ended time.Time,
) error {
	n, err := t.exec(ctx, `UPDATE deliveries SET state = ?, reason = ?, attempts = ?, next_at = ?, ended_at = ?
		WHERE execution = (SELECT seq FROM executions WHERE id = ?) AND state = 'pending' AND attempts = ?`,
		state, reason, a.Number, unixNano(nextAt), unixNano(ended), a.Execution, a.Number-1)
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// keepRedeliveryDue counts a failed attempt of a delivery that was redelivered during the attempt, and leaves the
// delivery due, because the attempt began before the request. No attempt begins before its delivery is due, so a
// next_at after the start of the attempt was written during the attempt. If the attempt would have ended the delivery,
// its schedule begins anew.
func (t *tx) keepRedeliveryDue(ctx context.Context, a execution.Attempt, state execution.DeliveryState) (bool, error) {
	if state == execution.Delivered {
		return false, nil
	}
	n, err := t.exec(ctx, `UPDATE deliveries SET attempts = ?1, resumed = CASE ?2 WHEN 'dead' THEN ?1 ELSE resumed END
		WHERE execution = (SELECT seq FROM executions WHERE id = ?3) AND state = 'pending' AND attempts = ?1 - 1
			AND next_at > ?4`,
		a.Number, state, a.Execution, unixNano(a.StartedAt))
	return n == 1, err
}

// Delivery implements callback.Store. Its state is none if the execution has not ended or has no callback. It returns
// the fault EXECUTION_NOT_FOUND.
func (s *Store) Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error) {
	d, err := scanDelivery(s.readers.row(ctx, selectDelivery+` WHERE e.id = ?`, id))
	return d, wrapError("get delivery", notFound(err))
}

// Attempts implements httpapi.Deliveries.
func (s *Store) Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error) {
	return collect(ctx, s.readers, "list attempts", scanAttempt,
		`SELECT e.id, a.number, a.started_at, a.duration, a.outcome,
			a.status_code, a.detail, a.answer, a.retry_after
		FROM executions e JOIN attempts a ON a.execution = e.seq WHERE e.id = ? ORDER BY a.number`, id)
}

func scanDelivery(r scanner) (d execution.Delivery, err error) {
	var next, created, ended sql.Null[int64]
	var headerNames sql.Null[string]
	if err := r.Scan(&d.Execution, &d.State, &d.Reason, &d.Attempts, &d.Resumed, &next, &created, &ended, &d.Body,
		&d.Callback.URL, &headerNames, &d.Callback.Depth, (*[]byte)(&d.Callback.Headers),
		(*[]byte)(&d.Callback.Secret)); err != nil {
		return d, err
	}
	d.NextAt, d.CreatedAt, d.EndedAt = optionalTime(next), optionalTime(created), optionalTime(ended)
	if d.Callback.HeaderNames, err = parseNames(headerNames); err != nil {
		return d, fmt.Errorf("read header names: %w", err)
	}
	return d, nil
}

func scanAttempt(r scanner) (a execution.Attempt, err error) {
	var started int64
	err = r.Scan(&a.Execution, &a.Number, &started, &a.Duration, &a.Outcome, &a.StatusCode, &a.Detail, &a.Answer,
		&a.RetryAfter)
	a.StartedAt = timeOf(started)
	return a, err
}

// KeepBreaker implements callback.Store. It is not worth an fsync: a breaker that is lost opens again.
func (s *Store) KeepBreaker(ctx context.Context, b execution.Breaker) error {
	return s.writer.do(ctx, "keep breaker", volatile, func(ctx context.Context, t *tx) (events, error) {
		if b.Openings == 0 {
			_, err := t.exec(ctx, `DELETE FROM breakers WHERE destination = ?`, b.Destination)
			return events{}, err
		}
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO breakers (destination, openings, open_until) VALUES (?, ?, ?)`,
			b.Destination, b.Openings, unixNano(b.OpenUntil))
		return events{}, err
	})
}

// Breakers implements callback.Store.
func (s *Store) Breakers(ctx context.Context) ([]execution.Breaker, error) {
	return collect(ctx, s.readers, "list breakers", scanBreaker,
		`SELECT destination, openings, open_until FROM breakers`)
}

func scanBreaker(r scanner) (b execution.Breaker, err error) {
	var until int64
	err = r.Scan(&b.Destination, &b.Openings, &until)
	b.OpenUntil = timeOf(until)
	return b, err
}
