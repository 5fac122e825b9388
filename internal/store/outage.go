package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"boomerang/internal/fault"
)

var errClosed = errors.New("store is closed")

// explain tells an outage from everything else.
func explain(act string, err error) error {
	if err == nil {
		return nil
	}
	if outage(err) {
		return unavailable(act, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// outage tells whether the cause lies in the disk or in somebody's lock and may go away, by SQLite's result codes
// (sqlite.org/rescode.html): the low byte is the primary one.
func outage(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL:
		return true
	}
	return false
}

func unavailable(act string, cause error) error {
	return fault.New(fault.ServiceUnavailable, "The database cannot be used at the moment; nothing was recorded. Try again later.").
		Because(fmt.Errorf("%s: %w", act, cause))
}
