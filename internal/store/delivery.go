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
	// From one destination that has something pending to the next, along the index of both: so much as waits for one of
	// them costs the others nothing. Left alone, SQLite would take an index of the lists.
	pendingDestinations = `WITH RECURSIVE pending(destination) AS (
			SELECT min(destination) FROM deliveries INDEXED BY deliveries_pending WHERE state = 'pending'
			UNION ALL
			SELECT (SELECT min(d.destination) FROM deliveries d INDEXED BY deliveries_pending
				WHERE d.state = 'pending' AND d.destination > pending.destination)
			FROM pending WHERE pending.destination IS NOT NULL
		) `
	// SQLite never reorders a cross join.
	selectDue = pendingDestinations + `SELECT e.id, d.destination FROM pending
		CROSS JOIN deliveries d
		CROSS JOIN executions e ON e.seq = d.execution
		WHERE pending.destination NOT IN (SELECT value FROM json_each(?1))
			AND d.execution IN (SELECT execution FROM deliveries
				WHERE state = 'pending' AND destination = pending.destination AND next_at <= ?2
					AND execution NOT IN (SELECT f.seq FROM executions f WHERE f.id IN (SELECT value FROM json_each(?3)))
				ORDER BY next_at LIMIT ?4 + 0)
		ORDER BY d.next_at LIMIT ?5 + 0`
	selectNextDue = pendingDestinations + `SELECT min(
			(SELECT min(next_at) FROM deliveries WHERE state = 'pending' AND destination = pending.destination AND next_at > ?)
		) FROM pending`
)

// deliver makes the delivery pending.
func (t *tx) deliver(ctx context.Context, e row, d execution.Delivery) error {
	if _, err := t.exec(ctx, `INSERT INTO deliveries (execution, subject, destination, state, reason, attempts, next_at, created_at)
		VALUES (?, ?, ?, ?, '', 0, ?, ?)`,
		e.seq, e.subject, execution.Callback{URL: e.url}.Destination(), execution.Pending, stamp(d.NextAt), stamp(d.CreatedAt)); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO bodies (execution, body) VALUES (?, ?)`, e.seq, d.Body)
	return err
}

// Due returns pending deliveries whose NextAt has come at now, the one that is longest due first: up to limit, and of one
// destination up to each. It leaves out the executions in inFlight and the destinations in closed. Reading does not
// reserve: a delivery is due until its attempt is recorded.
func (s *Store) Due(
	ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string,
) ([]execution.Due, error) {
	return collect(ctx, s.readers, "list due deliveries", scanDue, selectDue, array(closed), stamp(now), array(inFlight), each, limit)
}

func scanDue(r scanner) (d execution.Due, err error) {
	err = r.Scan(&d.Execution, &d.Destination)
	return d, err
}

// array is a JSON array for json_each, which takes nothing for no rows.
func array[T ~string](items []T) string {
	if len(items) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(items) // strings always marshal
	return string(text)
}

// NextDue returns when the first pending delivery is due that is not due at now; ok is false when there is none.
func (s *Store) NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error) {
	var next sql.Null[int64]
	err = s.readers.row(ctx, selectNextDue, stamp(now)).Scan(&next)
	return maybe(next), next.Valid, explain("find next delivery", err)
}

// Record adds an attempt and moves the delivery to the state that follows from it: pending with the time of the next
// attempt, delivered, or dead with its reason. ErrStale unless the delivery is pending and a.Number follows the attempts
// recorded so far, so no attempt is counted twice. A failed attempt during which the delivery was asked for again leaves it due.
//
// The secret and the callback's headers stay, sealed, as long as the execution does: a delivery can be sent again
// after it was delivered or given up, and must then carry the same headers and a signature. It has ended for good when
// the execution is removed, and they with it.
func (s *Store) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time,
) error {
	var ended time.Time
	switch state {
	case execution.Pending:
		reason = ""
	case execution.Delivered, execution.Dead:
		nextAt, ended = time.Time{}, a.StartedAt.Add(a.Duration)
	case execution.NoDelivery:
		return fmt.Errorf("record attempt: no attempt leads to %s", state)
	}
	return s.writer.do(ctx, "record attempt", durable, func(ctx context.Context, t *tx) (events, error) {
		recorded, err := t.askedAgain(ctx, a, state)
		if err == nil && !recorded {
			err = t.advance(ctx, a, state, reason, nextAt, ended)
		}
		if err != nil {
			return events{}, err
		}
		_, err = t.exec(ctx, `INSERT INTO attempts (execution, number, started_at, duration, outcome, status_code, detail, answer, retry_after)
			SELECT seq, ?, ?, ?, ?, ?, ?, ?, ? FROM executions WHERE id = ?`,
			a.Number, stamp(a.StartedAt), a.Duration, a.Outcome, a.StatusCode, a.Detail, a.Answer, a.RetryAfter,
			a.Execution)
		return events{}, err
	})
}

// advance moves the delivery on as the attempt says.
func (t *tx) advance(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt, ended time.Time,
) error {
	n, err := t.exec(ctx, `UPDATE deliveries SET state = ?, reason = ?, attempts = ?, next_at = ?, ended_at = ?
		WHERE execution = (SELECT seq FROM executions WHERE id = ?) AND state = 'pending' AND attempts = ?`,
		state, reason, a.Number, stamp(nextAt), stamp(ended), a.Execution, a.Number-1)
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// askedAgain counts a failed attempt of a delivery that somebody asked for again while the attempt was in flight, and leaves
// it due: the attempt began too early to be the answer to that. An attempt begins when its delivery is due and not before,
// so a time of the next one that lies behind its start was written during the flight. If nothing else would follow, the
// schedule begins anew.
func (t *tx) askedAgain(ctx context.Context, a execution.Attempt, state execution.DeliveryState) (bool, error) {
	if state == execution.Delivered {
		return false, nil
	}
	n, err := t.exec(ctx, `UPDATE deliveries SET attempts = ?1, resumed = CASE ?2 WHEN 'dead' THEN ?1 ELSE resumed END
		WHERE execution = (SELECT seq FROM executions WHERE id = ?3) AND state = 'pending' AND attempts = ?1 - 1 AND next_at > ?4`,
		a.Number, state, a.Execution, stamp(a.StartedAt))
	return n == 1, err
}

// Delivery returns the delivery of an execution, with the sealed callback and the body; its state is none while there
// is none. Fault EXECUTION_NOT_FOUND.
func (s *Store) Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error) {
	d, err := scanDelivery(s.readers.row(ctx, selectDelivery+` WHERE e.id = ?`, id))
	return d, explain("get delivery", missing(err))
}

// Attempts returns the attempts of an execution's delivery, the first one first. None is no error.
func (s *Store) Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error) {
	return collect(ctx, s.readers, "list attempts", scanAttempt, `SELECT e.id, a.number, a.started_at, a.duration, a.outcome,
			a.status_code, a.detail, a.answer, a.retry_after
		FROM executions e JOIN attempts a ON a.execution = e.seq WHERE e.id = ? ORDER BY a.number`, id)
}

func scanDelivery(r scanner) (d execution.Delivery, err error) {
	var next, created, ended sql.Null[int64]
	var headerNames sql.Null[string]
	if err := r.Scan(&d.Execution, &d.State, &d.Reason, &d.Attempts, &d.Resumed, &next, &created, &ended, &d.Body,
		&d.Callback.URL, &headerNames, &d.Callback.Depth, (*[]byte)(&d.Callback.Headers), (*[]byte)(&d.Callback.Secret)); err != nil {
		return d, err
	}
	d.NextAt, d.CreatedAt, d.EndedAt = maybe(next), maybe(created), maybe(ended)
	if d.Callback.HeaderNames, err = parseNames(headerNames); err != nil {
		return d, fmt.Errorf("read header names: %w", err)
	}
	return d, nil
}

func scanAttempt(r scanner) (a execution.Attempt, err error) {
	var started int64
	err = r.Scan(&a.Execution, &a.Number, &started, &a.Duration, &a.Outcome, &a.StatusCode, &a.Detail, &a.Answer, &a.RetryAfter)
	a.StartedAt = moment(started)
	return a, err
}

// KeepBreaker keeps a breaker, and forgets one that is closed. It is not worth an fsync: one that is lost opens again.
func (s *Store) KeepBreaker(ctx context.Context, b execution.Breaker) error {
	return s.writer.do(ctx, "keep breaker", volatile, func(ctx context.Context, t *tx) (events, error) {
		if b.Openings == 0 {
			_, err := t.exec(ctx, `DELETE FROM breakers WHERE destination = ?`, b.Destination)
			return events{}, err
		}
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO breakers (destination, openings, open_until) VALUES (?, ?, ?)`,
			b.Destination, b.Openings, stamp(b.OpenUntil))
		return events{}, err
	})
}

// Breakers returns the breakers that have been kept, open or due for a probe.
func (s *Store) Breakers(ctx context.Context) ([]execution.Breaker, error) {
	return collect(ctx, s.readers, "list breakers", scanBreaker, `SELECT destination, openings, open_until FROM breakers`)
}

func scanBreaker(r scanner) (b execution.Breaker, err error) {
	var until int64
	err = r.Scan(&b.Destination, &b.Openings, &until)
	b.OpenUntil = moment(until)
	return b, err
}
