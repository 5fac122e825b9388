package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"boomerang/internal/fault"
)

// APIKey is a key that stands for a subject until it is removed from the configuration or revoked. An API key can only
// be exchanged for tokens.
type APIKey struct {
	// Subject is the "sub" of the tokens, and so the owner of the executions made with them; 1–255 bytes.
	Subject string `yaml:"subject"`
	// SHA256 is the hash of the key in hexadecimal. A fast hash is enough, because a key is 130 random bits, which
	// cannot be guessed.
	SHA256 string `yaml:"sha256"`
	// Scopes are the scopes of the tokens.
	Scopes []string `yaml:"scopes,omitempty"`
}

func (k APIKey) validate() error {
	if err := CheckSubject(k.Subject); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != sha256.Size {
		return errors.New("sha256 must be 64 hexadecimal digits, as boomerang keys api prints them")
	}
	for _, scope := range k.Scopes {
		if scope != ScopeAdmin {
			return fmt.Errorf("scopes: the one scope is %s, not %q", ScopeAdmin, scope)
		}
	}
	return nil
}

// keyPrefix identifies a key to people and to scanners for leaked secrets.
const keyPrefix = "boomerang_"

// NewAPIKey makes a key for subject. It returns the key itself, which is stored nowhere, and the hashed form for the
// configuration.
func NewAPIKey(subject string, scopes ...string) (key string, hashed APIKey, err error) {
	key = keyPrefix + strings.ToLower(rand.Text())
	hashed, _ = HashAPIKey(key)
	hashed.Subject, hashed.Scopes = subject, scopes
	return key, hashed, hashed.validate()
}

// HashAPIKey returns the hashed form of a key, without subject and scopes. It returns false for isKey if the text
// cannot be a key.
func HashAPIKey(text string) (hashed APIKey, isKey bool) {
	sum := sha256.Sum256([]byte(text))
	return APIKey{SHA256: hex.EncodeToString(sum[:])}, strings.HasPrefix(text, keyPrefix)
}

// keyIDLength is the length of an API key's ID in hexadecimal digits: 64 bits do not collide by chance.
const keyIDLength = 16

// ID names the key in tokens and in revocations: the first digits of its hash.
func (k APIKey) ID() string { return strings.ToLower(k.SHA256[:min(keyIDLength, len(k.SHA256))]) }

// keyWithID returns the configured key with an ID, or nil.
func (a *Auth) keyWithID(id string) *APIKey {
	for _, k := range *a.apiKeys.Load() {
		if k.ID() == id {
			return &k
		}
	}
	return nil
}

// AuthenticateKey returns the principal of an API key. Errors are faults: AUTHENTICATION_REQUIRED without a key,
// INVALID_TOKEN with a key that is not configured or was revoked.
func (a *Auth) AuthenticateKey(key string) (Principal, error) {
	if key == "" {
		return Principal{}, fault.New(fault.AuthenticationRequired, "An API key is needed: X-API-Key: <key>.")
	}
	sum := sha256.Sum256([]byte(key))
	keys, holder := *a.apiKeys.Load(), -1
	for i, k := range keys { // compare with all keys, so that the time reveals nothing
		known, _ := hex.DecodeString(k.SHA256) // New has checked the form
		if subtle.ConstantTimeCompare(sum[:], known) == 1 {
			holder = i
		}
	}
	if holder < 0 {
		return Principal{}, fault.New(fault.InvalidToken, "The API key is not one of this server's.")
	}
	k := keys[holder]
	p := Principal{
		Subject: k.Subject, Admin: slices.Contains(k.Scopes, ScopeAdmin), Credential: Credential{Key: k.ID()},
	}
	if err := a.check(p); err != nil {
		return Principal{}, err
	}
	return p, nil
}
