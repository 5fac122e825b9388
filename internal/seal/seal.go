// Package seal closes single fields of an execution so that only the holder of the data directory's key file can read
// them, and gives fingerprints that can be compared without keeping what was compared.
//
// A sealed field is AES-256-GCM with a random nonce. It is bound to the execution and to the name of the field, so it
// cannot be moved to another's place, and it carries the id of its key, so keys can be changed.
//
// The package knows the key file; it refuses to know what the fields hold and where they are stored.
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

// ErrUnreadable says that a sealed field was changed, moved, or closed with a key of the same name that is another.
var ErrUnreadable = errors.New("sealed field cannot be opened")

// fingerprintUse separates the fingerprint's key from the one that seals.
const fingerprintUse = "boomerang fingerprint"

// Keyring seals with its first key and opens with all. It looks at its file each time, so a change of the file holds at
// once. All methods may be called at the same time.
type Keyring struct {
	path string
	keys atomic.Pointer[keys]
}

// keys are what one reading of the key file gave.
type keys struct {
	file        os.FileInfo
	current     string
	ciphers     map[string]cipher.AEAD // by id
	fingerprint []byte
}

// Open reads the key file at path, or makes it on the first start. Of several starters one makes it and all read the
// same. Errors name the file.
//
// The file is text, one key a line: an id of 1–32 letters, digits, "-" or "_", a space, and 32 bytes in base64. Empty
// lines and lines that begin with # are skipped. The first key is current, the last is the oldest. Rotate puts a new one
// on top; Retire takes one away, when nothing is left that it sealed. With the last line the fingerprints change. A file
// that others than its owner can read is refused, as ssh does with its keys.
func Open(path string) (*Keyring, error) {
	k := &Keyring{path: path}
	read, err := k.read()
	if err != nil {
		return nil, err
	}
	k.keys.Store(read)
	return k, nil
}

// fresh returns the keys as they are in the file now. A file that cannot be read leaves them as they were.
func (k *Keyring) fresh() *keys {
	known := k.keys.Load()
	if now, err := os.Stat(k.path); err != nil || os.SameFile(known.file, now) && known.file.ModTime().Equal(now.ModTime()) {
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

// newKeys needs at least one key.
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

// Seal closes one field of an execution with the current key; nothing stays nothing. The same plain text gives another
// result each time. Up to 2³² fields may be sealed with one key (NIST SP 800-38D, random nonces).
//
// The result is one byte for the length of the key's id, the id, 12 bytes of nonce, the cipher text, 16 bytes of tag.
func (k *Keyring) Seal(id execution.ID, field string, plain []byte) execution.Sealed {
	if len(plain) == 0 {
		return nil
	}
	keys := k.fresh()
	head := append([]byte{byte(len(keys.current))}, keys.current...)           //nolint:gosec // at most 32
	return keys.ciphers[keys.current].Seal(head, nil, plain, bound(id, field)) //nolint:gosec // it makes a random nonce itself
}

// HeadSize is how many bytes of a sealed field are enough for KeyOf.
const HeadSize = 1 + maxKeyID

// KeyOf names the key that closed a sealed field, given the field or its head; ok is false when it is none of ours.
func KeyOf(head []byte) (id string, ok bool) {
	if len(head) == 0 || len(head) < 1+int(head[0]) {
		return "", false
	}
	return string(head[1 : 1+int(head[0])]), true
}

// Current tells whether the current key has sealed a field, or there is nothing in it.
func (k *Keyring) Current(s execution.Sealed) bool {
	id, ok := KeyOf(s)
	return len(s) == 0 || ok && id == k.fresh().current
}

// Unseal opens what Seal has closed for the same execution and field; nothing stays nothing. Errors: ErrUnreadable, and
// one that names a key that is not in the file.
func (k *Keyring) Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error) {
	if len(s) == 0 {
		return nil, nil
	}
	name, ok := KeyOf(s)
	if !ok {
		return nil, fmt.Errorf("unseal %s of %s: %w", field, id, ErrUnreadable)
	}
	aead, ok := k.fresh().ciphers[name]
	if !ok {
		return nil, fmt.Errorf("unseal %s of %s: the key file has no key %q", field, id, name)
	}
	plain, err := aead.Open(nil, nil, s[1+len(name):], bound(id, field))
	if err != nil { // says nothing more, on purpose
		return nil, fmt.Errorf("unseal %s of %s: %w", field, id, ErrUnreadable)
	}
	return plain, nil
}

// bound is what a sealed field is bound to. Neither an id nor a field's name holds a zero byte.
func bound(id execution.ID, field string) []byte {
	return []byte(string(id) + "\x00" + field)
}

// Fingerprint is the HMAC-SHA256 of data in hexadecimal, under a key derived from the oldest key, so that it stays the
// same when a new one becomes current.
func (k *Keyring) Fingerprint(data []byte) string {
	h := hmac.New(sha256.New, k.fresh().fingerprint)
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}
