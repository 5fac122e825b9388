// Package store keeps executions, their deliveries and every attempt in a SQLite file. The stored executions in state
// queued are the queue; there is no second queue beside them. Only this package speaks SQL.
//
// The package knows nothing of Docker and HTTP, of the content of sealed fields, or of schedules: callers pass all
// times.
//
// One writer commits all waiting writes together, so a durable write costs a share of one fsync. Readers never wait for
// the writer. After a commit the store signals inside this process which work became claimable, due or ended.
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
	_ "modernc.org/sqlite" // the driver "sqlite"

	"boomerang/internal/execution"
)

// ErrStale says that a row does not exist or is not in the state that the write expected: another write changed it, or
// another epoch owns it.
var ErrStale = execution.ErrStale

// The files in the data directory.
const (
	DatabaseFile = "boomerang.db"
	lockFile     = "boomerang.lock"
	frontLock    = "boomerang-front.lock"
)

// Part is the share of the work that a process does with a data directory. At most one process does each of the two
// shares.
type Part string

// The parts of the work.
const (
	Whole Part = "whole"
	Front Part = "front" // accepts executions and sends their results
	Back  Part = "back"  // runs executions: only this part claims, and its starts are the epochs
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

// Config are the settings of the store.
type Config struct {
	// Readers is the number of concurrent reads, 1–64. The requests of one subject use at most a quarter of them, and
	// one at least.
	Readers int `yaml:"readers"`
	// BusyTimeout is how long a write waits while another program (a backup, an sqlite3 shell) locks the database,
	// 1ms–1m.
	BusyTimeout time.Duration `yaml:"busy_timeout"`
}

// Defaults returns the settings for an empty configuration.
func Defaults() Config { return Config{Readers: 4, BusyTimeout: 2 * time.Second} }

// Validate returns an error that names the first invalid key.
func (c Config) Validate() error {
	if c.Readers < 1 || c.Readers > 64 {
		return fmt.Errorf("readers: %d is not between 1 and 64", c.Readers)
	}
	if c.BusyTimeout < time.Millisecond || c.BusyTimeout > time.Minute {
		return fmt.Errorf("busy_timeout: %s is not between 1ms and 1m", c.BusyTimeout)
	}
	return nil
}

// Store is one open data directory. All methods are safe for concurrent use.
//
// Every method may return, beside the errors that it documents, the fault SERVICE_UNAVAILABLE: the disk is full or
// fails, or the database is locked or read-only. The write is then not stored. A write after Close, and a write whose
// context ends before the writer begins it, are not stored either and return the same fault. Once the writer has begun
// a write it ignores the context, so the caller always learns whether the write was stored.
type Store struct {
	*signals
	writer          *writer
	db              *sql.DB // for reads
	readers         *readers
	hasEnvironments environmentFlag
	node            string
	epoch           int64
	close           func() error
}

// Open opens the database in dir for all of the work. It creates the directory and the database if they do not exist,
// applies the migrations, begins a new epoch of the node, voids all claims and sets every signal, so that work left by
// an earlier process is found.
//
// One process may have a directory open; the error of a second Open names the process ID of the first.
func Open(ctx context.Context, dir string, c Config, log *logrus.Entry) (*Store, error) {
	return OpenPart(ctx, dir, Whole, c, log)
}

// OpenPart opens the database in dir for one part of the work, beside another process that does the other part. The
// commits of the other process are signalled here within watchInterval.
func OpenPart(ctx context.Context, dir string, part Part, c Config, log *logrus.Entry) (*Store, error) {
	return openWith(ctx, "sqlite", dir, part, c, log)
}

// openWith is OpenPart with the named driver of database/sql.
func openWith(ctx context.Context, driver, dir string, part Part, c Config, log *logrus.Entry) (s *Store, err error) {
	var opened closers
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	// the operator's own directory; not every version of gosec reports it
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec,nolintlint
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	for _, name := range part.locks() {
		release, err := lockDir(dir, name)
		if err != nil {
			return nil, err
		}
		opened.add(release)
	}
	s = &Store{signals: newSignals()}
	d := database{driver: driver, path: filepath.Join(dir, DatabaseFile), config: c}
	var t *tx
	if err := withSetupLock(dir, func() (err error) {
		t, err = s.setUp(ctx, d, part, log, &opened)
		return err
	}); err != nil {
		return nil, err
	}
	if s.db, err = d.reading(c.Readers); err != nil {
		return nil, err
	}
	opened.add(s.db.Close)
	s.readers = newReaders(s.db, c.Readers)
	opened.add(s.readers.close)
	if err := s.hasEnvironments.open(ctx, s.readers); err != nil {
		return nil, fmt.Errorf("look for environments: %w", err)
	}
	s.writer = newWriter(ctx, t, s.signals)
	opened.add(s.writer.stop)
	if part != Whole {
		if err := s.watchOtherProcess(ctx, d, log, &opened); err != nil {
			return nil, err
		}
	}
	log.WithFields(logrus.Fields{"node": s.node, "epoch": s.epoch, "queued": t.queued}).Info("store opened")
	s.close = sync.OnceValue(opened.close)
	return s, nil
}

// setUp opens the connection that writes, applies the migrations and registers the node.
func (s *Store) setUp(ctx context.Context, d database, part Part, log *logrus.Entry, opened *closers) (*tx, error) {
	if err := createPrivateFile(d.path); err != nil {
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
	opened.add(t.close)
	if s.node, s.epoch, err = t.registerNode(ctx, part); err != nil {
		return nil, fmt.Errorf("begin epoch: %w", err)
	}
	return t, nil
}

// database says how to connect to the database file.
type database struct {
	driver, path string
	config       Config
}

// reading opens a pool of up to n connections that only read.
func (d database) reading(n int) (*sql.DB, error) {
	readers, err := sql.Open(d.driver, dsn(d.path, "ro", d.config.BusyTimeout, "query_only(1)"))
	if err != nil {
		return nil, fmt.Errorf("open database for reading: %w", err)
	}
	readers.SetMaxOpenConns(n)
	readers.SetMaxIdleConns(n)
	return readers, nil
}

// writing opens the connection that writes.
func (d database) writing(ctx context.Context, opened *closers) (*sql.Conn, error) {
	db, err := sql.Open(d.driver,
		dsn(d.path, "rwc", d.config.BusyTimeout, "journal_mode(wal)", "foreign_keys(1)", "secure_delete(fast)",
			"cache_size(-8000)")) // 8 MB: with SQLite's 2 MB a claim among 100 000 queued takes half as long again
	if err != nil {
		return nil, err
	}
	opened.add(db.Close)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	opened.add(conn.Close)
	var mode string
	if err := conn.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return nil, err
	}
	if mode != "wal" {
		return nil, fmt.Errorf("its file system does not allow a write-ahead log (journal_mode is %s)", mode)
	}
	return conn, nil
}

// Close stops the writer, waits for it and releases the lock of the directory. Writes that the writer has not begun are
// refused. Close is idempotent.
func (s *Store) Close() error { return s.close() }

// Node returns the name of this installation. It is made with the database and does not change.
func (s *Store) Node() string { return s.node }

// Epoch returns the number of starts of the node, from 1. Each running execution belongs to an epoch.
func (s *Store) Epoch() int64 { return s.epoch }

// Writable returns nil after a durable write of a heartbeat.
func (s *Store) Writable(ctx context.Context) error {
	return s.writer.do(ctx, "write heartbeat", durable, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `UPDATE node SET beat_at = ?`, unixNano(time.Now()))
		return events{}, err
	})
}

// registerNode creates the node in a new database. A part that claims also begins the next epoch.
func (t *tx) registerNode(ctx context.Context, part Part) (node string, epoch int64, err error) {
	o := &operation{durability: durable, run: func(ctx context.Context, t *tx) (events, error) {
		if _, err := t.exec(ctx, `INSERT INTO node (one, id, epoch, beat_at) VALUES (1, ?, 0, 0)
			ON CONFLICT DO NOTHING`,
			strings.ToLower(rand.Text()[:16])); err != nil {
			return events{}, err
		}
		if part != Front {
			if err := t.beginEpoch(ctx); err != nil {
				return events{}, err
			}
		}
		if err := t.row(ctx, selectTotals).Scan(&t.queued, &t.size, &t.stored); err != nil {
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
		`INSERT INTO subjects (subject, waiting, behind, claimed, running, served, size)
			SELECT subject, sum(place = 'waiting'), sum(place = 'behind'), 0, 0, 0, sum(` + programSize + `)
				FROM executions LEFT JOIN programs ON execution = seq WHERE state = 'queued' GROUP BY subject`,
		`INSERT INTO subjects (subject, waiting, behind, claimed, running, served, size)
			SELECT subject, 0, 0, 0, count(*), 0, sum(` + programSize + `)
				FROM executions LEFT JOIN programs ON execution = seq WHERE state = 'running' GROUP BY subject
			ON CONFLICT DO UPDATE SET running = excluded.running, size = size + excluded.size`,
	} {
		if err := t.execNoArgs(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// selectTotals counts the executions in state queued, claimed ones included, and adds up the sizes.
const selectTotals = `SELECT coalesce(sum(waiting + claimed + behind), 0), coalesce(sum(size), 0),
	(SELECT coalesce(sum(size), 0) FROM stored) FROM subjects`

// programSize is Execution.ProgramSize of a row of programs.
const programSize = `coalesce(length(code), 0) + coalesce(length(env), 0) + coalesce(length(input), 0)`

// dsn returns a file URI, in which no character of the path is taken for a setting.
func dsn(path, mode string, busy time.Duration, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_dqs": {"0"}}
	for _, p := range append(pragmas, fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "synchronous(full)",
		"temp_store(memory)") {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// createPrivateFile creates an empty file that only its owner can read, and syncs the directory so that the name
// survives a power failure. It does nothing if the file exists. SQLite gives the files beside the database the same
// permissions.
func createPrivateFile(path string) error {
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

// closers are functions that release resources; close calls them in reverse order.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
