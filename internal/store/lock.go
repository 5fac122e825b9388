package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockDir locks one part of the work in the directory for this process until release. The kernel releases the lock when
// the process dies. The lock file stays and holds the ID of the process that has or had the lock.
func lockDir(dir, name string) (release func() error, err error) {
	// the operator's own directory
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		pid, _ := io.ReadAll(io.LimitReader(f, 32))
		return nil, fmt.Errorf("data directory %s is in use by process %s", dir, strings.TrimSpace(string(pid)))
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return func() error {
		// Closing alone would leave the lock to a child that was forked just now and has not called exec yet.
		return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
	}, nil
}

// withSetupLock calls f while no other process sets up the directory.
func withSetupLock(dir string, f func() error) (err error) {
	d, err := os.Open(dir) //nolint:gosec // the operator's own directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	return f()
}
