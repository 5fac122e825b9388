package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
)

// The headers of a callback, in the spelling of the wire, which http.Header.Set would change.
const (
	HeaderSignature         = "X-HopX-Signature"
	HeaderTimestamp         = "X-HopX-Timestamp"
	HeaderAttempt           = "X-HopX-Attempt"
	HeaderDepth             = "X-HopX-Callback-Depth"
	HeaderStandardID        = "webhook-id"
	HeaderStandardTimestamp = "webhook-timestamp"
	HeaderStandardSignature = "webhook-signature"
)

// WebhookID returns the value of webhook-id, which is constant for all attempts of an execution's callback.
func WebhookID(id execution.ID) string { return "msg_" + string(id) }

// Tolerance is the largest difference between a timestamp and the receiver's clock. It is the tolerance of the Standard
// Webhooks libraries.
const Tolerance = 5 * time.Minute

// Errors of a signature.
var (
	ErrUnsigned = errors.New("there is no signature")
	ErrMismatch = errors.New("the signature does not match")
	ErrStale    = errors.New("the timestamp is missing or too far from this clock")
)

const (
	sha256Prefix   = "sha256="
	secretPrefix   = "whsec_"
	standardPrefix = "v1,"
)

// Limits of the key behind "whsec_", in bytes (Standard Webhooks 1.0, "Signature scheme").
const (
	minKey = 24
	maxKey = 64
)

// CheckSecret checks whether a secret may sign callbacks. A secret that begins with "whsec_" must continue with the
// padded standard base64 of 24 to 64 bytes, exactly as an encoder writes it, because only then do all libraries derive
// the same key. Any other secret, including "WHSEC_…", is raw bytes and passes. The error is public and has no full
// stop.
func CheckSecret(secret string) error {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	// The decoder ignores line breaks and surplus bits; encoding the key again reveals them.
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return fmt.Errorf("the part after %s must be padded standard base64 and nothing else", secretPrefix)
	}
	if len(key) < minKey || len(key) > maxKey {
		return fmt.Errorf("the part after %s must be the base64 of %d to %d bytes, not of %d",
			secretPrefix, minKey, maxKey, len(key))
	}
	return nil
}

// Sign returns the value of X-HopX-Signature: "sha256=" and the lower-case hexadecimal HMAC-SHA256 of the body alone.
// The key is the whole secret, including any prefix.
func Sign(secret string, body []byte) string {
	return sha256Prefix + hex.EncodeToString(mac([]byte(secret), body))
}

// Verify checks a value of X-HopX-Signature, with or without its "sha256=", in constant time. It does not check the
// time of the signature. Errors: ErrUnsigned, ErrMismatch.
func Verify(secret, signature string, body []byte) error {
	if signature == "" {
		return ErrUnsigned
	}
	want := strings.TrimPrefix(Sign(secret, body), sha256Prefix)
	if !hmac.Equal([]byte(strings.TrimPrefix(signature, sha256Prefix)), []byte(want)) {
		return ErrMismatch
	}
	return nil
}

// SignStandard returns the value of webhook-signature (Standard Webhooks 1.0): for each secret "v1," and the base64
// HMAC-SHA256 of "id.timestamp.body", separated by spaces. The part of a secret after "whsec_" is base64; any other
// secret is used as raw bytes. A secret that CheckSecret refuses also signs, because executions stored before that rule
// existed still need a signature: the key is the decoded base64, or else the raw bytes.
func SignStandard(id string, at time.Time, body []byte, secrets ...string) string {
	head := []byte(id + "." + strconv.FormatInt(at.Unix(), 10) + ".")
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signatures[i] = standardPrefix + base64.StdEncoding.EncodeToString(mac(standardKey(secret), head, body))
	}
	return strings.Join(signatures, " ")
}

// VerifyStandard checks webhook-id, webhook-timestamp and webhook-signature of a request in constant time. One matching
// signature among several is enough. The timestamp must be within Tolerance of now. Errors: ErrUnsigned, ErrStale,
// ErrMismatch.
func VerifyStandard(secret string, header http.Header, body []byte, now time.Time) error {
	signatures := header.Get(HeaderStandardSignature)
	if signatures == "" {
		return ErrUnsigned
	}
	seconds, err := strconv.ParseInt(header.Get(HeaderStandardTimestamp), 10, 64)
	at := time.Unix(seconds, 0)
	if err != nil || now.Sub(at).Abs() > Tolerance {
		return ErrStale
	}
	want := []byte(SignStandard(header.Get(HeaderStandardID), at, body, secret))
	for signature := range strings.FieldsSeq(signatures) {
		if hmac.Equal([]byte(signature), want) {
			return nil
		}
	}
	return ErrMismatch
}

func standardKey(secret string) []byte {
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		if key, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			return key
		}
	}
	return []byte(secret)
}

// mac returns the HMAC-SHA256 of the concatenated parts of a message.
func mac(key []byte, message ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range message {
		h.Write(part)
	}
	return h.Sum(nil)
}
