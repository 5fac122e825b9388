package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/quota"
)

const (
	idempotencyWindow   = 24 * time.Hour  // how long an idempotency key is kept
	queueFullRetryAfter = 5 * time.Second // when a caller that found the queue full may try again

	selectExpiredKeys = `SELECT subject, key FROM idempotency WHERE created_at <= ? ORDER BY created_at LIMIT 2`
)

// place says where the queue counts an execution. The column place holds one of the first three for a queued execution.
type place string

const (
	waiting place = "waiting" // can be claimed
	claimed place = "claimed" // promised to a worker
	behind  place = "behind"  // held back, because another execution has the workspace that it changes
	running place = "running"
	nowhere place = "nowhere" // not stored yet, or ended
)

// queued reports whether an execution in this place is queued.
func (p place) queued() bool {
	switch p {
	case waiting, claimed, behind:
		return true
	case running, nowhere:
	}
	return false
}

// column returns the value of the column place: NULL for an execution that is not queued.
func (p place) column() any {
	if p.queued() {
		return p
	}
	return nil
}

// placeOf returns the place in which an execution arrives with a new state.
func placeOf(s execution.State) place {
	switch s {
	case execution.Queued:
		return waiting
	case execution.Running:
		return running
	case execution.Completed, execution.Failed, execution.Timeout, execution.Cancelled:
	}
	return nowhere
}

// Enqueue implements admission.Store. Claimed executions count as queued. A refused limit is in the detail "quota":
// "total", or that of the subject. A read-only workspace that does not exist is refused with INVALID_REQUEST, one
// workspace too many with CONFLICT.
func (s *Store) Enqueue(
	ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) (stored execution.Execution, replayed bool, err error) {
	all, replayed, err := s.EnqueueAll(ctx, []execution.Execution{e}, key, limits)
	if err != nil {
		return execution.Execution{}, false, err
	}
	return all[0], replayed, nil
}

// EnqueueAll implements admission.Store. The key stands for all executions; a replay returns the batch of the first
// one. The executions are refused if there is no room for all of them.
func (s *Store) EnqueueAll(
	ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) (stored []execution.Execution, replayed bool, err error) {
	err = s.writer.do(ctx, "enqueue executions", durable, func(ctx context.Context, t *tx) (events, error) {
		if key != nil {
			first, ok, err := t.findReplayed(ctx, all[0], *key)
			if err != nil {
				return events{}, err
			}
			if ok {
				replayed = true
				stored, err = t.batchOf(ctx, first)
				return events{}, err
			}
		}
		if err := t.checkQueueLimits(ctx, all, limits); err != nil {
			return events{}, err
		}
		for i, e := range all {
			position, err := t.queuePositionOf(ctx, e, limits)
			if err != nil {
				return events{}, err
			}
			seq, err := t.insertExecution(ctx, e, position)
			if err != nil {
				return events{}, err
			}
			if key != nil && i == 0 {
				if err := t.insertKey(ctx, e, seq, *key); err != nil {
					return events{}, err
				}
			}
			if err := t.countNew(ctx, e, position.place); err != nil {
				return events{}, err
			}
			e.State = execution.Queued
			stored = append(stored, e)
		}
		return events{queued: true}, nil
	})
	if err != nil {
		if fault.Of(err).Code == fault.QuotaExceeded {
			s.send(events{grown: true}) // upkeep may make room
		}
		return nil, false, err
	}
	return stored, replayed, nil
}

// Earlier implements admission.Store. It runs on the writer, so it sees every submission that was answered before.
func (s *Store) Earlier(
	ctx context.Context, subject string, key execution.Idempotency, at time.Time,
) (stored execution.Execution, found bool, err error) {
	err = s.writer.do(ctx, "find earlier execution", volatile, func(ctx context.Context, t *tx) (_ events, err error) {
		stored, found, err = t.findReplayed(ctx, execution.Execution{Subject: subject, CreatedAt: at}, key)
		return events{}, err
	})
	return stored, found, err
}

const selectBatch = selectRecord + ` WHERE e.batch = ? ORDER BY e.seq`

// batchOf returns the executions of the batch of e, or e alone if it belongs to no batch.
func (t *tx) batchOf(ctx context.Context, e execution.Execution) ([]execution.Execution, error) {
	if e.Batch.ID == "" {
		return []execution.Execution{e}, nil
	}
	return t.readBatch(ctx, e.Batch.ID)
}

// readBatch returns the executions of a batch in the order in which they were stored.
func (t *tx) readBatch(ctx context.Context, id execution.BatchID) (all []execution.Execution, err error) {
	rows, err := t.rows(ctx, selectBatch, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	for rows.Next() {
		member, err := scanExecution(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, member)
	}
	return all, rows.Err()
}

// findReplayed returns the execution that the subject has stored under the key in the last 24 hours before e.CreatedAt.
func (t *tx) findReplayed(
	ctx context.Context, e execution.Execution, key execution.Idempotency,
) (first execution.Execution, ok bool, err error) {
	var seq, at int64
	var fingerprint string
	err = t.row(ctx, `SELECT fingerprint, execution, created_at FROM idempotency WHERE subject = ? AND key = ?`,
		e.Subject, key.Key).
		Scan(&fingerprint, &seq, &at)
	if errors.Is(err, sql.ErrNoRows) || err == nil && e.CreatedAt.Sub(timeOf(at)) >= idempotencyWindow {
		return execution.Execution{}, false, nil
	}
	if err != nil {
		return execution.Execution{}, false, err
	}
	if fingerprint != key.Fingerprint {
		return execution.Execution{}, false, fault.New(fault.Conflict,
			"This Idempotency-Key was used for another request.")
	}
	first, err = scanExecution(t.row(ctx, selectRecord+` WHERE e.seq = ?`, seq))
	return first, err == nil, err
}

// insertKey stores a key, replaces an expired one of the same name and deletes two other expired keys. So the table
// never holds more keys than the busiest day made, and no write pays for the deletion of many.
func (t *tx) insertKey(ctx context.Context, e execution.Execution, seq int64, key execution.Idempotency) error {
	if _, err := t.exec(ctx, `INSERT OR REPLACE INTO idempotency (subject, key, fingerprint, execution, created_at)
		VALUES (?, ?, ?, ?, ?)`,
		e.Subject, key.Key, key.Fingerprint, seq, unixNano(e.CreatedAt)); err != nil {
		return err
	}
	_, err := t.exec(ctx, `DELETE FROM idempotency WHERE (subject, key) IN (`+selectExpiredKeys+`)`,
		unixNano(e.CreatedAt.Add(-idempotencyWindow)))
	return err
}

// checkQueueLimits returns a fault if the queue has no room for all executions, which are of one subject.
func (t *tx) checkQueueLimits(ctx context.Context, all []execution.Execution, limits execution.QueueLimits) error {
	n, size := len(all), int64(0)
	for _, e := range all {
		size += e.ProgramSize()
	}
	full := fault.New(fault.QueueFull, "The queue is full: %d executions are waiting.", t.queued).
		Detail("quota", "total").After(queueFullRetryAfter)
	if limits.Total > 0 && t.queued+n > limits.Total {
		return full.Detail("limit", limits.Total).Detail("use", t.queued)
	}
	if limits.Size > 0 && t.size+size > limits.Size {
		return full.Detail("limit", limits.Size).Detail("use", t.size)
	}
	if err := t.checkStored(ctx, all[0].Subject, limits); err != nil {
		return err
	}
	if limits.PerSubject <= 0 && limits.SubjectSize <= 0 {
		return nil
	}
	var queued int
	var used int64
	err := t.row(ctx, `SELECT waiting + claimed + behind, size FROM subjects WHERE subject = ?`, all[0].Subject).
		Scan(&queued, &used)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return err
	case limits.PerSubject > 0 && queued+n > limits.PerSubject:
		return quota.Exceeded(quota.Queued, int64(limits.PerSubject), int64(queued), int64(n))
	case limits.SubjectSize > 0 && used+size > limits.SubjectSize:
		return quota.Exceeded(quota.QueuedSize, limits.SubjectSize, used, size)
	}
	return nil
}

func (t *tx) insertExecution(
	ctx context.Context, e execution.Execution, position queuePosition,
) (seq int64, err error) {
	err = t.row(ctx, `INSERT INTO executions (id, name, subject, language, working_dir, timeout, env_names, options,
		created_at, state,
			batch, summary, workspace, writes, place)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?) RETURNING seq`,
		e.ID, e.Name, e.Subject, e.Language, e.WorkingDir, e.Timeout, namesJSON(e.EnvNames), optionsJSON(e.Options),
		unixNano(e.CreatedAt),
		execution.Queued, e.Batch.ID, e.Batch.Summary, position.workspace, e.Options.Workspace.Writes(),
		position.place.column()).Scan(&seq)
	if err != nil {
		return 0, err
	}
	if _, err := t.exec(ctx, `INSERT INTO programs (execution, code, env, input) VALUES (?, ?, ?, ?)`, seq, e.Code,
		e.Env, e.Input); err != nil {
		return 0, err
	}
	if e.Callback.URL == "" {
		return seq, nil
	}
	_, err = t.exec(ctx, `INSERT INTO callbacks (execution, url, header_names, depth, headers, secret)
		VALUES (?, ?, ?, ?, ?, ?)`,
		seq, e.Callback.URL, namesJSON(e.Callback.HeaderNames), e.Callback.Depth, e.Callback.Headers, e.Callback.Secret)
	return seq, err
}

// The two queries of a claim. The first entry of an index answers each, however long the queue is, but for the subjects
// that have as many running as their quota allows. These are fewer than the slots of all nodes.
const (
	nextSubjects = `SELECT subject, claimed + running FROM subjects WHERE waiting > 0
		ORDER BY claimed + running, served`
	claimOldestOfSubject = `UPDATE executions SET place = 'claimed' WHERE seq = (` + oldestOfSubject + `) RETURNING seq`
	oldestOfSubject      = `SELECT seq FROM executions WHERE subject = ? AND state = 'queued' AND place = 'waiting'
		ORDER BY seq LIMIT 1`
)

// Claim implements dispatch.Queue. Each claimed execution is the oldest of its subject: of the subject with the fewest
// claimed and running executions, and among these of the one whose last claim is longest ago. A subject that has left
// the queue in between counts as new and comes first. Subjects at their limit are passed over.
// The claimed executions carry code, env and input.
//
// A claim is committed without fsync, because a restart voids it.
func (s *Store) Claim(
	ctx context.Context, n int, limits execution.ClaimLimits,
) (claims []execution.Execution, err error) {
	err = s.writer.do(ctx, "claim executions", volatile, func(ctx context.Context, t *tx) (events, error) {
		for len(claims) < n {
			e, ok, err := t.claim(ctx, limits)
			if err != nil {
				return events{}, err
			}
			if !ok {
				break
			}
			claims = append(claims, e)
		}
		return events{}, nil
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// claim claims the next execution; ok is false if no execution within the limits waits.
func (t *tx) claim(
	ctx context.Context, limits execution.ClaimLimits,
) (e execution.Execution, ok bool, err error) {
	subject, ok, err := t.nextSubject(ctx, limits)
	if err != nil || !ok {
		return e, false, err
	}
	var seq int64
	if err := t.row(ctx, claimOldestOfSubject, subject).Scan(&seq); err != nil {
		return e, false, fmt.Errorf("find the next of subject %q: %w", subject, err)
	}
	if err := t.countMove(ctx, subject, waiting, claimed); err != nil {
		return e, false, err
	}
	e, err = scanClaimed(t.row(ctx, selectClaimed+` WHERE e.seq = ?`, seq))
	return e, err == nil, err
}

// nextSubject returns the subject whose execution is claimed next; ok is false if no subject is within the limits.
func (t *tx) nextSubject(ctx context.Context, limits execution.ClaimLimits) (subject string, ok bool, err error) {
	rows, err := t.rows(ctx, nextSubjects)
	if err != nil {
		return "", false, err
	}
	defer rows.Close() //nolint:errcheck // Err below has what went wrong
	for rows.Next() {
		var active int
		if err := rows.Scan(&subject, &active); err != nil {
			return "", false, err
		}
		if limits.Newcomers && active > 0 {
			return "", false, nil // the following subjects have at least as many
		}
		most := 0
		if limits.MaxRunning != nil {
			most = limits.MaxRunning(subject)
		}
		if most == 0 || active < most {
			return subject, true, nil
		}
	}
	return "", false, rows.Err()
}

// Release implements dispatch.Queue. The execution keeps its place in the order. It returns ErrStale if the execution
// is not queued and claimed.
func (s *Store) Release(ctx context.Context, id execution.ID) error {
	return s.writer.do(ctx, "release execution", volatile, func(ctx context.Context, t *tx) (events, error) {
		r, err := t.findRow(ctx, id)
		if err != nil {
			return events{}, err
		}
		if r.place != claimed {
			return events{}, ErrStale
		}
		if _, err := t.exec(ctx, `UPDATE executions SET place = 'waiting' WHERE seq = ?`, r.seq); err != nil {
			return events{}, err
		}
		return events{queued: true}, t.countMove(ctx, r.subject, claimed, waiting)
	})
}

// CountStartFailure implements dispatch.Ledger. It is not worth an fsync: a power failure may lose the counts of the
// last seconds.
func (s *Store) CountStartFailure(ctx context.Context, id execution.ID) (times int, err error) {
	err = s.writer.do(ctx, "count start failure", volatile, func(ctx context.Context, t *tx) (events, error) {
		err := t.row(ctx, `UPDATE executions SET start_failures = start_failures + 1
			WHERE id = ? AND state IN ('queued', 'running') RETURNING start_failures`, id).Scan(&times)
		if errors.Is(err, sql.ErrNoRows) {
			err = ErrStale
		}
		return events{}, err
	})
	return times, err
}

// countNew counts a new execution, which waits or is held back, in the transaction that stores it.
func (t *tx) countNew(ctx context.Context, e execution.Execution, to place) error {
	t.queued++
	t.size += e.ProgramSize()
	_, err := t.exec(ctx, `INSERT INTO subjects (subject, waiting, behind, claimed, running, served, size)
		VALUES (?1, ?2 = 'waiting', ?2 = 'behind', 0, 0, 0, ?3)
		ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting, behind = behind + excluded.behind,
			size = size + excluded.size`, e.Subject, to, e.ProgramSize())
	return err
}

// countMove updates the counts of the queue. Every change of the place of a stored execution calls it in the same
// transaction.
func (t *tx) countMove(ctx context.Context, subject string, from, to place) error {
	switch {
	case to.queued() && !from.queued():
		t.queued++
	case from.queued() && !to.queued():
		t.queued--
	}
	served := int64(0)
	if to == claimed {
		t.served++
		served = t.served
	}
	if _, err := t.exec(ctx, `UPDATE subjects SET waiting = waiting + (?2 = 'waiting') - (?1 = 'waiting'),
		behind = behind + (?2 = 'behind') - (?1 = 'behind'), claimed = claimed + (?2 = 'claimed') - (?1 = 'claimed'),
		running = running + (?2 = 'running') - (?1 = 'running'), served = max(served, ?3) WHERE subject = ?4`,
		from, to, served, subject); err != nil {
		return err
	}
	if to != nowhere {
		return nil
	}
	_, err := t.exec(ctx, `DELETE FROM subjects WHERE subject = ? AND waiting + behind + claimed + running = 0`,
		subject)
	return err
}

// deleteProgram deletes the program of an execution that has ended.
func (t *tx) deleteProgram(ctx context.Context, e row) error {
	var size int64
	if err := t.row(ctx, `DELETE FROM programs WHERE execution = ? RETURNING `+programSize, e.seq).
		Scan(&size); err != nil {
		return err
	}
	t.size -= size
	_, err := t.exec(ctx, `UPDATE subjects SET size = size - ? WHERE subject = ?`, size, e.subject)
	return err
}

// maxAhead bounds the number that Ahead counts to.
const maxAhead = 1000

const selectAhead = `SELECT count(*) FROM (SELECT 1 FROM executions q
	WHERE q.subject = ? AND q.place = 'waiting' AND q.state = 'queued' AND q.seq < ? LIMIT ? + 0)`

// Ahead implements follow.Records. It counts at most maxAhead executions and returns 0 for an execution that is not
// queued. The executions of other subjects are not counted, because their order depends on what each subject has
// running.
func (s *Store) Ahead(ctx context.Context, id execution.ID) (n int, err error) {
	var seq int64
	var subject string
	var state execution.State
	err = s.readers.row(ctx, `SELECT seq, subject, state FROM executions WHERE id = ?`, id).Scan(&seq, &subject, &state)
	if err == nil && state == execution.Queued {
		err = s.readers.row(ctx, selectAhead, subject, seq, maxAhead).Scan(&n)
	}
	return n, wrapError("count executions ahead", notFound(err))
}
