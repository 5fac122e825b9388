package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	keySize  = 32 // bytes: AES-256
	maxKeyID = 32 // bytes
)

// key is one key of the key file.
type key struct {
	id     string
	secret []byte
}

var keyID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// readKeys reads the key file, and creates it first if it does not exist.
func readKeys(path string) ([]key, os.FileInfo, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if errors.Is(err, os.ErrNotExist) {
		if err := makeKeys(path); err != nil {
			return nil, nil, err
		}
		f, err = os.Open(path) //nolint:gosec // the operator's own file
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, nil, fmt.Errorf("users other than its owner may access it (mode %04o): chmod 600 it", mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, nil, err
	}
	keys, err := parseKeys(text)
	return keys, info, err
}

// parseKeys parses the text of a key file. Its errors never contain the content of a line.
func parseKeys(text []byte) (keys []key, err error) {
	known := make(map[string]bool)
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		id, encoded, _ := bytes.Cut(line, []byte(" "))
		if !keyID.Match(id) {
			return nil, fmt.Errorf("line %d: an id of 1–32 letters, digits, - or _ should come first", number)
		}
		secret, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(encoded)))
		if err != nil || len(secret) != keySize {
			return nil, fmt.Errorf("line %d: after the id and a space should come %d bytes in base64", number, keySize)
		}
		if known[string(id)] {
			return nil, fmt.Errorf("line %d: there is another key %q", number, id)
		}
		known[string(id)] = true
		keys = append(keys, key{string(id), secret})
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

// makeKeys creates the file with one new key, completely or not at all. It never replaces a file that another process
// has just created, because a hard link does not replace.
func makeKeys(path string) (err error) {
	dir := filepath.Dir(path)
	temporary, err := writePrivate(dir, heading+newKey().line())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary)) }()
	if err := os.Link(temporary, path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}

const heading = "# boomerang's keys: \"<id> <32 bytes in base64>\", the first is current. " +
	"Lose this file and sealed fields are lost.\n"

// newKey makes a key with a random id.
func newKey() key {
	k := key{secret: make([]byte, keySize)}
	var id [4]byte
	_, _ = rand.Read(k.secret) // never fails: crypto/rand ends the program rather than return an error
	_, _ = rand.Read(id[:])
	k.id = hex.EncodeToString(id[:])
	return k
}

func (k key) line() string { return k.id + " " + base64.StdEncoding.EncodeToString(k.secret) + "\n" }

// writePrivate writes and syncs a temporary file in dir that only its owner may read.
func writePrivate(dir, text string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.WriteString(f, text)
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}

// Keys lists the ids of the keys in the file, the current key first.
func Keys(path string) ([]string, error) {
	var ids []string
	err := editKeys(path, func(keys []key, _ time.Time) ([]key, error) {
		for _, k := range keys {
			ids = append(ids, k.id)
		}
		return keys, nil
	})
	return ids, err
}

// Rotate adds a new key as the first one of the file, which must exist, and returns its id. From now on every Keyring
// of the file seals with the new key; the older keys still open what they sealed.
func Rotate(path string) (id string, err error) {
	made := newKey()
	err = editKeys(path, func(keys []key, _ time.Time) ([]key, error) { return append([]key{made}, keys...), nil })
	return made.id, err
}

// retireDelay is how long after a change of the file a field sealed with an older key may still be on its way to the
// store.
const retireDelay = time.Minute

// Retire removes a key from the file for good: the fields that it sealed can never be opened again. Retire fails if the
// key is the current one, if there is no such key, or if the file was changed less than retireDelay ago, because then
// more fields sealed with the key may still come.
func Retire(path, id string) error {
	return editKeys(path, func(keys []key, changed time.Time) ([]key, error) {
		if since := time.Since(changed); since < retireDelay {
			return nil, fmt.Errorf("the keys were changed a moment ago: try again in %s",
				(retireDelay - since).Round(time.Second))
		}
		at := slices.IndexFunc(keys, func(k key) bool { return k.id == id })
		switch at {
		case -1:
			return nil, fmt.Errorf("there is no key %q", id)
		case 0:
			return nil, fmt.Errorf("the key %q is the current one: rotate first", id)
		}
		return slices.Delete(keys, at, at+1), nil
	})
}

// editKeys replaces the key file with the keys that edit returns. Concurrent edits run one after another.
func editKeys(path string, edit func(keys []key, changed time.Time) ([]key, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("key file %s: %w", path, err)
		}
	}()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // closing releases the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil { // readKeys would create the file
		return err
	}
	before, owner, err := readKeys(path)
	if err != nil {
		return err
	}
	after, err := edit(slices.Clone(before), owner.ModTime())
	if err != nil || len(after) == len(before) {
		return err
	}
	var text strings.Builder
	text.WriteString(heading)
	for _, k := range after {
		text.WriteString(k.line())
	}
	temporary, err := writePrivate(filepath.Dir(path), text.String())
	if err != nil {
		return err
	}
	if was, ok := owner.Sys().(*syscall.Stat_t); ok { // the server keeps owning the file when root changes it
		err = os.Chown(temporary, int(was.Uid), int(was.Gid))
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
