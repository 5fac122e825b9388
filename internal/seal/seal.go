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

	"boomerang/internal/execution"
)

// ErrUnreadable says that a sealed field was changed, moved, or closed with a key of the same name that is another.
var ErrUnreadable = errors.New("sealed field cannot be opened")

// fingerprintUse separates the fingerprint's key from the one that seals.
const fingerprintUse = "boomerang fingerprint"

// Keyring seals with its first key and opens with all. All methods may be called at the same time.
type Keyring struct {
	current     string
	keys        map[string]cipher.AEAD // by id
	fingerprint []byte
}

// Open reads the key file at path, or makes it on the first start. Of several starters one makes it and all read the
// same. Errors name the file.
//
// The file is text, one key a line: an id of 1–32 letters, digits, "-" or "_", a space, and 32 bytes in base64. Empty
// lines and lines that begin with # are skipped. The first key is current, the last is the oldest. To change the key,
// put a new line on top and restart; a line may go when nothing is left that it sealed, and with the last line the
// fingerprints change. A file that others than its owner can read is refused, as ssh does with its keys.
func Open(path string) (*Keyring, error) {
	keys, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	k, err := newKeyring(keys)
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	return k, nil
}

// newKeyring needs at least one key.
func newKeyring(keys []key) (*Keyring, error) {
	k := &Keyring{current: keys[0].id, keys: make(map[string]cipher.AEAD, len(keys))}
	for _, key := range keys {
		block, err := aes.NewCipher(key.secret)
		if err != nil {
			return nil, err
		}
		if k.keys[key.id], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, err
		}
	}
	oldest := keys[len(keys)-1]
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
	head := append([]byte{byte(len(k.current))}, k.current...)        //nolint:gosec // at most 32
	return k.keys[k.current].Seal(head, nil, plain, bound(id, field)) //nolint:gosec // it makes a random nonce itself
}

// Unseal opens what Seal has closed for the same execution and field; nothing stays nothing. Errors: ErrUnreadable, and
// one that names a key that is not in the file.
func (k *Keyring) Unseal(id execution.ID, field string, s execution.Sealed) ([]byte, error) {
	if len(s) == 0 {
		return nil, nil
	}
	length := int(s[0])
	if len(s) < 1+length {
		return nil, fmt.Errorf("unseal %s of %s: %w", field, id, ErrUnreadable)
	}
	name, box := string(s[1:1+length]), s[1+length:]
	aead, ok := k.keys[name]
	if !ok {
		return nil, fmt.Errorf("unseal %s of %s: the key file has no key %q", field, id, name)
	}
	plain, err := aead.Open(nil, nil, box, bound(id, field))
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
	h := hmac.New(sha256.New, k.fingerprint)
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}
