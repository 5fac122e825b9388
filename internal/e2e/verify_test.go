//go:build e2e

package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"boomerang/internal/callback"
)

// The secrets that sign the callbacks of these tests, during a rotation.
const (
	newest = "ein Schlüssel"
	oldest = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// message is a callback that has not been verified.
type message struct {
	header http.Header
	body   []byte
}

// post runs an execution and returns its callback, unverified.
func post(t *testing.T, h *harness) message {
	t.Helper()
	arrived := make(chan message, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		arrived <- message{r.Header, body}
	}))
	t.Cleanup(hook.Close)
	h.submit(`import sys; sys.stdout.buffer.write("grüße \U0001F388 <&> \0\n".encode() + b"\xff\n")`, fields{
		"callback_url": hook.URL, "callback_signature_secret": []string{newest, oldest},
	})
	select {
	case m := <-arrived:
		return m
	case <-time.After(patience):
		t.Fatal("no callback arrived")
		return message{}
	}
}

// withHeader returns m with another value of one header.
func (m message) withHeader(name, value string) message {
	header := m.header.Clone()
	header.Set(name, value)
	return message{header, m.body}
}

// withChangedBody returns m with another status in its body.
func (m message) withChangedBody() message {
	return message{m.header, bytes.Replace(m.body, []byte("completed"), []byte("failed"), 1)}
}

func (m message) timestamp(t *testing.T) time.Time {
	t.Helper()
	seconds, err := strconv.ParseInt(m.header.Get(callback.HeaderStandardTimestamp), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(seconds, 0)
}

// run runs a program with the body on stdin and returns its output and its exit code.
func (m message) run(t *testing.T, env []string, command ...string) (string, int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), command[0], command[1:]...)
	c.Stdin, c.Env = bytes.NewReader(m.body), append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// cgi returns the headers as environment variables of a CGI program, and NOW.
func (m message) cgi(now time.Time) []string {
	env := []string{"NOW=" + strconv.FormatInt(now.Unix(), 10)}
	for name := range m.header {
		env = append(env, "HTTP_"+strings.ReplaceAll(strings.ToUpper(name), "-", "_")+"="+m.header.Get(name))
	}
	return env
}

// build compiles a program of this module and returns its path.
func build(t *testing.T, what string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, what).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// python returns the path of the interpreter. A python3 in PATH may be a shim that costs more time than Python.
func python(t testing.TB) string {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "python3", "-c", "import sys; print(sys.executable, end='')").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(path)
}

func TestTheSamplesVerifyACallback(t *testing.T) {
	m := post(t, newHarness(t))
	for sample, command := range samples(t) {
		t.Run(sample, func(t *testing.T) { sampleVerifies(t, m, command) })
	}
	t.Run("boomerang verify", func(t *testing.T) { commandVerifies(t, m, build(t, "boomerang/cmd/boomerang")) })
	t.Run("the page", func(t *testing.T) { pageVerifies(t, m) })
}

// samples returns the commands that run the samples, by language.
func samples(t *testing.T) map[string][]string {
	t.Helper()
	return map[string][]string{
		"Python": {python(t), "../../docs/verify/verify.py"},
		"Node":   {"node", "../../docs/verify/verify.mjs"},
		"Go":     {build(t, "../../docs/verify/go/verify.go")},
		"Ruby":   {"ruby", "../../docs/verify/verify.rb"},
		"PHP":    {"php", "../../docs/verify/verify.php"},
	}
}

// TestTheSamplesRejectInvalidSecrets signs with the key that a careless decoder makes of each secret.
func TestTheSamplesRejectInvalidSecrets(t *testing.T) {
	now := time.Now()
	key := strings.Repeat("\xfb", 25)
	whole := "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
	all := samples(t)
	for name, c := range map[string]struct {
		secret, key string
		holds       bool
	}{
		"a key": {whole, key, true},
		"the longest key": {"whsec_" + base64.StdEncoding.EncodeToString([]byte(key+key+key[:14])), key + key +
			key[:14], true},
		"another case": {"WHSEC_AAAA", "WHSEC_AAAA", true},
		"nothing":      {"whsec_", "", false},
		"too short":    {"whsec_AAAA", "\x00\x00\x00", false},
		"too long": {"whsec_" + base64.StdEncoding.EncodeToString([]byte(key+key+key[:15])), key + key +
			key[:15], false},
		"unpadded":           {strings.TrimRight(whole, "="), key, false},
		"URL-safe":           {strings.NewReplacer("+", "-", "/", "_").Replace(whole), key, false},
		"loose bits":         {strings.TrimSuffix(whole, "w==") + "x==", key, false},
		"a line break":       {whole[:30] + "\n" + whole[30:], key, false},
		"a space":            {whole + " ", key, false},
		"one letter too few": {"whsec_AAAAA", "\x00\x00\x00", false},
		"not base64 at all":  {"whsec_!!!", "whsec_!!!", false},
		"its raw bytes":      {"whsec_-_", "whsec_-_", false},
	} {
		m := message{http.Header{}, []byte("{}")}
		m.header.Set(callback.HeaderStandardID, "msg_1")
		m.header.Set(callback.HeaderStandardTimestamp, strconv.FormatInt(now.Unix(), 10))
		hash := hmac.New(sha256.New, []byte(c.key))
		_, _ = fmt.Fprintf(hash, "msg_1.%d.%s", now.Unix(), m.body)
		m.header.Set(callback.HeaderStandardSignature, "v1,"+base64.StdEncoding.EncodeToString(hash.Sum(nil)))
		want := fmt.Sprintf("webhook-signature %t\n", c.holds)
		for language, command := range all {
			got, code := m.run(t, m.cgi(now), append(slices.Clone(command), c.secret)...)
			if !strings.HasPrefix(got, want) || code != 0 {
				t.Errorf("%s, %s: exit code %d, %q; want %q", language, name, code, got, want)
			}
		}
		if err := callback.CheckSecret(c.secret); (err == nil) != c.holds {
			t.Errorf("%s: CheckSecret returns %v", name, err)
		}
	}
}

func sampleVerifies(t *testing.T, m message, command []string) {
	t.Helper()
	at := m.timestamp(t)
	both := []string{newest, oldest}
	minute := strconv.FormatInt(at.Add(time.Minute).Unix(), 10)
	standard, page := m.header.Get(callback.HeaderStandardSignature), m.header.Get(callback.HeaderSignature)
	for name, c := range map[string]struct {
		message        message
		secrets        []string
		now            time.Time
		standard, page bool
	}{
		"the newest secret": {m, []string{newest}, at, true, true},
		// X-HopX-Signature uses the newest secret.
		"the old secret":               {m, []string{oldest}, at, true, false},
		"both secrets":                 {m, both, at, true, true},
		"the second of the receiver's": {m, []string{"another", newest}, at, true, true},
		"the old one as the second":    {m, []string{"another", oldest}, at, true, false},
		"another secret":               {m, []string{"another"}, at, false, false},
		"another encoded secret":       {m, []string{"whsec_AAAA"}, at, false, false},
		"no secret":                    {m, nil, at, false, false},
		"a changed body":               {m.withChangedBody(), both, at, false, false},
		"just in time":                 {m, both, at.Add(callback.Tolerance), true, true},
		"replayed later":               {m, both, at.Add(callback.Tolerance + time.Second), false, true},
		"before its time":              {m, both, at.Add(-callback.Tolerance - time.Second), false, true},
		"replayed with a new timestamp": {
			m.withHeader(callback.HeaderStandardTimestamp, minute), both,
			at.Add(time.Minute), false, true,
		},
		"a timestamp with a fraction": {
			m.withHeader(callback.HeaderStandardTimestamp, minute+".0"), both, at, false,
			true,
		},
		"a timestamp without digits": {m.withHeader(callback.HeaderStandardTimestamp, "now"), both, at, false, true},
		"another id":                 {m.withHeader(callback.HeaderStandardID, "msg_exec_0"), both, at, false, true},
		"a shortened signature": {
			m.withHeader(callback.HeaderStandardSignature, standard[:len(standard)/2-3]),
			both, at, false, true,
		},
		"no version": {m.withHeader(callback.HeaderStandardSignature, strings.ReplaceAll(standard,
			"v1,", "")), both, at, false, true},
		"empty signatures": {m.withHeader(callback.HeaderStandardSignature,
			"").withHeader(callback.HeaderSignature, ""), both, at, false, false},
		"no headers": {message{http.Header{}, m.body}, both, at, false, false},
		"a shortened X-HopX-Signature": {
			m.withHeader(callback.HeaderSignature, page[:len(page)-1]), both, at, true,
			false,
		},
		"its prefix alone": {m.withHeader(callback.HeaderSignature, "sha256="), both, at, true, false},
	} {
		want := fmt.Sprintf("webhook-signature %t\nX-HopX-Signature %t\n", c.standard, c.page)
		if got, code := c.message.run(t, c.message.cgi(c.now), append(command, c.secrets...)...); got != want ||
			code != 0 {
			t.Errorf("%s: exit code %d, %q; want %q", name, code, got, want)
		}
	}
}

func commandVerifies(t *testing.T, m message, program string) {
	t.Helper()
	at := m.timestamp(t)
	long := time.Now().Add(-time.Hour)
	id, page, standard := m.header.Get("webhook-id"), m.header.Get("X-HopX-Signature"),
		m.header.Get("webhook-signature")
	unix := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	byPage := []string{"--signature", page}
	byStandard := []string{"--signature", standard, "--id", id, "--timestamp", unix(at)}
	for name, c := range map[string]struct {
		message message
		secrets []string
		flags   []string
		code    int
		says    string
	}{
		"the newest secret": {m, []string{newest}, byPage, 0, "valid: X-HopX-Signature"},
		"with its timestamp": {
			m,
			[]string{newest},
			append(byPage, "--timestamp", unix(at)), 0,
			"does not cover",
		},
		"with an old timestamp": {
			m,
			[]string{newest},
			append(byPage, "--timestamp", unix(long)), 1,
			"invalid, stale",
		},
		"another secret":           {m, []string{"another"}, byPage, 1, "invalid, mismatch"},
		"the second secret":        {m, []string{"another", newest}, byPage, 0, "secret 2 of 2"},
		"a changed body":           {m.withChangedBody(), []string{newest}, byPage, 1, "invalid, mismatch"},
		"no signature":             {m, []string{newest}, []string{"--signature", ""}, 1, "invalid, unsigned"},
		"no secret":                {m, nil, byPage, 2, "a secret is required"},
		"an unknown flag":          {m, []string{newest}, append(byPage, "--now"), 2, "--now"},
		"standard":                 {m, []string{newest}, byStandard, 0, "valid: webhook-signature"},
		"standard, old secret":     {m, []string{oldest}, byStandard, 0, "valid: webhook-signature"},
		"standard, second secret":  {m, []string{"another", oldest}, byStandard, 0, "secret 2 of 2"},
		"standard, another secret": {m, []string{"another"}, byStandard, 1, "invalid, mismatch"},
		"standard, a changed body": {m.withChangedBody(), []string{newest}, byStandard, 1, "invalid, mismatch"},
		"standard, no id": {
			m,
			[]string{newest},
			[]string{"--signature", standard, "--timestamp", unix(at)},
			2, "--id",
		},
		"standard, a later instant": {m, []string{newest}, append(byStandard, "--timestamp",
			unix(at.Add(time.Second))), 1, "invalid, mismatch"},
		"standard, from an hour ago": {m, []string{newest}, []string{"--signature", callback.SignStandard(id, long,
			m.body, newest), "--id", id, "--timestamp", unix(long)}, 1, "invalid, stale"},
	} {
		command := append([]string{program, "verify"}, c.flags...)
		for _, secret := range c.secrets {
			command = append(command, "--secret", secret)
		}
		if got, code := c.message.run(t, nil, command...); code != c.code || !strings.Contains(got, c.says) {
			t.Errorf("%s: exit code %d, %q; want %d, %q", name, code, got, c.code, c.says)
		}
	}
	if got, code := m.run(t, []string{"BOOMERANG_SECRET=" + newest}, append([]string{program, "verify"},
		byPage...)...); code != 0 {
		t.Errorf("with the secret in the environment: exit code %d, %q", code, got)
	}
}

// pagePython and pageNode are the functions of the API's page, letter for letter, fed from the command line.
const pagePython = `
import hmac
import hashlib
import sys
def verify_webhook(payload_bytes, signature, secret):
    """Verify HMAC-SHA256 signature"""
    expected_signature = hmac.new(
        secret.encode('utf-8'),
        payload_bytes,
        hashlib.sha256
    ).hexdigest()
    # Remove 'sha256=' prefix if present
    if signature.startswith('sha256='):
        signature = signature[7:]
    return hmac.compare_digest(signature, expected_signature)
print(str(verify_webhook(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2])).lower())
`

const pageNode = `
const crypto = require('crypto');
function verifyWebhook(payloadString, signature, secret) {
  const expectedSignature = crypto
    .createHmac('sha256', secret)
    .update(payloadString)
    .digest('hex');
  // Remove 'sha256=' prefix if present
  const actualSignature = signature.startsWith('sha256=')
    ? signature.slice(7)
    : signature;
  return crypto.timingSafeEqual(
    Buffer.from(actualSignature),
    Buffer.from(expectedSignature)
  );
}
const payloadString = require('fs').readFileSync(0).toString('utf8');
console.log(verifyWebhook(payloadString, process.argv[1], process.argv[2]));
`

func pageVerifies(t *testing.T, m message) {
	t.Helper()
	signature := m.header.Get(callback.HeaderSignature)
	for language, command := range map[string][]string{
		"Python": {python(t), "-c", pagePython, signature},
		"Node":   {"node", "-e", pageNode, signature},
	} {
		for what, c := range map[string]struct {
			message      message
			secret, want string
		}{
			"the newest secret": {m, newest, "true\n"},
			"the old secret":    {m, oldest, "false\n"},
			"a changed body":    {m.withChangedBody(), newest, "false\n"},
		} {
			if got, code := c.message.run(t, nil, append(command, c.secret)...); got != c.want || code != 0 {
				t.Errorf("%s, %s: exit code %d, %q; want %q", language, what, code, got, c.want)
			}
		}
	}
}
