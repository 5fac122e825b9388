package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/callback"
)

var noon = time.Unix(1706400000, 0)

func TestVerifyPrintsTheVerdict(t *testing.T) {
	body := []byte(`{"execution_id":"exec_1"}`)
	signature := callback.Sign("new", body)
	sent := func(at time.Time, secrets ...string) string {
		return callback.SignStandard("msg_1", at, body, secrets...)
	}
	seconds := func(after time.Duration) *int64 { return new(noon.Add(after).Unix()) }
	const off = callback.Tolerance
	for name, c := range map[string]struct {
		check signatureCheck
		body  []byte
		want  string
	}{
		"X-HopX-Signature": {
			signatureCheck{secrets: []string{"new"}, signature: signature},
			body,
			"valid: X-HopX-Signature matches this body and the secret; without a timestamp the age is unknown",
		},
		"without the prefix": {
			signatureCheck{secrets: []string{"new"}, signature: signature[len("sha256="):]},
			body,
			"valid: X-HopX-Signature matches this body and the secret; without a timestamp the age is unknown",
		},
		"the second secret": {
			signatureCheck{secrets: []string{"newer", "new"}, signature: signature},
			body,
			"valid: X-HopX-Signature matches this body and secret 2 of 2; without a timestamp the age is unknown",
		},
		"with a timestamp": {
			signatureCheck{secrets: []string{"new"}, signature: signature, timestamp: seconds(-off)},
			body,
			"valid: X-HopX-Signature matches this body and the secret; the timestamp is 5m0s off, " +
				"but this signature does not cover it",
		},
		"an old timestamp": {
			signatureCheck{secrets: []string{"new"}, signature: signature, timestamp: seconds(-off - time.Second)},
			body,
			"invalid, stale: X-HopX-Signature matches, but the timestamp is 5m1s off and at most 5m0s are allowed",
		},
		"another secret": {
			signatureCheck{secrets: []string{"another"}, signature: signature},
			body,
			"invalid, mismatch: X-HopX-Signature does not match this body and the secret",
		},
		"other secrets": {
			signatureCheck{secrets: []string{"another", "a third"}, signature: signature},
			body,
			"invalid, mismatch: X-HopX-Signature does not match this body and any of the 2 secrets",
		},
		"another body": {
			signatureCheck{secrets: []string{"new"}, signature: signature},
			append(body, '\n'),
			"invalid, mismatch: X-HopX-Signature does not match this body and the secret",
		},
		"the prefix alone": {
			signatureCheck{secrets: []string{"new"}, signature: "sha256="},
			body,
			"invalid, mismatch: X-HopX-Signature does not match this body and the secret",
		},
		"no signature": {signatureCheck{secrets: []string{"new"}}, body, "invalid, unsigned: there is no signature"},
		"webhook-signature": {
			signatureCheck{[]string{"new"}, sent(noon, "new"), true, "msg_1", seconds(0)},
			body,
			"valid: webhook-signature matches this body and the secret; the timestamp is 0s off",
		},
		"one of two signatures": {
			signatureCheck{[]string{"old"}, sent(noon, "new", "old"), true, "msg_1", seconds(0)},
			body,
			"valid: webhook-signature matches this body and the secret; the timestamp is 0s off",
		},
		"another id": {
			signatureCheck{[]string{"new"}, sent(noon, "new"), true, "msg_2", seconds(0)},
			body,
			"invalid, mismatch: webhook-signature does not match this body and the secret",
		},
		"another instant": {
			signatureCheck{[]string{"new"}, sent(noon, "new"), true, "msg_1", seconds(time.Second)},
			body,
			"invalid, mismatch: webhook-signature does not match this body and the secret",
		},
		"an old webhook-signature": {
			signatureCheck{[]string{"new"}, sent(noon.Add(-time.Hour), "new"), true, "msg_1", seconds(-time.Hour)},
			body,
			"invalid, stale: webhook-signature matches, but the timestamp is 1h0m0s off and at most 5m0s are allowed",
		},
		"a webhook-signature from the future": {
			signatureCheck{[]string{"new"}, sent(noon.Add(time.Hour), "new"), true, "msg_1", seconds(time.Hour)},
			body,
			"invalid, stale: webhook-signature matches, but the timestamp is 1h0m0s off and at most 5m0s are allowed",
		},
		"the largest timestamp": {
			signatureCheck{secrets: []string{"new"}, signature: signature, timestamp: new(int64(math.MaxInt64))},
			body,
			"invalid, stale: X-HopX-Signature matches, " +
				"but the timestamp is 2562047h47m16.854775807s off and at most 5m0s are allowed",
		},
	} {
		valid, got := c.check.verdict(c.body, noon)
		if got != c.want || valid != strings.HasPrefix(c.want, "valid") {
			t.Errorf("%s: got %v, %q; want %q", name, valid, got, c.want)
		}
	}
}

func TestVerifyReadsItsFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("new one\r\nold,one\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]signatureCheck{
		"--secret a,b --secret c --signature sha256=00": {secrets: []string{"a,b", "c"}, signature: "sha256=00"},
		"--signature sha256=00":                         {secrets: []string{"from,env"}, signature: "sha256=00"},
		"--secret a --signature=":                       {secrets: []string{"a"}},
		"--secret a --signature 00 --timestamp=-1": {
			secrets: []string{"a"}, signature: "00", timestamp: new(int64(-1)),
		},
		"--secret a --signature v1,00 --id msg_1 --timestamp 7": {
			secrets: []string{"a"}, signature: "v1,00", standard: true, id: "msg_1", timestamp: new(int64(7)),
		},
		"--secret a --secret-file " + file + " --signature 00": {
			secrets: []string{"a", "new one", "old,one"}, signature: "00",
		},
	} {
		t.Setenv("BOOMERANG_SECRET", "from,env")
		var c cli
		if _, err := kong.Must(&c).Parse(append([]string{"verify"}, strings.Fields(line)...)); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		got, err := c.Verify.check()
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(signatureCheck{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", line, err, diff)
		}
	}
}

func TestVerifyNamesTheMissingFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("new\nwhsec_-_\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"--signature sha256=00":                   "a secret is required",
		"--secret= --signature sha256=00":         "a secret is required",
		"--secret-file /nowhere/s --signature 00": "/nowhere/s",
		"--secret a":                                      "--signature is required",
		"--secret a --signature v1,00":                    "a webhook-signature requires --id and --timestamp",
		"--secret a --signature v1,00 --id msg_1":         "a webhook-signature requires --id and --timestamp",
		"--secret a --signature v1,00 --timestamp 1":      "a webhook-signature requires --id and --timestamp",
		"--secret a --secret whsec_ --signature 00":       "secret 2 of 2: ",
		"--secret whsec_bad --signature 00":               "the secret: ",
		"--secret-file " + file + " --signature 00":       "secret 2 of 2: ",
		"--secret a --signature sha256=00 --timestamp x":  "--timestamp",
		"--secret a --signature sha256=00 one-thing-more": "one-thing-more",
	} {
		t.Setenv("BOOMERANG_SECRET", "")
		var c cli
		_, err := kong.Must(&c).Parse(append([]string{"verify"}, strings.Fields(line)...))
		if err == nil {
			_, err = c.Verify.check()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want it to say %q", line, err, want)
		}
	}
}
