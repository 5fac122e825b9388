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
)

const keySize = 32 // bytes: AES-256

// key is one line of the key file.
type key struct {
	id     string
	secret []byte
}

var keyID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// readKeys reads the key file after making it, if it is not there.
func readKeys(path string) ([]key, error) {
	f, err := os.Open(path) //nolint:gosec // the operator's own file
	if errors.Is(err, os.ErrNotExist) {
		if err := makeKeys(path); err != nil {
			return nil, err
		}
		f, err = os.Open(path) //nolint:gosec // the operator's own file
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("others than its owner may use it (mode %04o): chmod 600 it", mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
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
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if err := errors.Join(writeKey(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func writeKey(w io.Writer) error {
	var secret [keySize]byte
	var id [4]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the program rather than return an error
	_, _ = rand.Read(id[:])
	_, err := fmt.Fprintf(w, "# boomerang's keys: \"<id> <32 bytes in base64>\", the first is current. Lose this file and sealed fields are lost.\n%s %s\n",
		hex.EncodeToString(id[:]), base64.StdEncoding.EncodeToString(secret[:]))
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator's own directory
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
