// Package store keeps executions, their deliveries and every attempt in a SQLite file, and is the queue: what is
// stored as queued is in line, there is no second queue beside it. It is the only room that speaks SQL.
//
// It refuses to know Docker, HTTP, what the sealed fields hold, and when anything is due: times come from the caller.
//
// One writer commits for all who wait together, so a durable write costs a share of one fsync. Readers never wait for
// it. What becomes claimable, due or ended is told to those who wait inside this process, after it is committed.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	_ "modernc.org/sqlite" // the driver

	"boomerang/internal/execution"
)

// ErrStale says that the row is not in the state that the write expected: it moved on, another epoch owns it, or it
// is not there.
var ErrStale = execution.ErrStale

// The files in the data directory.
const (
	DatabaseFile = "boomerang.db"
	lockFile     = "boomerang.lock"
	frontLock    = "boomerang-front.lock"
)

// Part is the share of the work that a process does with a data directory. Each of the two shares is done by one process.
type Part string

// The parts.
const (
	Whole Part = "whole"
	Front Part = "front" // takes executions in and sends their results
	Back  Part = "back"  // runs them: it alone claims, and its starts are the epochs
)

func (p Part) locks() []string {
	switch p {
	case Front:
		return []string{frontLock}
	case Back:
		return []string{lockFile}
	case Whole:
	}
	return []string{lockFile, frontLock}
}

// Config is what an operator may set.
type Config struct {
	// Readers is how many reads run at the same time, 1–64.
	Readers int `yaml:"readers"`
	// BusyTimeout is how long a write waits while another program (a backup, an sqlite3 shell) holds the database.
	BusyTimeout time.Duration `yaml:"busy_timeout"`
}

// Defaults returns the settings that hold where nothing else is said.
func Defaults() Config { return Config{Readers: 4, BusyTimeout: 2 * time.Second} }

// Validate names the first key that cannot be used.
func (c Config) Validate() error {
	if c.Readers < 1 || c.Readers > 64 {
		return fmt.Errorf("readers: %d is not between 1 and 64", c.Readers)
	}
	if c.BusyTimeout < time.Millisecond || c.BusyTimeout > time.Minute {
		return fmt.Errorf("busy_timeout: %s is not between 1ms and 1m", c.BusyTimeout)
	}
	return nil
}

// Store is one open data directory. All methods may be called at the same time.
//
// Errors: besides those that a method names, a fault SERVICE_UNAVAILABLE when the disk is full or fails, or the database
// is locked or read-only; then nothing was stored. A write after Close, or whose context ends before its turn, was not
// stored either and returns the same fault; from its turn on the context is ignored, so that whoever wrote always learns
// how it ended.
type Store struct {
	*signals
	writer    *writer
	db        *sql.DB     // reads
	readers   *statements // of db
	environed environed
	node      string
	epoch     int64
	close     func() error
}

// Open opens the database in dir for the whole of the work, and makes both if they are not there. It runs the migrations,
// begins a new epoch of the node, voids all claims, and wakes whoever will wait for what is left to do.
//
// One process may have a directory open; the error of the second names the first.
func Open(ctx context.Context, dir string, c Config, log *logrus.Entry) (*Store, error) {
	return OpenPart(ctx, dir, Whole, c, log)
}

// OpenPart opens the database in dir for a part of the work, beside a process that does the other. What the other commits
// wakes those who wait here within watchPause.
func OpenPart(ctx context.Context, dir string, part Part, c Config, log *logrus.Entry) (*Store, error) {
	return openWith(ctx, "sqlite", dir, part, c, log)
}

// openWith opens the database with a driver of database/sql.
func openWith(ctx context.Context, driver, dir string, part Part, c Config, log *logrus.Entry) (s *Store, err error) {
	var opened stack
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec,nolintlint // the operator's own directory; gosec sees it not always
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	for _, name := range part.locks() {
		release, err := lockDir(dir, name)
		if err != nil {
			return nil, err
		}
		opened.push(release)
	}
	s = &Store{signals: newSignals()}
	d := database{driver: driver, path: filepath.Join(dir, DatabaseFile), config: c}
	var t *tx
	if err := alone(dir, func() (err error) {
		t, err = s.setUp(ctx, d, part, log, &opened)
		return err
	}); err != nil {
		return nil, err
	}
	if s.db, err = d.reading(c.Readers); err != nil {
		return nil, err
	}
	opened.push(s.db.Close)
	s.readers = newStatements(s.db)
	opened.push(s.readers.close)
	if err := s.environed.open(ctx, s.readers); err != nil {
		return nil, fmt.Errorf("look for environments: %w", err)
	}
	s.writer = newWriter(ctx, t, s.signals)
	opened.push(s.writer.stop)
	if part != Whole {
		if err := s.watchOther(ctx, d, log, &opened); err != nil {
			return nil, err
		}
	}
	log.WithFields(logrus.Fields{"node": s.node, "epoch": s.epoch, "queued": t.queued}).Info("store opened")
	s.close = sync.OnceValue(opened.close)
	return s, nil
}

// setUp makes the connection that writes, brings the schema up to date and begins the epoch.
func (s *Store) setUp(ctx context.Context, d database, part Part, log *logrus.Entry, opened *stack) (*tx, error) {
	if err := makePrivate(d.path); err != nil {
		return nil, fmt.Errorf("make database: %w", err)
	}
	conn, err := d.writing(ctx, opened)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", d.path, err)
	}
	if err := migrate(ctx, conn, log); err != nil {
		return nil, fmt.Errorf("migrate database %s: %w", d.path, err)
	}
	t := &tx{conn: conn, statements: newStatements(conn), shared: part != Whole}
	opened.push(t.close)
	if s.node, s.epoch, err = t.begin(ctx, part); err != nil {
		return nil, fmt.Errorf("begin epoch: %w", err)
	}
	return t, nil
}

// database is where the connections lead.
type database struct {
	driver, path string
	config       Config
}

// reading makes up to n connections that read.
func (d database) reading(n int) (*sql.DB, error) {
	readers, err := sql.Open(d.driver, dsn(d.path, "ro", d.config.BusyTimeout, "query_only(1)"))
	if err != nil {
		return nil, fmt.Errorf("open database for reading: %w", err)
	}
	readers.SetMaxOpenConns(n)
	readers.SetMaxIdleConns(n)
	return readers, nil
}

// writing makes the connection that writes.
func (d database) writing(ctx context.Context, opened *stack) (*sql.Conn, error) {
	db, err := sql.Open(d.driver, dsn(d.path, "rwc", d.config.BusyTimeout, "journal_mode(wal)", "foreign_keys(1)", "secure_delete(fast)",
		"cache_size(-8000)")) // 8 MB: with SQLite's 2 MB a claim among 100 000 queued takes half as long again
	if err != nil {
		return nil, err
	}
	opened.push(db.Close)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	opened.push(conn.Close)
	var mode string
	if err := conn.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return nil, err
	}
	if mode != "wal" {
		return nil, fmt.Errorf("its file system does not allow a write-ahead log (journal_mode is %s)", mode)
	}
	return conn, nil
}

// Close ends the writer, waits for it, and gives the directory free. Writes that wait for their turn are refused. It is
// idempotent.
func (s *Store) Close() error { return s.close() }

// Node is the name of this installation; it was made with the database and stays.
func (s *Store) Node() string { return s.node }

// Epoch counts the starts of the node, from 1. Running executions belong to an epoch.
func (s *Store) Epoch() int64 { return s.epoch }

// Writable returns nil after it has durably written something.
func (s *Store) Writable(ctx context.Context) error {
	return s.writer.do(ctx, "write heartbeat", durable, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `UPDATE node SET beat_at = ?`, stamp(time.Now()))
		return events{}, err
	})
}

// begin makes or finds the node. Whoever claims raises its epoch, voids all claims, and counts the queue anew.
func (t *tx) begin(ctx context.Context, part Part) (node string, epoch int64, err error) {
	o := &operation{durability: durable, run: func(ctx context.Context, t *tx) (events, error) {
		if _, err := t.exec(ctx, `INSERT INTO node (one, id, epoch, beat_at) VALUES (1, ?, 0, 0) ON CONFLICT DO NOTHING`,
			strings.ToLower(rand.Text()[:16])); err != nil {
			return events{}, err
		}
		if part != Front {
			if err := t.beginEpoch(ctx); err != nil {
				return events{}, err
			}
		}
		if err := t.row(ctx, selectQueued).Scan(&t.queued); err != nil {
			return events{}, err
		}
		return events{}, t.row(ctx, `SELECT id, epoch FROM node`).Scan(&node, &epoch)
	}}
	if err := t.transact(ctx, []*operation{o}); err != nil {
		return "", 0, err
	}
	return node, epoch, o.err
}

func (t *tx) beginEpoch(ctx context.Context) error {
	for _, query := range []string{
		`UPDATE node SET epoch = epoch + 1`,
		`UPDATE executions SET place = 'waiting' WHERE state = 'queued' AND place = 'claimed'`,
		`DELETE FROM subjects`,
		`INSERT INTO subjects (subject, waiting, behind, claimed, running, served)
			SELECT subject, sum(place = 'waiting'), sum(place = 'behind'), 0, 0, 0 FROM executions WHERE state = 'queued' GROUP BY subject`,
		`INSERT INTO subjects (subject, waiting, behind, claimed, running, served)
			SELECT subject, 0, 0, 0, count(*), 0 FROM executions WHERE state = 'running' GROUP BY subject
			ON CONFLICT DO UPDATE SET running = excluded.running`,
	} {
		if err := t.control(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// selectQueued counts the executions in state queued, claimed ones included.
const selectQueued = `SELECT coalesce(sum(waiting + claimed + behind), 0) FROM subjects`

// dsn is a file URI, so that no character of the path is taken for a setting.
func dsn(path, mode string, busy time.Duration, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_dqs": {"0"}}
	for _, p := range append(pragmas, fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "synchronous(full)", "temp_store(memory)") {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// makePrivate makes an empty file that only its owner can read, and makes its name durable. SQLite gives the files that
// it lays beside it the same rights.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's own directory
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(dir.Sync(), dir.Close(), f.Close())
}

// stack closes what was opened in the opposite order.
type stack []func() error

func (s *stack) push(f func() error) { *s = append(*s, f) }

func (s *stack) close() error {
	var errs []error
	for _, f := range slices.Backward(*s) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
