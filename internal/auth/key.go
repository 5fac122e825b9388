package auth

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	keyFile = "token.key"
	minKey  = 32   // bytes; RFC 7518, section 3.2: at least as long as the hash
	maxKey  = 4096 // bytes; a longer file is not a key
)

// openKey reads the key file in dir, or makes it. The key is the text of the file without surrounding white space, so
// that any JWT library can sign with it.
func openKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(dir, path); err != nil {
		return nil, fmt.Errorf("make token key: %w", err)
	}
	return readKey(path)
}

func readKey(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the data directory is the operator's choice
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	defer func() { _ = file.Close() }() // only read: no data can be lost
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("read token key: other users have access to %s (mode %04o): run chmod 600", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("read token key: %s must hold %d to %d bytes", path, minKey, maxKey)
	}
	return []byte(key), nil
}

// makeKey writes 32 random bytes in hexadecimal to path. The file appears there completely or not at all, and a file
// that another process wrote there in the meantime stays.
func makeKey(dir, path string) error {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	file, err := os.CreateTemp(dir, keyFile+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // the link stays
	_, err = file.WriteString(hex.EncodeToString(random) + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the data directory is the operator's choice
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
