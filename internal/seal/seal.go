// Package seal encrypts single fields of an execution so that only a holder of the data directory's key file can read
// them, and makes fingerprints, by which data can be compared without being kept.
//
// A sealed field is AES-256-GCM with a random nonce. It is bound to its execution and to its name, so it cannot be
// passed off as another field. It carries the id of its key, so keys can be changed.
//
// The package knows the key file. It does not know what the fields contain and where they are stored.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"boomerang/internal/execution"
)

// ErrUnreadable says that a sealed field was changed or moved, or sealed with another key of the same id.
var ErrUnreadable = errors.New("sealed field cannot be opened")

// fingerprintUse derives a key for fingerprints that differs from the key that seals.
const fingerprintUse = "boomerang fingerprint"

// Keyring seals with the first key of its file and opens with all keys. It checks the file at each use, so a change of
// the file takes effect at once. All methods are safe for concurrent use.
type Keyring struct {
	path string
	keys atomic.Pointer[keys]
}

// keys are the keys of one version of the key file.
type keys struct {
	file        os.FileInfo
	current     string
	ciphers     map[string]cipher.AEAD // by key id
	fingerprint []byte
}

// Open reads the key file at path, and creates it on the first start. If several processes start at once, one creates
// the file and all read it. Errors name the file.
//
// The file is text with one key per line: an id of 1–32 letters, digits, "-" or "_", a space, and 32 bytes in base64.
// Empty lines and lines that begin with # are skipped. The first key is the current one, the last is the oldest. Rotate
// adds a new first key; Retire removes a key once no field is sealed with it. Fingerprints depend on the last key and
// change with it. Open refuses a file that other users than its owner can access, as ssh does with its keys.
func Open(path string) (*Keyring, error) {
	k := &Keyring{path: path}
	read, err := k.read()
	if err != nil {
		return nil, err
	}
	k.keys.Store(read)
	return k, nil
}

// reload returns the keys of the current file. If the file cannot be read, it returns the keys known so far.
func (k *Keyring) reload() *keys {
	known := k.keys.Load()
	if now, err := os.Stat(k.path); err != nil || os.SameFile(known.file, now) && known.file.ModTime().
		Equal(now.ModTime()) {
		return known
	}
	read, err := k.read()
	if err != nil {
		return known
	}
	k.keys.Store(read)
	return read
}

func (k *Keyring) read() (*keys, error) {
	lines, file, err := readKeys(k.path)
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", k.path, err)
	}
	read, err := newKeys(lines)
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", k.path, err)
	}
	read.file = file
	return read, nil
}

// newKeys makes the ciphers of at least one key.
func newKeys(lines []key) (*keys, error) {
	k := &keys{current: lines[0].id, ciphers: make(map[string]cipher.AEAD, len(lines))}
	for _, key := range lines {
		block, err := aes.NewCipher(key.secret)
		if err != nil {
			return nil, err
		}
		if k.ciphers[key.id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
	}
	oldest := lines[len(lines)-1]
	var err error
	k.fingerprint, err = hkdf.Key(sha256.New, oldest.secret, nil, fingerprintUse, sha256.Size)
	return k, err
}

// Seal encrypts one field of an execution with the current key; an empty field stays empty. Sealing the same plain text
// twice gives different results. One key may seal up to 2³² fields (NIST SP 800-38D, random nonces).
//
// The result is one byte with the length of the key's id, the id, 12 bytes of nonce, the cipher text, and 16 bytes of
// tag.
func (k *Keyring) Seal(id execution.ID, field string, plain []byte) execution.Sealed {
	if len(plain) == 0 {
		return nil
	}
	keys := k.reload()
	head := append([]byte{byte(len(keys.current))}, keys.current...) //nolint:gosec // at most 32
	// the cipher makes a random nonce itself
	return keys.ciphers[keys.current].Seal(head, nil, plain, additionalData(id, field)) //nolint:gosec
}

// HeadSize is the number of bytes of a sealed field that KeyOf needs.
const HeadSize = 1 + maxKeyID

// KeyOf returns the id of the key that sealed a field, given the field or its head; ok is false if it is not a sealed
// field.
func KeyOf(head []byte) (id string, ok bool) {
	if len(head) == 0 || len(head) < 1+int(head[0]) {
		return "", false
	}
	return string(head[1 : 1+int(head[0])]), true
}

// Current reports whether the current key sealed a field. It is true for an empty field.
func (k *Keyring) Current(s execution.Sealed) bool {
	id, ok := KeyOf(s)
	return len(s) == 0 || ok && id == k.reload().current
}

// Unseal decrypts a field that Seal encrypted for this execution and field name; an empty field stays empty. It returns
// ErrUnreadable, or an error that names a key that is not in the file.
func (k *Keyring) Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error) {
	if len(s) == 0 {
		return nil, nil
	}
	name, ok := KeyOf(s)
	if !ok {
		return nil, fmt.Errorf("unseal %s of %s: %w", field, id, ErrUnreadable)
	}
	aead, ok := k.reload().ciphers[name]
	if !ok {
		return nil, fmt.Errorf("unseal %s of %s: the key file has no key %q", field, id, name)
	}
	plain, err := aead.Open(nil, nil, s[1+len(name):], additionalData(id, field))
	if err != nil { // the cause is left out on purpose
		return nil, fmt.Errorf("unseal %s of %s: %w", field, id, ErrUnreadable)
	}
	return plain, nil
}

// additionalData is the data that a sealed field is bound to. Neither an execution's ID nor a field's name contains a
// zero byte.
func additionalData(id execution.ID, field string) []byte {
	return []byte(string(id) + "\x00" + field)
}

// Fingerprint returns the HMAC-SHA256 of data in hexadecimal. Its key is derived from the oldest key, so fingerprints
// do not change when a new key becomes current.
func (k *Keyring) Fingerprint(data []byte) string {
	h := hmac.New(sha256.New, k.reload().fingerprint)
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}
