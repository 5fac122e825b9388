package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"boomerang/internal/fault"
)

var errClosed = errors.New("store is closed")

// wrapError turns an outage into a fault and adds the act to any other error.
func wrapError(act string, err error) error {
	if err == nil {
		return nil
	}
	if isOutage(err) {
		return unavailableFault(act, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// isOutage reports whether the disk or a lock of another program caused the error, so that a later try may succeed. It
// reads SQLite's result codes, whose low byte is the primary code (sqlite.org/rescode.html).
func isOutage(err error) bool {
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

func unavailableFault(act string, cause error) error {
	return fault.New(fault.ServiceUnavailable,
		"The database cannot be used at the moment; nothing was recorded. Try again later.").
		Because(fmt.Errorf("%s: %w", act, cause))
}
