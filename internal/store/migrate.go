package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate applies the missing migrations, each in a transaction of its own together with its record. It refuses a
// database of a newer program, whose rows may have another meaning.
func migrate(ctx context.Context, conn *sql.Conn, log *logrus.Entry) error {
	return migrateTo(ctx, conn, log, math.MaxInt)
}

// migrateTo is migrate up to the migration of the given number.
func migrateTo(ctx context.Context, conn *sql.Conn, log *logrus.Entry, last int) error {
	if _, err := conn.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migrations (
		number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT`); err != nil {
		return err
	}
	var done int
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) FROM migrations`).Scan(&done); err != nil {
		return err
	}
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted by number
	if err != nil {
		return err
	}
	if done > len(names) {
		return fmt.Errorf("the schema is at version %d and this program knows up to %d: "+
			"it was written by a newer boomerang", done, len(names))
	}
	for i, name := range names[done:max(done, min(last, len(names)))] {
		number := done + i + 1
		if err := apply(ctx, conn, number, name); err != nil {
			return fmt.Errorf("apply %s: %w", name, err)
		}
		log.WithField("migration", name).Info("migration applied")
	}
	return nil
}

func apply(ctx context.Context, conn *sql.Conn, number int, name string) (err error) {
	prefix, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
	if n, err := strconv.Atoi(prefix); err != nil || n != number {
		return fmt.Errorf("its number should be %d", number)
	}
	script, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	t, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Rollback())
		}
	}()
	if _, err := t.ExecContext(ctx, string(script)); err != nil {
		return err
	}
	if _, err := t.ExecContext(ctx, `INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, ?)`,
		number, name, unixNano(time.Now())); err != nil {
		return err
	}
	return t.Commit()
}
