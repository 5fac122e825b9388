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

// APIKey is a key that stands for a subject until it is taken out of the configuration. It gets tokens and is good for
// nothing else.
type APIKey struct {
	// Subject owns what is made with the key's tokens: their "sub", 1–255 bytes.
	Subject string `yaml:"subject"`
	// SHA256 is the hash of the key, in hexadecimal. A fast hash is enough: a key is 130 random bits, and nobody guesses
	// those, however fast.
	SHA256 string `yaml:"sha256"`
	// Scopes are those of its tokens.
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

// keyPrefix tells people and scanners for leaked secrets what it is.
const keyPrefix = "boomerang_"

// NewAPIKey makes a key for subject. The key itself is returned and kept nowhere.
func NewAPIKey(subject string, scopes ...string) (key string, hashed APIKey, err error) {
	key = keyPrefix + strings.ToLower(rand.Text())
	sum := sha256.Sum256([]byte(key))
	hashed = APIKey{Subject: subject, SHA256: hex.EncodeToString(sum[:]), Scopes: scopes}
	return key, hashed, hashed.validate()
}

// AuthenticateKey tells who holds an API key. Errors are faults: AUTHENTICATION_REQUIRED without one, INVALID_TOKEN with
// one that is not configured.
func (a *Auth) AuthenticateKey(key string) (Principal, error) {
	if key == "" {
		return Principal{}, fault.New(fault.AuthenticationRequired, "An API key is needed: X-API-Key: <key>.")
	}
	sum := sha256.Sum256([]byte(key))
	holder := -1
	for i, k := range a.config.APIKeys { // all of them, so that the time tells nothing
		known, _ := hex.DecodeString(k.SHA256) // New has seen that it is one
		if subtle.ConstantTimeCompare(sum[:], known) == 1 {
			holder = i
		}
	}
	if holder < 0 {
		return Principal{}, fault.New(fault.InvalidToken, "The API key is not one of this server's.")
	}
	k := a.config.APIKeys[holder]
	return Principal{Subject: k.Subject, Admin: slices.Contains(k.Scopes, ScopeAdmin)}, nil
}
