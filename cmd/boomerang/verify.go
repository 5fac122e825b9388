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
	Secret     []string `help:"Secret of the callback; repeatable." sep:"none" env:"BOOMERANG_SECRET" placeholder:"S"`
	SecretFile string   `help:"File with one secret per line." type:"path" placeholder:"FILE"`
	Signature  *string  `help:"Value of X-HopX-Signature or of webhook-signature." placeholder:"V"`
	ID         string   `help:"Value of webhook-id." placeholder:"ID"`
	Timestamp  *int64   `help:"Value of webhook-timestamp or X-HopX-Timestamp, at most 5 minutes off." placeholder:"S"`
}

// Help implements kong.HelpProvider.
func (verifyCmd) Help() string {
	return `The command reads the body of the callback from standard input, byte for byte as it arrived. One of the
secrets must match. A webhook-signature covers the id and the timestamp, so it requires --id and --timestamp. The exit
code is 0 if the signature is valid, 1 if it is invalid, and 2 if the check could not be made.

Other users of the machine can read a secret on the command line, but neither BOOMERANG_SECRET nor the file of
--secret-file.

  boomerang verify --secret-file s --signature sha256=5bdc… <body
  boomerang verify --secret-file s --signature 'v1,E2ws…' --id msg_exec_… --timestamp 1706400000 <body`
}

// Run reads a body and prints in one sentence whether its signature is valid.
func (v *verifyCmd) Run() error {
	check, err := v.check()
	if err != nil {
		printError(err)
		return exitError(exitUsage)
	}
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		printError(fmt.Errorf("read the body: %w", err))
		return exitError(exitUsage)
	}
	valid, sentence := check.verdict(body, time.Now())
	_, _ = fmt.Fprintln(os.Stdout, sentence) // the exit code gives the verdict, too
	if !valid {
		return exitError(exitFailure)
	}
	return nil
}

// signatureCheck holds the inputs of a verification, except the body.
type signatureCheck struct {
	secrets   []string // at least one, none empty
	signature string   // value of X-HopX-Signature or webhook-signature; empty if the callback had none
	standard  bool     // whether signature is a webhook-signature
	id        string   // not empty if standard
	timestamp *int64   // Unix seconds; not nil if standard
}

// check translates the flags. The error names the missing flag.
func (v *verifyCmd) check() (c signatureCheck, err error) {
	c = signatureCheck{secrets: withoutEmpty(v.Secret), id: v.ID, timestamp: v.Timestamp}
	if v.SecretFile != "" {
		text, err := os.ReadFile(v.SecretFile)
		if err != nil {
			return c, err
		}
		lines := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
		c.secrets = append(c.secrets, withoutEmpty(lines)...)
	}
	if len(c.secrets) == 0 {
		return c, errors.New("a secret is required: --secret, --secret-file or BOOMERANG_SECRET")
	}
	if err := checkSecrets(c.secrets); err != nil {
		return c, err
	}
	if v.Signature == nil {
		return c, errors.New("--signature is required")
	}
	c.signature = *v.Signature
	c.standard = strings.Contains(c.signature, ",")
	if c.standard && (v.ID == "" || v.Timestamp == nil) {
		return c, fmt.Errorf("a %s requires --id and --timestamp", callback.HeaderStandardSignature)
	}
	return c, nil
}

// verdict returns whether the signature is valid, and a sentence about it. It compares the signature before it checks
// the age, so that an old signature and a wrong signature get different sentences.
func (c signatureCheck) verdict(body []byte, now time.Time) (valid bool, sentence string) {
	position, err := c.match(body)
	if errors.Is(err, callback.ErrUnsigned) {
		return false, "invalid, unsigned: " + err.Error()
	}
	if err != nil {
		return false, fmt.Sprintf("invalid, mismatch: %s does not match this body and %s", c.header(), c.secretName(-1))
	}
	sentence = fmt.Sprintf("valid: %s matches this body and %s", c.header(), c.secretName(position))
	if c.timestamp == nil {
		return true, sentence + "; without a timestamp the age is unknown"
	}
	off := now.Sub(time.Unix(*c.timestamp, 0)).Round(time.Second).Abs()
	switch {
	case off > callback.Tolerance:
		return false, fmt.Sprintf("invalid, stale: %s matches, but the timestamp is %s off and at most %s are allowed",
			c.header(), off, callback.Tolerance)
	case c.standard:
		return true, sentence + fmt.Sprintf("; the timestamp is %s off", off)
	}
	return true, sentence + fmt.Sprintf("; the timestamp is %s off, but this signature does not cover it", off)
}

// secretName names the secret at a position; position -1 stands for all secrets.
func (c signatureCheck) secretName(position int) string {
	switch {
	case len(c.secrets) == 1:
		return "the secret"
	case position < 0:
		return fmt.Sprintf("any of the %d secrets", len(c.secrets))
	}
	return fmt.Sprintf("secret %d of %d", position+1, len(c.secrets))
}

// match returns the position of the secret that signed the body.
func (c signatureCheck) match(body []byte) (position int, err error) {
	for position, secret := range c.secrets {
		if err = c.matchSecret(secret, body); err == nil {
			return position, nil
		}
	}
	return 0, err
}

func (c signatureCheck) matchSecret(secret string, body []byte) error {
	if !c.standard {
		return callback.Verify(secret, c.signature, body)
	}
	header := http.Header{}
	header.Set(callback.HeaderStandardID, c.id)
	header.Set(callback.HeaderStandardTimestamp, strconv.FormatInt(*c.timestamp, 10))
	header.Set(callback.HeaderStandardSignature, c.signature)
	return callback.VerifyStandard(secret, header, body, time.Unix(*c.timestamp, 0))
}

// header returns the name of the header that the signature came in.
func (c signatureCheck) header() string {
	if c.standard {
		return callback.HeaderStandardSignature
	}
	return callback.HeaderSignature
}
