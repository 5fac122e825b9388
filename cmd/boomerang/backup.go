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
	dataFlags
	Target string `arg:"" help:"Directory for the copy, without another backup; created if missing." type:"path"`
}

// Help implements kong.HelpProvider.
func (backupCmd) Help() string {
	return `The command copies the data directory as it is at one moment, while the server uses it: the database, and
the keys that decrypt it. So the copy is as confidential as the original.

  boomerang backup --data-dir data /backups/2026-01-28

To restore a backup, stop the server and start it with --data-dir on the backup or on a copy of the backup. The server
runs all executions that were queued at the time of the backup, even those that have run since.`
}

// keyFiles are the names of the files beside the database.
var keyFiles = []string{sealKeyFile, "token.key"} //nolint:gochecknoglobals // a list of names

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
		return fmt.Errorf("%s contains a backup already: name another directory", b.Target)
	}
	if err := store.Backup(ctx, c.DataDir, filepath.Join(b.Target, store.DatabaseFile)); err != nil {
		return err
	}
	for _, name := range keyFiles {
		if err := copyKey(filepath.Join(c.DataDir, name), filepath.Join(b.Target, name)); err != nil {
			return fmt.Errorf("copy key: %w", err)
		}
	}
	fmt.Println(b.Target)
	return nil
}

// copyKey copies a key file that only its owner may read. A missing file is no error: its key is in the configuration.
func copyKey(from, to string) error {
	source, err := os.Open(from) //nolint:gosec // the operator's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator's directory
	if err != nil {
		return errors.Join(err, source.Close())
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Sync(), target.Close(), source.Close())
}
