package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// queryWriter runs a pragma on the connection of the writer.
func queryWriter(t *testing.T, s *Store, query string, args ...any) (value int64) {
	t.Helper()
	err := s.writer.do(t.Context(), "pragma", volatile, func(ctx context.Context, t *tx) (events, error) {
		return events{}, t.conn.QueryRowContext(ctx, query, args...).Scan(&value)
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// count returns the number of stored executions.
func count(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM executions`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// enqueueUntilError enqueues in 16 goroutines until each gets an error. It returns the number of acknowledged ones.
func enqueueUntilError(t *testing.T, s *Store) (acknowledged int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for {
				e := sample("ann")
				e.Code = make([]byte, 30_000)
				_, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{})
				if err != nil {
					if fault.Of(err).Code != fault.ServiceUnavailable {
						t.Errorf("got %v, want SERVICE_UNAVAILABLE", err)
					}
					return
				}
				mu.Lock()
				acknowledged++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return acknowledged
}

func TestAFullDatabaseLosesNothingAndWorksAgain(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	pages := queryWriter(t, s, `PRAGMA page_count`)
	queryWriter(t, s, fmt.Sprintf(`PRAGMA max_page_count = %d`, pages+500))
	acknowledged := enqueueUntilError(t, s)
	if n := count(t, s); n != acknowledged || n == 0 {
		t.Errorf("%d are stored, %d were acknowledged", n, acknowledged)
	}
	checkCounts(t, s)
	queryWriter(t, s, `PRAGMA max_page_count = 1000000`)
	if _, _, err := s.Enqueue(t.Context(), sample("ann"), nil, execution.QueueLimits{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	checkCounts(t, s)
	checkIntegrity(t, s)
}

// checkIntegrity checks the integrity of the database file.
func checkIntegrity(t *testing.T, s *Store) {
	t.Helper()
	var verdict string
	if err := s.db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).
		Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check: %q, error %v", verdict, err)
	}
}

func TestALockedDatabaseIsUnavailableAndWorksAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := Defaults()
	c.BusyTimeout = time.Millisecond
	s, err := Open(t.Context(), dir, c, discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test is over
	id := sample("ann").ID
	if errs := commitTogether(t, s, insertSample(id)); errs[0] != nil {
		t.Fatal(errs[0])
	}
	lock := openOutside(t, dir)
	if _, err := lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"writable": s.Writable(t.Context()),
		"start":    s.Start(t.Context(), id, execution.Run{}),
	} {
		if fault.Of(err).Code != fault.ServiceUnavailable {
			t.Errorf("%s: got %v, want SERVICE_UNAVAILABLE", name, err)
		}
	}
	if !stored(t, s, id) {
		t.Error("a reader cannot read while another program writes")
	}
	if _, err := lock.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context(), id, execution.Run{}); err != nil {
		t.Errorf("after the lock: %v", err)
	}
}

func TestAReadOnlyDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, err := s.writer.tx.conn.ExecContext(t.Context(), `PRAGMA query_only = 1`); err != nil { // the writer is idle
		t.Fatal(err)
	}
	if err := s.Writable(t.Context()); fault.Of(err).Code != fault.ServiceUnavailable {
		t.Errorf("got %v, want SERVICE_UNAVAILABLE", err)
	}
}

func TestTheFaultHidesItsCause(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	cause := errors.New("a path, a query")
	f := fault.Of(unavailableFault("enqueue execution", cause))
	if f.Sentence == "" || errors.Is(errors.New(f.Sentence), cause) || !errors.Is(f, cause) {
		t.Errorf("got sentence %q, cause %v", f.Sentence, errors.Unwrap(f))
	}
	if err := s.Start(t.Context(), "unknown", execution.Run{}); !errors.Is(err,
		ErrStale) || fault.Of(err).Code != fault.InternalError {
		t.Errorf("a defect is no outage: got %v", err)
	}
}

func TestOnlyTheOwnerCanAccessTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/made"
	s := open(t, dir)
	fill(t, s, 1, 1)
	for name, want := range map[string]os.FileMode{
		"": os.ModeDir | 0o700, "/boomerang.db": 0o600, "/boomerang.db-wal": 0o600, "/boomerang.db-shm": 0o600,
		"/boomerang.lock": 0o600,
	} {
		info, err := os.Stat(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s%s: got %v, want %v", dir, name, info.Mode(), want)
		}
	}
}
