package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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
	dueColumns = `SELECT e.id, d.subject, d.destination, d.next_at`
	// The query steps from one pair of subject and destination with a pending delivery to the next along an index, so
	// that many deliveries of one pair do not delay the others. The order of the tables is fixed: SQLite never reorders
	// a cross join. Without the hint it would choose an index made for the lists.
	selectHeads = `WITH RECURSIVE heads(execution, subject, destination) AS (
			SELECT 0, ?1, ?2
			UNION ALL
			SELECT d.execution, d.subject, d.destination FROM heads
			CROSS JOIN deliveries d ON d.execution = coalesce(
				(SELECT n.execution FROM deliveries n INDEXED BY deliveries_pending
				WHERE n.state = 'pending' AND n.subject = heads.subject AND n.destination > heads.destination
				ORDER BY n.destination, n.next_at LIMIT 1),
				(SELECT n.execution FROM deliveries n INDEXED BY deliveries_pending
				WHERE n.state = 'pending' AND n.subject > heads.subject
				ORDER BY n.subject, n.destination, n.next_at LIMIT 1))
			LIMIT ?3 + 1
		) ` + dueColumns + ` FROM heads
		CROSS JOIN deliveries d ON d.execution = heads.execution
		CROSS JOIN executions e ON e.seq = heads.execution`
	selectWaiting = dueColumns + ` FROM deliveries d INDEXED BY deliveries_pending
		CROSS JOIN executions e ON e.seq = d.execution
		WHERE d.state = 'pending' AND d.subject = ? AND d.destination = ? ORDER BY d.next_at LIMIT ? + 0`
	selectNews = dueColumns + `, d.revision, d.execution FROM deliveries d INDEXED BY deliveries_news
		CROSS JOIN executions e ON e.seq = d.execution
		WHERE d.state = 'pending' AND (d.revision, d.execution) > (?, ?)
		ORDER BY d.revision, d.execution LIMIT ? + 0`
	selectRevision = `SELECT coalesce(max(revision), 0) FROM deliveries INDEXED BY deliveries_news
		WHERE state = 'pending'`
)

// insertDelivery stores a pending delivery.
func (t *tx) insertDelivery(ctx context.Context, e row, d execution.Delivery) error {
	if _, err := t.exec(ctx,
		`INSERT INTO deliveries
			(execution, subject, destination, state, reason, attempts, next_at, created_at, revision)
		VALUES (?, ?, ?, ?, '', 0, ?, ?, ?)`,
		e.seq, e.subject, execution.Callback{URL: e.url}.Destination(), execution.Pending, unixNano(d.NextAt),
		unixNano(d.CreatedAt), t.nextRevision()); err != nil {
		return err
	}
	_, err := t.exec(ctx, `INSERT INTO bodies (execution, body) VALUES (?, ?)`, e.seq, d.Body)
	return err
}

// nextRevision returns the number of the next change that makes deliveries pending. The numbers grow in the order of
// the commits.
func (t *tx) nextRevision() int64 {
	t.revision++
	return t.revision
}

// Heads implements callback.Store.
func (s *Store) Heads(ctx context.Context, subject, destination string, limit int) ([]execution.Due, error) {
	return collect(ctx, s.readers, "list heads of deliveries", scanDue, selectHeads, subject, destination, limit)
}

// Waiting implements callback.Store. Reading does not reserve: a delivery is due until its attempt is recorded.
func (s *Store) Waiting(ctx context.Context, subject, destination string, limit int) ([]execution.Due, error) {
	return collect(ctx, s.readers, "list waiting deliveries", scanDue, selectWaiting, subject, destination, limit)
}

func scanDue(r scanner) (d execution.Due, err error) {
	var next int64
	err = r.Scan(&d.Execution, &d.Subject, &d.Destination, &next)
	d.NextAt = timeOf(next)
	return d, err
}

// News implements callback.Store.
func (s *Store) News(
	ctx context.Context, after execution.NewsCursor, limit int,
) (news []execution.Due, next execution.NewsCursor, err error) {
	next = after
	news, err = collect(ctx, s.readers, "list news of deliveries", func(r scanner) (d execution.Due, err error) {
		var at int64
		err = r.Scan(&d.Execution, &d.Subject, &d.Destination, &at, &next.Revision, &next.Row)
		d.NextAt = timeOf(at)
		return d, err
	}, selectNews, after.Revision, after.Row, limit)
	if err != nil {
		return nil, after, err
	}
	return news, next, nil
}

// LatestNews implements callback.Store.
func (s *Store) LatestNews(ctx context.Context) (latest execution.NewsCursor, err error) {
	latest.Row = math.MaxInt64 // behind all deliveries of the revision
	err = s.readers.row(ctx, selectRevision).Scan(&latest.Revision)
	return latest, wrapError("find latest delivery", err)
}

// jsonArray returns a JSON array for json_each, for which NULL would be no array.
func jsonArray[T ~string](items []T) string {
	if len(items) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(items) // strings always marshal
	return string(text)
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
			_, err := t.exec(ctx, `DELETE FROM breakers WHERE subject = ? AND destination = ?`, b.Subject,
				b.Destination)
			return events{}, err
		}
		_, err := t.exec(ctx, `INSERT INTO breakers (subject, destination, openings, open_until) VALUES (?, ?, ?, ?)
			ON CONFLICT (subject, destination)
			DO UPDATE SET openings = excluded.openings, open_until = excluded.open_until`,
			b.Subject, b.Destination, b.Openings, unixNano(b.OpenUntil))
		return events{}, err
	})
}

const selectBreaker = `SELECT subject, destination, openings, open_until FROM breakers`

// Breakers implements callback.Store.
func (s *Store) Breakers(ctx context.Context) ([]execution.Breaker, error) {
	return collect(ctx, s.readers, "list breakers", scanBreaker, selectBreaker)
}

// Breaker implements httpapi.Deliveries.
func (s *Store) Breaker(ctx context.Context, subject, destination string) (b execution.Breaker, err error) {
	b, err = scanBreaker(s.readers.row(ctx, selectBreaker+` WHERE subject = ? AND destination = ?`, subject,
		destination))
	if errors.Is(err, sql.ErrNoRows) {
		return execution.Breaker{Subject: subject, Destination: destination}, nil
	}
	return b, wrapError("get breaker", err)
}

// ForgetBreakers implements callback.Store. It deletes a bounded number of rows in a transaction, so that no other
// write waits long.
func (s *Store) ForgetBreakers(ctx context.Context, before time.Time) error {
	_, err := s.removeInBatches(ctx, "forget breakers", math.MaxInt,
		func(ctx context.Context, t *tx, n int) (int64, error) {
			return t.exec(ctx, `DELETE FROM breakers WHERE (subject, destination) IN
				(SELECT subject, destination FROM breakers WHERE open_until < ? ORDER BY open_until LIMIT ? + 0)`,
				unixNano(before), n)
		})
	return err
}

func scanBreaker(r scanner) (b execution.Breaker, err error) {
	var until int64
	err = r.Scan(&b.Subject, &b.Destination, &b.Openings, &until)
	b.OpenUntil = timeOf(until)
	return b, err
}
