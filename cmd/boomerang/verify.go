package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/callback"
)

type verifyCmd struct {
	Secret     []string `help:"What the callback is signed with; of several, one is enough." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`
	SecretFile string   `help:"A file with a secret on each line." type:"path" placeholder:"FILE"`
	Signature  *string  `help:"The value of X-HopX-Signature or of webhook-signature." placeholder:"V"`
	ID         string   `help:"The value of webhook-id; webhook-signature covers it." placeholder:"ID"`
	Timestamp  *int64   `help:"The value of webhook-timestamp or X-HopX-Timestamp; at most 5 minutes off are valid." placeholder:"S"`
}

// Help says more than one line.
func (verifyCmd) Help() string {
	return `The body of the callback comes on standard input, byte for byte as it arrived. The exit code is 0 when the signature is
valid, 1 when it is not, and 2 when that cannot be told. With --signature of webhook-signature, --id and --timestamp are needed.
A secret on the command line can be read by everybody on the machine: BOOMERANG_SECRET and --secret-file cannot.

  boomerang verify --secret-file s --signature sha256=5bdc… <body
  boomerang verify --secret-file s --signature 'v1,E2ws…' --id msg_exec_… --timestamp 1706400000 <body`
}

const exitInvalid = 1

// Run reads a body and says in one sentence whether its signature is valid.
func (v *verifyCmd) Run() error {
	check, err := v.read()
	if err != nil {
		fmt.Fprintf(os.Stderr, "boomerang: error: %v\n", err)
		return exitError(exitUsage)
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintf(os.Stderr, "boomerang: error: read the body: %v\n", err)
		return exitError(exitUsage)
	}
	valid, sentence := check.verdict(body, time.Now())
	_, _ = fmt.Fprintln(os.Stdout, sentence) // the exit code says it as well
	if !valid {
		return exitError(exitInvalid)
	}
	return nil
}

// signatureCheck is what there is to verify a body with.
type signatureCheck struct {
	secrets   []string // at least one, none empty
	signature string   // of X-HopX-Signature or webhook-signature; empty: none came
	standard  bool     // which of the two
	id        string   // not empty if standard
	timestamp *int64   // Unix seconds; there if standard
}

// read makes a check of the flags. The error says what is missing.
func (v *verifyCmd) read() (c signatureCheck, err error) {
	c = signatureCheck{secrets: given(v.Secret), id: v.ID, timestamp: v.Timestamp}
	if v.SecretFile != "" {
		text, err := os.ReadFile(v.SecretFile)
		if err != nil {
			return c, err
		}
		c.secrets = append(c.secrets, given(strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"))...)
	}
	if len(c.secrets) == 0 {
		return c, errors.New("a secret is needed: --secret, --secret-file or BOOMERANG_SECRET")
	}
	if err := checkSecrets(c.secrets); err != nil {
		return c, err
	}
	if v.Signature == nil {
		return c, errors.New("--signature is needed")
	}
	c.signature = *v.Signature
	c.standard = strings.Contains(c.signature, ",")
	if c.standard && (v.ID == "" || v.Timestamp == nil) {
		return c, fmt.Errorf("%s covers the id and the timestamp: --id and --timestamp are needed", callback.HeaderStandardSignature)
	}
	return c, nil
}

// verdict says what was proven. A signature is compared before its age is, so that the one of a recorded callback can be told
// from a wrong one.
func (c signatureCheck) verdict(body []byte, now time.Time) (valid bool, sentence string) {
	place, err := c.match(body)
	if errors.Is(err, callback.ErrUnsigned) {
		return false, "invalid, unsigned: " + err.Error()
	}
	if err != nil {
		return false, fmt.Sprintf("invalid, mismatch: this %s does not sign this body with %s", c.name(), c.which(-1))
	}
	sentence = fmt.Sprintf("valid: %s signs this body with %s", c.name(), c.which(place))
	if c.timestamp == nil {
		return true, sentence + ", but not when it was sent"
	}
	off := now.Sub(time.Unix(*c.timestamp, 0)).Round(time.Second).Abs()
	switch {
	case off > callback.Tolerance:
		return false, fmt.Sprintf("invalid, stale: %s matches, but the timestamp is %s off and at most %s are allowed", c.name(), off, callback.Tolerance)
	case c.standard:
		return true, sentence + fmt.Sprintf(" and the timestamp, which is %s off", off)
	}
	return true, sentence + fmt.Sprintf("; the timestamp is %s off, but this signature does not cover it", off)
}

// which names the secret at place; -1 stands for all.
func (c signatureCheck) which(place int) string {
	switch {
	case len(c.secrets) == 1:
		return "the secret"
	case place < 0:
		return fmt.Sprintf("any of the %d secrets", len(c.secrets))
	}
	return fmt.Sprintf("secret %d of %d", place+1, len(c.secrets))
}

// match finds the secret that signed the body.
func (c signatureCheck) match(body []byte) (place int, err error) {
	for place, secret := range c.secrets {
		if err = c.by(secret, body); err == nil {
			return place, nil
		}
	}
	return 0, err
}

func (c signatureCheck) by(secret string, body []byte) error {
	if !c.standard {
		return callback.Verify(secret, c.signature, body)
	}
	header := http.Header{}
	header.Set(callback.HeaderStandardID, c.id)
	header.Set(callback.HeaderStandardTimestamp, strconv.FormatInt(*c.timestamp, 10))
	header.Set(callback.HeaderStandardSignature, c.signature)
	return callback.VerifyStandard(secret, header, body, time.Unix(*c.timestamp, 0))
}

func (c signatureCheck) name() string {
	if c.standard {
		return callback.HeaderStandardSignature
	}
	return callback.HeaderSignature
}
