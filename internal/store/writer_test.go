package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// holdWriter keeps the writer busy until release is called. Operations that come meanwhile share the next batch.
func holdWriter(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.writer.do(context.Background(), "hold", volatile, func(context.Context, *tx) (events, error) {
			close(begun)
			<-end
			return events{}, nil
		})
	}()
	<-begun
	return func() {
		close(end)
		if err := <-done; err != nil {
			t.Errorf("hold: %v", err)
		}
	}
}

// commitTogether runs the operations in one batch, in their order, and returns the error of each.
func commitTogether(t *testing.T, s *Store, operations ...func(context.Context, *tx) (events, error)) []error {
	t.Helper()
	var batch []*operation
	for _, run := range operations {
		batch = append(batch, &operation{durability: durable, run: run, answered: make(chan struct{})})
	}
	err := s.writer.do(t.Context(), "step aside", volatile,
		func(context.Context, *tx) (events, error) { return events{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	s.writer.commit(t.Context(), batch) // the loop is idle
	var errs []error
	for _, o := range batch {
		<-o.answered
		errs = append(errs, o.err)
	}
	return errs
}

func insertSample(id execution.ID) func(context.Context, *tx) (events, error) {
	return func(ctx context.Context, t *tx) (events, error) {
		e := sample("ann")
		e.ID = id
		if _, err := t.insertExecution(ctx, e, queuePosition{place: waiting}); err != nil {
			return events{}, err
		}
		return events{queued: true, ended: id}, t.countNew(ctx, e, waiting)
	}
}

func stored(t *testing.T, s *Store, id execution.ID) bool {
	t.Helper()
	_, err := s.Get(t.Context(), id)
	if err != nil && fault.Of(err).Code != fault.ExecutionNotFound {
		t.Fatalf("get: %v", err)
	}
	return err == nil
}

func TestAnOperationThatFailsIsUndoneAlone(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	refused := errors.New("refused")
	errs := commitTogether(t, s, insertSample("one"),
		func(ctx context.Context, t *tx) (events, error) {
			n, err := insertSample("two")(ctx, t)
			return n, errors.Join(err, refused)
		},
		insertSample("three"))
	if errs[0] != nil || !errors.Is(errs[1], refused) || errs[2] != nil {
		t.Fatalf("got %v", errs)
	}
	for id, want := range map[execution.ID]bool{"one": true, "two": false, "three": true} {
		if got := stored(t, s, id); got != want {
			t.Errorf("%s stored: got %v, want %v", id, got, want)
		}
	}
	checkCounts(t, s)
}

func TestACommitThatFailsUndoesAndAnswersAll(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ended, release := s.Ended("one")
	defer release()
	<-s.Queued() // Open has set it
	errs := commitTogether(t, s, insertSample("one"), func(ctx context.Context, t *tx) (events, error) {
		if err := t.execNoArgs(ctx, `PRAGMA defer_foreign_keys = ON`); err != nil {
			return events{}, err
		}
		// violates a foreign key, which the commit checks
		_, err := t.exec(ctx, `INSERT INTO programs (execution) VALUES (12345)`)
		return events{}, err
	}, insertSample("three"))
	for i, err := range errs {
		if err == nil {
			t.Errorf("operation %d was told that it is stored", i)
		}
	}
	for _, id := range []execution.ID{"one", "three"} {
		if stored(t, s, id) {
			t.Errorf("%s is stored", id)
		}
	}
	select {
	case <-s.Queued():
		t.Error("something was signalled that did not happen")
	case <-ended:
		t.Error("an end was told that did not happen")
	default:
	}
	checkCounts(t, s)
	if errs := commitTogether(t, s, insertSample("one")); errs[0] != nil {
		t.Errorf("the next batch: %v", errs[0])
	}
}

func TestAWriteCancelledWhileItWaitsIsNotStored(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	release := holdWriter(t, s)
	gone := errors.New("gone")
	ctx, leave := context.WithCancelCause(t.Context())
	leave(gone)
	e := sample("ann")
	_, _, err := s.Enqueue(ctx, e, nil, execution.QueueLimits{})
	if fault.Of(err).Code != fault.ServiceUnavailable || !errors.Is(err, gone) {
		t.Fatalf("got %v", err)
	}
	release()
	if stored(t, s, e.ID) {
		t.Error("it is stored")
	}
}

func TestAWriteCancelledWhileItRunsIsStored(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx, leave := context.WithCancel(t.Context())
	err := s.writer.do(ctx, "enqueue", durable, func(ctx context.Context, t *tx) (events, error) {
		leave()
		return insertSample("one")(ctx, t)
	})
	if err != nil || !stored(t, s, "one") {
		t.Fatalf("got error %v, stored %v", err, stored(t, s, "one"))
	}
}

func TestWaitingWritesShareACommit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		release := holdWriter(t, s)
		var answered atomic.Int32
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				err := s.writer.do(t.Context(), "beat", durable, func(ctx context.Context, t *tx) (events, error) {
					_, err := t.exec(ctx, `UPDATE node SET beat_at = beat_at + 1`)
					return events{}, errors.Join(err, answeredEarly(answered.Load()))
				})
				if err != nil {
					t.Error(err)
				}
				answered.Add(1)
			})
		}
		synctest.Wait() // all 40 wait for the writer
		release()
		wg.Wait()
	})
}

// answeredEarly returns an error if a write was answered before all had run.
func answeredEarly(answered int32) error {
	if answered == 0 {
		return nil
	}
	return fmt.Errorf("%d were answered by an earlier commit", answered)
}

func TestAClosedStoreRefusesWrites(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"writable": s.Writable(t.Context()),
		"start":    s.Start(t.Context(), "x", execution.Run{}),
	} {
		if fault.Of(err).Code != fault.ServiceUnavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // fails if a goroutine of the bubble is left
		s, err := Open(context.Background(), dir, Defaults(), discardLog())
		if err != nil {
			t.Fatal(err)
		}
		fill(t, s, 50, 5)
		if _, err := s.List(t.Context(), execution.Filter{Limit: 10}); err != nil {
			t.Error(err)
		}
		for i := range 1000 {
			_, _ = s.Ended(execution.ID(strconv.Itoa(i))) // waiting costs no goroutine
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
