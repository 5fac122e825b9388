package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"boomerang/internal/store"
)

type backupCmd struct {
	settings
	Target string `arg:"" help:"Directory to put the copy into; made if it is missing. It must not hold a backup yet." type:"path"`
}

// Help says more than one line.
func (backupCmd) Help() string {
	return `Copies the data directory as it is at one moment, while the server works with it: the database and the keys, without
which it cannot be read. So the copy is as secret as the original.

  boomerang backup --data-dir data /backups/2026-01-28

To restore it, stop the server, and start it with --data-dir on (a copy of) the backup. Executions that were queued when the backup was
made are run, also those that have run since.`
}

// keys are the files beside the database.
var keys = []string{"seal.key", "token.key"} //nolint:gochecknoglobals // a list of names

// Run makes the copy.
func (b *backupCmd) Run(ctx context.Context) error {
	c, err := b.load()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.Target, 0o700); err != nil {
		return fmt.Errorf("make target: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(b.Target, store.DatabaseFile)); err == nil {
		return fmt.Errorf("%s holds a backup already: name another directory", b.Target)
	}
	if err := store.Backup(ctx, c.DataDir, filepath.Join(b.Target, store.DatabaseFile)); err != nil {
		return err
	}
	for _, name := range keys {
		if err := copyPrivate(filepath.Join(c.DataDir, name), filepath.Join(b.Target, name)); err != nil {
			return fmt.Errorf("copy key: %w", err)
		}
	}
	fmt.Println(b.Target)
	return nil
}

// copyPrivate copies a key that only its owner may read; one that is not there was given by the configuration.
func copyPrivate(from, to string) error {
	source, err := os.Open(from) //nolint:gosec // the operator's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's own directory
	if err != nil {
		return errors.Join(err, source.Close())
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Sync(), target.Close(), source.Close())
}
