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

// key is one line of the key file.
type key struct {
	id     string
	secret []byte
}

var keyID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// readKeys reads the key file after making it, if it is not there.
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
		return nil, nil, fmt.Errorf("others than its owner may use it (mode %04o): chmod 600 it", mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, nil, err
	}
	keys, err := parseKeys(text)
	return keys, info, err
}

// parseKeys never says what a line holds.
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

// makeKeys makes the file with one new key, whole or not at all, unless somebody else has just made it: a hard link
// never replaces.
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

const heading = "# boomerang's keys: \"<id> <32 bytes in base64>\", the first is current. Lose this file and sealed fields are lost.\n"

// newKey makes a key with an id that no other has.
func newKey() key {
	k := key{secret: make([]byte, keySize)}
	var id [4]byte
	_, _ = rand.Read(k.secret) // never fails: crypto/rand ends the program rather than return an error
	_, _ = rand.Read(id[:])
	k.id = hex.EncodeToString(id[:])
	return k
}

func (k key) line() string { return k.id + " " + base64.StdEncoding.EncodeToString(k.secret) + "\n" }

// writePrivate makes a file in dir that only its owner may read, and makes it durable.
func writePrivate(dir, text string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.WriteString(f, text)
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}

// Keys lists the ids of the keys in the file, the current one first.
func Keys(path string) ([]string, error) {
	var ids []string
	err := change(path, func(keys []key, _ time.Time) ([]key, error) {
		for _, k := range keys {
			ids = append(ids, k.id)
		}
		return keys, nil
	})
	return ids, err
}

// Rotate puts a new key on top of the file, which must be there, and returns its id. Every Keyring of the file seals with
// it from now on; what older keys have sealed can be opened as before.
func Rotate(path string) (id string, err error) {
	made := newKey()
	err = change(path, func(keys []key, _ time.Time) ([]key, error) { return append([]key{made}, keys...), nil })
	return made.id, err
}

// settling is how long after a change of the file something that an older key sealed may still be on its way to the store.
const settling = time.Minute

// Retire takes a key out of the file for good: what it has sealed can never be opened again. Errors: it is the current
// one, it is not there, or the file was changed less than a minute ago, so that more may come that it has sealed.
func Retire(path, id string) error {
	return change(path, func(keys []key, changed time.Time) ([]key, error) {
		if since := time.Since(changed); since < settling {
			return nil, fmt.Errorf("the keys were changed a moment ago: try again in %s", (settling - since).Round(time.Second))
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

// change replaces the file as a whole, one after another of several who want to.
func change(path string, edit func(keys []key, changed time.Time) ([]key, error)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("key file %s: %w", path, err)
		}
	}()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // it gives the lock free
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil { // reading would make it
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
	if was, ok := owner.Sys().(*syscall.Stat_t); ok { // it stays the server's file also when root changes it
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
