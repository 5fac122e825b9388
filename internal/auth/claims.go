package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/golang-jwt/jwt/v5"
)

// claims are a token's claims, with those that the library does not check. Their names are exact: encoding/json would
// take "SUB" for "sub" in a struct, a map does not.
type claims struct {
	jwt.MapClaims
	subject string
	scopes  []string
}

// UnmarshalJSON refuses a claim that stands twice: whoever read the token before us may have taken the other one
// (RFC 7519, section 4).
func (c *claims) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &c.MapClaims); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil { // the brace
		return err
	}
	seen := make(map[json.Token]bool, len(c.MapClaims))
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("claim %q stands twice", name)
		}
		seen[name] = true
		if err := d.Decode(new(json.RawMessage)); err != nil {
			return err
		}
	}
	return nil
}

// Validate is called by the library after the signature and the registered claims were found good.
func (c *claims) Validate() error {
	subject, err := c.GetSubject()
	if err != nil {
		return err
	}
	if err := checkSubject(subject); err != nil {
		return err
	}
	scope, ok := c.MapClaims["scope"].(string)
	if _, there := c.MapClaims["scope"]; there && !ok {
		return errors.New("scope is not a string")
	}
	c.subject, c.scopes = subject, strings.Fields(scope)
	return nil
}

// maxSubject is the longest "sub" in bytes: OpenID Connect Core, section 2.
const maxSubject = 255

func checkSubject(subject string) error {
	switch {
	case subject == "":
		return errors.New("the subject is empty")
	case len(subject) > maxSubject:
		return fmt.Errorf("the subject is longer than %d bytes", maxSubject)
	case strings.ContainsFunc(subject, unicode.IsControl):
		return errors.New("the subject holds a control character")
	}
	return nil
}
