package store

import (
	"context"

	"boomerang/internal/execution"
)

// selectTally reads the counts of the queue from the subjects, and counts deliveries along their indexes.
const selectTally = `SELECT queued, running, (SELECT count(*) FROM deliveries WHERE state = 'pending'),
		(SELECT count(*) FROM deliveries WHERE state = 'dead')
	FROM (SELECT coalesce(sum(waiting + claimed + behind), 0) AS queued, coalesce(sum(running), 0) AS running
		FROM subjects)`

// Tally returns the numbers of executions and deliveries in progress, and of dead deliveries.
func (s *Store) Tally(ctx context.Context) (n execution.Tally, err error) {
	err = s.readers.row(ctx, selectTally).Scan(&n.Queued, &n.Running, &n.Pending, &n.Dead)
	return n, wrapError("count executions and deliveries", err)
}

const selectShare = `SELECT (SELECT coalesce(sum(waiting + claimed + behind), 0) FROM subjects WHERE subject = ?1),
	(SELECT coalesce(sum(running), 0) FROM subjects WHERE subject = ?1),
	(SELECT count(*) FROM (SELECT 1 FROM executions WHERE subject = ?1 LIMIT ?2 + 0))`

// maxKept is the largest number of kept executions of a subject that Share counts.
const maxKept = 10_000

// Share implements hopx.Records.
func (s *Store) Share(ctx context.Context, subject string) (n execution.Share, err error) {
	err = s.readers.row(ctx, selectShare, subject, maxKept).Scan(&n.Queued, &n.Running, &n.Kept)
	return n, wrapError("count executions of a subject", err)
}
