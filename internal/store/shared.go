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

// watchPause is how often the other process is looked after: a commit of its is noticed that late at most.
const watchPause = 20 * time.Millisecond

// watchOther wakes those who wait here for what another process commits.
func (s *Store) watchOther(ctx context.Context, d database, log *logrus.Entry, opened *stack) error {
	db, err := d.reading(1) // data_version compares with what this very connection saw before
	if err != nil {
		return err
	}
	opened.push(db.Close)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	opened.push(func() error {
		stop()
		<-done
		return nil
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(watchPause)
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
					log.WithError(err).Debug("look after the other process")
				}
				continue
			}
			if version != last {
				last = version
				s.send(events{queued: true, cancelling: true, pending: true})
				seen = s.tellMoved(ctx, log, seen)
			}
		}
	}()
	return nil
}

// tellMoved tells those who wait for an execution that has moved on since seen, the states at the last look, and returns
// the states now.
func (s *Store) tellMoved(ctx context.Context, log *logrus.Entry, seen map[execution.ID]execution.State) map[execution.ID]execution.State {
	awaited := s.awaited()
	if len(awaited) == 0 {
		return nil
	}
	now, err := collect(ctx, s.readers, "look at awaited executions", func(r scanner) (e execution.Execution, err error) {
		err = r.Scan(&e.ID, &e.State)
		return e, err
	}, `SELECT id, state FROM executions WHERE id IN (SELECT value FROM json_each(?))`, array(awaited))
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

// Publish keeps what a running execution has printed to a stream from offset at on, for another process to read. It is not
// worth an fsync. ErrStale if the execution does not run.
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

// Published returns what Publish has kept of a stream, in order, from offset from on: 0, or the end of what was returned
// so far. Nothing is no error.
func (s *Store) Published(ctx context.Context, id execution.ID, stream execution.Stream, from int64) ([]byte, error) {
	pieces, err := collect(ctx, s.readers, "read published output", func(r scanner) (piece []byte, err error) {
		err = r.Scan(&piece)
		return piece, err
	}, `SELECT l.piece FROM executions e JOIN live l ON l.execution = e.seq WHERE e.id = ? AND l.stream = ? AND l.at >= ? ORDER BY l.at`,
		id, stream, from)
	var all []byte
	for _, piece := range pieces {
		all = append(all, piece...)
	}
	return all, err
}

// Report keeps what a check of this process said, for the other: nothing when it passed.
func (s *Store) Report(ctx context.Context, name, sentence string) error {
	return s.writer.do(ctx, "keep report", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `INSERT OR REPLACE INTO reports (name, at, sentence) VALUES (?, ?, ?)`, name, stamp(time.Now()), sentence)
		return events{}, err
	})
}

// reportsAge is how old a report may be. The other process makes one every few seconds.
const reportsAge = 30 * time.Second

// Reported returns what the check of that name said in the other process: nil when it passed, else a fault
// SERVICE_UNAVAILABLE with its sentence, also when nothing was heard for half a minute.
func (s *Store) Reported(ctx context.Context, name string) error {
	sentence, err := s.LastReport(ctx, name)
	if err == nil && sentence != "" {
		err = fault.New(fault.ServiceUnavailable, "%s", sentence)
	}
	return err
}

// Heard returns what the other process reported under that name. A fault SERVICE_UNAVAILABLE when nothing was heard for
// half a minute.
func (s *Store) LastReport(ctx context.Context, name string) (sentence string, err error) {
	var at int64
	err = s.readers.row(ctx, `SELECT at, sentence FROM reports WHERE name = ?`, name).Scan(&at, &sentence)
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return "", explain("read report", err)
	case err != nil || time.Since(moment(at)) > reportsAge:
		return "", fault.New(fault.ServiceUnavailable, "The runner has not been heard of for %s. Executions wait until it is back.", reportsAge).
			Because(fmt.Errorf("the last report on %s is of %s", name, moment(at)))
	}
	return sentence, nil
}
