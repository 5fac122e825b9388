package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// watchInterval is the time between two looks for commits of the other process.
const watchInterval = 20 * time.Millisecond

// watchOtherProcess signals in this process what another process commits.
func (s *Store) watchOtherProcess(ctx context.Context, d database, log *logrus.Entry, opened *closers) error {
	db, err := d.reading(1) // data_version counts the commits since the last look of the same connection
	if err != nil {
		return err
	}
	opened.add(db.Close)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	opened.add(func() error {
		stop()
		<-done
		return nil
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		var seen map[execution.ID]execution.State
		for last := int64(-1); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			var version int64
			if err := db.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
				if ctx.Err() == nil {
					log.WithError(err).Debug("look for commits of the other process")
				}
				continue
			}
			if version != last {
				last = version
				s.send(events{queued: true, cancelling: true, pending: true})
				seen = s.signalMoved(ctx, log, seen)
			}
		}
	}()
	return nil
}

// signalMoved signals the executions that goroutines wait for and whose state differs from seen, the states at the last
// look. It returns the current states.
func (s *Store) signalMoved(
	ctx context.Context, log *logrus.Entry, seen map[execution.ID]execution.State,
) map[execution.ID]execution.State {
	awaited := s.awaitedIDs()
	if len(awaited) == 0 {
		return nil
	}
	now, err := collect(ctx, s.readers, "look at awaited executions",
		func(r scanner) (e execution.Execution, err error) {
			err = r.Scan(&e.ID, &e.State)
			return e, err
		}, `SELECT id, state FROM executions WHERE id IN (SELECT value FROM json_each(?))`, jsonArray(awaited))
	if err != nil {
		if ctx.Err() == nil {
			log.WithError(err).Debug("look at awaited executions")
		}
		return seen
	}
	states := make(map[execution.ID]execution.State, len(now))
	for _, e := range now {
		states[e.ID] = e.State
		switch {
		case e.State.Terminal():
			s.send(events{ended: e.ID})
		case e.State != seen[e.ID]:
			s.send(events{moved: e.ID})
		}
	}
	return states
}

// Publish implements dispatch.Publisher. It is not worth an fsync.
func (s *Store) Publish(ctx context.Context, id execution.ID, stream execution.Stream, at int64, piece []byte) error {
	return s.writer.do(ctx, "publish output", volatile, func(ctx context.Context, t *tx) (events, error) {
		n, err := t.exec(ctx, `INSERT OR IGNORE INTO live (execution, stream, at, piece)
			SELECT seq, ?, ?, ? FROM executions WHERE id = ? AND state = 'running'`, stream, at, piece, id)
		if err == nil && n == 0 {
			err = ErrStale
		}
		return events{}, err
	})
}

// Published implements dispatch.Publisher. The offset from is 0 or the end of the bytes returned so far.
func (s *Store) Published(ctx context.Context, id execution.ID, stream execution.Stream, from int64) ([]byte, error) {
	pieces, err := collect(ctx, s.readers, "read published output", func(r scanner) (piece []byte, err error) {
		err = r.Scan(&piece)
		return piece, err
	}, `SELECT l.piece FROM executions e JOIN live l ON l.execution = e.seq WHERE e.id = ? AND l.stream = ?
		AND l.at >= ? ORDER BY l.at`,
		id, stream, from)
	var all []byte
	for _, piece := range pieces {
		all = append(all, piece...)
	}
	return all, err
}

// Report stores the result of a check of this process for the other process. An empty sentence means that the check
// passed.
func (s *Store) Report(ctx context.Context, name, sentence string) error {
	return s.writer.do(ctx, "keep report", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO reports (name, at, sentence) VALUES (?, ?, ?)`, name,
			unixNano(time.Now()), sentence)
		return events{}, err
	})
}

// maxReportAge is the age up to which a report is valid. The other process reports every few seconds.
const maxReportAge = 30 * time.Second

// Reported returns nil if the check of that name passed in the other process. Otherwise it returns a fault
// SERVICE_UNAVAILABLE with the sentence of the report, or with one that says that there was no report for maxReportAge.
func (s *Store) Reported(ctx context.Context, name string) error {
	sentence, err := s.LastReport(ctx, name)
	if err == nil && sentence != "" {
		err = fault.New(fault.ServiceUnavailable, "%s", sentence)
	}
	return err
}

// LastReport returns the sentence that the other process reported under that name. It returns a fault
// SERVICE_UNAVAILABLE if there was no report for maxReportAge.
func (s *Store) LastReport(ctx context.Context, name string) (sentence string, err error) {
	var at int64
	err = s.readers.row(ctx, `SELECT at, sentence FROM reports WHERE name = ?`, name).Scan(&at, &sentence)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return "", wrapError("read report", err)
	case err != nil || time.Since(timeOf(at)) > maxReportAge:
		return "", fault.New(fault.ServiceUnavailable,
			"The runner has not been heard of for %s. Executions wait until it is back.", maxReportAge).
			Because(fmt.Errorf("the last report on %s is of %s", name, timeOf(at)))
	}
	return sentence, nil
}
