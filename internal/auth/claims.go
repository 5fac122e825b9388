package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// claims holds a token's claims, and the claims that the library does not check. The names must match exactly:
// encoding/json accepts "SUB" for "sub" in a struct, but not in a map.
type claims struct {
	jwt.MapClaims
	subject string
	scopes  []string
}

// UnmarshalJSON refuses duplicate claims: another reader of the token may have taken the other value (RFC 7519, section
// 4).
func (c *claims) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &c.MapClaims); err != nil {
		return err
	}
	return checkUniqueNames(text)
}

// checkHeader refuses a header with duplicate parameters (RFC 7515, section 4) or with critical extensions.
func checkHeader(token *jwt.Token) error {
	if _, critical := token.Header["crit"]; critical {
		return errors.New("critical extensions are not understood")
	}
	first, _, _ := strings.Cut(token.Raw, ".")
	header, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return err
	}
	return checkUniqueNames(header)
}

// checkUniqueNames refuses a JSON object with duplicate names, or with bytes that are not UTF-8. It accepts null.
func checkUniqueNames(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil { // the brace
		return err
	}
	seen := map[json.Token]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("%q appears twice", name)
		}
		seen[name] = true
		if err := d.Decode(new(json.RawMessage)); err != nil {
			return err
		}
	}
	return nil
}

// errClaimForm says that a claim has the wrong form.
var errClaimForm = errors.New("a claim has the wrong form")

// Validate is called by the library after it has verified the signature.
func (c *claims) Validate() (err error) {
	for _, name := range []string{"exp", "nbf", "iat"} {
		if err := c.checkTime(name); err != nil {
			return err
		}
	}
	if c.subject, err = c.GetSubject(); err != nil {
		return fmt.Errorf("%w: %w", errClaimForm, err)
	}
	if err := CheckSubject(c.subject); err != nil {
		return err
	}
	for _, name := range []string{"scope", "scopes", "scp"} {
		if err := c.addScopes(name); err != nil {
			return err
		}
	}
	return nil
}

// claimKey is the claim with the ID of the API key that a token was made for.
const claimKey = "boomerang_key"

// credential returns the claims that revocations look at. Validate has checked the form of the times.
func (c *claims) credential() Credential {
	var id Credential
	id.Token, _ = c.MapClaims["jti"].(string)
	id.Key, _ = c.MapClaims[claimKey].(string)
	if issued, err := c.GetIssuedAt(); err == nil && issued != nil {
		id.IssuedAt = issued.Time
	}
	return id
}

// endOfTime is the last second of the year 9999. A number far above it overflows in the library.
const endOfTime = 253_402_300_799

// checkTime refuses a time claim that is not a time. It accepts a missing claim.
func (c *claims) checkTime(name string) error {
	v, there := c.MapClaims[name]
	if !there {
		return nil
	}
	if seconds, ok := v.(float64); !ok || seconds <= 0 || seconds > endOfTime {
		return fmt.Errorf("%w: %s is not a time", errClaimForm, name)
	}
	return nil
}

// maxSubject is the longest "sub" in bytes: OpenID Connect Core, section 2.
const maxSubject = 255

// CheckSubject refuses a subject that no token can have as its "sub".
func CheckSubject(subject string) error {
	switch {
	case subject == "":
		return fmt.Errorf("%w: the subject is empty", errClaimForm)
	case len(subject) > maxSubject:
		return fmt.Errorf("%w: the subject is longer than %d bytes", errClaimForm, maxSubject)
	case strings.ContainsFunc(subject, unicode.IsControl):
		return fmt.Errorf("%w: the subject holds a control character", errClaimForm)
	case strings.ContainsRune(subject, utf8.RuneError):
		// Half of a surrogate pair: many different subjects would be equal.
		return fmt.Errorf("%w: the subject holds an invalid character", errClaimForm)
	}
	return nil
}

// addScopes reads a claim that holds words separated by spaces (RFC 8693, section 4.2), or a list of words, which some
// issuers use.
func (c *claims) addScopes(name string) error {
	v, there := c.MapClaims[name]
	if !there {
		return nil
	}
	switch v := v.(type) {
	case string:
		c.scopes = append(c.scopes, strings.Split(v, " ")...)
		return nil
	case []any:
		for _, word := range v {
			word, ok := word.(string)
			if !ok {
				return fmt.Errorf("%w: %s is not a list of strings", errClaimForm, name)
			}
			c.scopes = append(c.scopes, word)
		}
		return nil
	}
	return fmt.Errorf("%w: %s is neither a string nor a list", errClaimForm, name)
}
