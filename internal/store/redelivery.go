package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// recoverBatch is the number of deliveries in one transaction of Recover, so that no other write waits long.
const recoverBatch = 100

// Deliveries implements httpapi.Deliveries. A page of one destination walks at most maxWalk deliveries of the subject;
// all other filters bound the walk by an index.
func (s *Store) Deliveries(
	ctx context.Context, f execution.DeliveryFilter,
) (page execution.DeliveryPage, err error) {
	var end *deliveryEnd // the last delivery of the walk if more follow
	if f.Destination != "" {
		query, args := selectDeliveriesEnd(f)
		ends, err := collect(ctx, uncached{s.readers, s.db}, "list deliveries", scanDeliveryEnd, query, args...)
		if err != nil {
			return page, err
		}
		if len(ends) > 0 {
			end = &ends[0]
			page.Next = end.cursor
		}
	}
	query, args := selectDeliveries(f, end)
	page.Deliveries, err = collect(ctx, uncached{s.readers, s.db}, "list deliveries", scanDelivery, query, args...)
	if n := len(page.Deliveries); n > 0 && n == f.Limit { // another page may follow a full one
		page.Next = page.Deliveries[n-1].Cursor()
	}
	return page, err
}

// deliveryEnd is the last delivery of a walk.
type deliveryEnd struct {
	cursor execution.DeliveryCursor
	seq    int64 // of the execution
}

func scanDeliveryEnd(r scanner) (e deliveryEnd, err error) {
	var created int64
	err = r.Scan(&created, &e.seq, &e.cursor.Execution)
	e.cursor.CreatedAt = timeOf(created)
	return e, err
}

// selectDeliveriesEnd selects the last delivery of a walk over those of all destinations, if more deliveries follow.
func selectDeliveriesEnd(f execution.DeliveryFilter) (query string, args []any) {
	f.Destination = ""
	walks, args := deliveryWalks(f, nil, maxWalk)
	return `SELECT p.created_at, p.execution, e.id
		FROM (` + walks + ` ORDER BY created_at DESC, execution DESC LIMIT 1 OFFSET ? + 0) p
		CROSS JOIN executions e ON e.seq = p.execution`, append(args, maxWalk-1)
}

// selectDeliveries builds a query that reads one page of each state along an index and merges the pages.
func selectDeliveries(f execution.DeliveryFilter, end *deliveryEnd) (query string, args []any) {
	walks, args := deliveryWalks(f, end, f.Limit)
	return `SELECT e.id, d.state, d.reason, d.attempts, d.resumed, d.next_at, d.created_at, d.ended_at, NULL,
			c.url, c.header_names, c.depth, NULL, NULL
		FROM (` + walks + ` ORDER BY created_at DESC, execution DESC LIMIT ? + 0) p
		CROSS JOIN deliveries d ON d.execution = p.execution
		CROSS JOIN executions e ON e.seq = p.execution
		CROSS JOIN callbacks c ON c.execution = p.execution
		ORDER BY p.created_at DESC, p.execution DESC`, append(args, f.Limit)
}

// deliveryWalks returns one walk along an index for each state, newest first, of at most limit deliveries.
func deliveryWalks(f execution.DeliveryFilter, end *deliveryEnd, limit int) (walks string, args []any) {
	states := f.States
	if len(states) == 0 {
		states = execution.DeliveryStates()
	}
	along := alongDeliveries(f.Subject)
	all := make([]string, 0, len(states))
	for _, state := range states {
		where, values := `state = ?`, []any{state}
		only := func(condition string, of ...any) { where, values = where+` AND `+condition, append(values, of...) }
		if f.Subject != "" {
			only(`subject = ?`, f.Subject)
		}
		if f.Destination != "" {
			only(`destination = ?`, f.Destination)
		}
		// SQLite bounds a walk by one lower and one upper bound, and compares the others row by row.
		switch {
		case f.Before.Execution != "" && (f.Until.IsZero() || f.Before.CreatedAt.Before(f.Until)):
			only(`(created_at, execution) < (?, coalesce((SELECT seq FROM executions WHERE id = ?), 0))`,
				unixNano(f.Before.CreatedAt), f.Before.Execution)
		case !f.Until.IsZero():
			only(`created_at < ?`, unixNano(f.Until))
		}
		switch {
		case end != nil: // it was found with f.Since
			only(`(created_at, execution) >= (?, ?)`, unixNano(end.cursor.CreatedAt), end.seq)
		case !f.Since.IsZero():
			only(`created_at >= ?`, unixNano(f.Since))
		}
		all = append(all, `SELECT * FROM (SELECT execution, created_at FROM deliveries`+along+` WHERE `+where+
			` ORDER BY created_at DESC, execution DESC LIMIT ? + 0)`)
		args = append(append(args, values...), limit)
	}
	return strings.Join(all, ` UNION ALL `), args
}

// alongDeliveries names the index of a walk. With statistics SQLite may choose another one, and walk over far more
// rows.
func alongDeliveries(subject string) string {
	if subject == "" {
		return ` INDEXED BY deliveries_of_all`
	}
	return ` INDEXED BY deliveries_of_subject`
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
				state = 'pending', reason = '', next_at = ?, ended_at = NULL
			WHERE execution = (SELECT seq FROM executions WHERE id = ?)
				AND state IN (`+redeliverable+`)`, unixNano(now), id)
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

const resumeDead = `UPDATE deliveries
	SET state = 'pending', reason = '', resumed = attempts, next_at = ?, ended_at = NULL
	WHERE execution IN (SELECT value FROM json_each(?)) AND state = 'dead' AND ended_at <= ?`

// selectDead selects the dead deliveries behind last, oldest first, to any destination: a walk for one destination
// could be as long as the list.
func selectDead(subject string, last deadDelivery, now time.Time) (query string, args []any) {
	query = `SELECT execution, created_at, destination
		FROM deliveries` + alongDeliveries(subject) + ` WHERE state = 'dead'`
	if subject != "" {
		query, args = query+` AND subject = ?`, append(args, subject)
	}
	return query + ` AND created_at <= ? AND (created_at, execution) > (?, ?)
		ORDER BY created_at, execution LIMIT ? + 0`, append(args, unixNano(now), last.created, last.seq, maxWalk)
}

// deadDelivery is a row that selectDead selects.
type deadDelivery struct {
	seq, created int64
	destination  string
}

func scanDead(r scanner) (d deadDelivery, err error) {
	return d, r.Scan(&d.seq, &d.created, &d.destination)
}

// Recover implements httpapi.Deliveries. The oldest deliveries come first. Recover skips deliveries that were given up
// after now, so it ends even if deliveries die again meanwhile. A reader looks for the deliveries, and other writes run
// between the transactions, so no write waits long.
func (s *Store) Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error) {
	last := deadDelivery{} // sorts before all deliveries that are created at r.Since
	if !r.Since.IsZero() {
		last.created = r.Since.UnixNano()
	}
	for {
		query, args := selectDead(r.Subject, last, now)
		dead, err := collect(ctx, s.readers, "recover deliveries", scanDead, query, args...)
		if err != nil {
			return recovered, err
		}
		var found []int64
		for _, d := range dead {
			if last = d; r.Destination == "" || d.destination == r.Destination {
				found = append(found, d.seq)
			}
		}
		for batch := range slices.Chunk(found, recoverBatch) {
			n, err := s.resume(ctx, batch, now)
			if recovered += n; err != nil {
				return recovered, err
			}
		}
		if len(dead) < maxWalk {
			return recovered, nil
		}
	}
}

// resume makes deliveries pending that were given up until now, and returns their number.
func (s *Store) resume(ctx context.Context, deliveries []int64, now time.Time) (resumed int, err error) {
	list, _ := json.Marshal(deliveries) // numbers always marshal
	err = s.writer.do(ctx, "recover deliveries", durable, func(ctx context.Context, t *tx) (events, error) {
		n, err := t.exec(ctx, resumeDead, unixNano(now), string(list), unixNano(now))
		resumed = int(n)
		return events{pending: n > 0}, err
	})
	if err != nil {
		return 0, err
	}
	return resumed, nil
}
