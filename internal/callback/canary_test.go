package callback

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// internalSecrets are texts known only inside the operator's network: the address of a name, its canonical name, and
// the answer of the server.
var internalSecrets = []string{"127.77.66.55", "127-77", "canary"}

// publicText returns all texts of a delivery's first attempt that a client may see.
func publicText(a execution.Attempt, tried Trial) string {
	tried.Body = nil // made by this server
	a.Execution = ""
	return fmt.Sprintf("%+v %s %+v %s", a, a.Answer, tried, tried.Answer)
}

// TestNoPublicTextRevealsTheInternalNetwork sends to a private receiver that the operator has opened, and to one that
// is closed. It searches for internal texts in the attempt, in the trial, and, after an answer, in the log.
func TestNoPublicTextRevealsTheInternalNetwork(t *testing.T) {
	elsewhere := "http://canary.internal/"
	headers := "X-Canary: canary\r\nLocation: " + elsewhere + "\r\nSet-Cookie: canary=1\r\nServer: canary\r\n"
	full := func(status int) string {
		return fmt.Sprintf("HTTP/1.1 %d canary\r\nContent-Length: 6\r\n%s\r\ncanary", status, headers)
	}
	expired, trustedExpired := certificate(t, "hooks.example.com", time.Now().Add(-time.Hour))
	other, trustedOther := certificate(t, "canary.internal", time.Now().Add(time.Hour))
	secure := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	outcomes := make(map[execution.AttemptOutcome]bool)
	for name, b := range map[string]receiverCase{
		"success":  {serve: answerText(full(200)), outcome: execution.AttemptSucceeded},
		"redirect": {serve: answerText(full(302)), outcome: execution.AttemptRedirect},
		"failure":  {serve: answerText(full(500)), outcome: execution.AttemptStatus},
		"gone":     {serve: answerText(full(410)), outcome: execution.AttemptStatus},
		"switch": {
			serve:   answerText("HTTP/1.1 101 canary\r\nUpgrade: canary\r\nConnection: Upgrade\r\n\r\ncanary"),
			outcome: execution.AttemptStatus,
		},
		"nonsense":   {serve: answerText("canary\r\n\r\n"), outcome: execution.AttemptConnection},
		"no status":  {serve: answerText("HTTP/1.1 canary OK\r\n\r\n"), outcome: execution.AttemptConnection},
		"bad header": {serve: answerText("HTTP/1.1 200 OK\r\ncanary\r\n\r\n"), outcome: execution.AttemptSucceeded},
		"bad coding": {
			serve:   answerText("HTTP/1.1 410 canary\r\nTransfer-Encoding: canary\r\n\r\n"),
			outcome: execution.AttemptStatus,
		},
		"hang-up": {serve: closeAtOnce, outcome: execution.AttemptConnection},
		"silence": {serve: neverAnswer, slow: true, outcome: execution.AttemptTimeout},
		"stalled body": {
			serve: stallAfter("HTTP/1.1 200 canary\r\nContent-Length: 9\r\n\r\ncanary"), slow: true,
			outcome: execution.AttemptSucceeded,
		},
		"expired": {
			serve: neverAnswer, tls: secure(expired), roots: trustedExpired, outcome: execution.AttemptTLS,
		},
		"another name": {serve: neverAnswer, tls: secure(other), roots: trustedOther, outcome: execution.AttemptTLS},
		"unknown": {
			serve: neverAnswer, tls: secure(other), roots: x509.NewCertPool(), outcome: execution.AttemptTLS,
		},
		"plain for TLS": {serve: answerCanary, tls: &tls.Config{}, outcome: execution.AttemptTLS},
		"no listener":   {outcome: execution.AttemptRefused},
		"closed":        {outcome: execution.AttemptBlocked},
		"not in DNS":    {outcome: execution.AttemptDNS},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPolicy(t,
				func(c *Config) { c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.77.66.55/32")} })
			dial := dialerWithDNS(p, map[string][][]string{
				"hooks.example.com": {{"canary.internal"}}, "canary.internal": {{"127.77.66.55"}},
				"closed.example.com": {{"closed-canary.internal"}}, "closed-canary.internal": {{"10.77.66.55"}},
				"gone.example.com": {{}},
			})
			target := b.startInternal(t)
			switch b.outcome { //nolint:exhaustive // the others have a receiver
			case execution.AttemptBlocked:
				target = "http://closed.example.com/hook"
			case execution.AttemptDNS:
				target = "http://gone.example.com/hook"
			}
			var a execution.Attempt
			var cause error
			var tried Trial
			meet := func(l timeouts) {
				s := newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", l)
				s.transport.TLSClientConfig.RootCAs = b.roots
				s.transport.DialContext = dial.dial
				defer s.transport.CloseIdleConnections()
				a, cause = s.send(t.Context(), aDelivery(target))
				var err error
				if tried, err = delivererOf(t, s).Try(t.Context(), Sample{URL: target}); err != nil {
					t.Fatal(err)
				}
			}
			l := longTimeouts()
			if b.slow {
				l.total = 200 * time.Millisecond
			}
			met := func() bool {
				meet(l)
				return a.Outcome == b.outcome && tried.Outcome == b.outcome
			}
			ok := met()
			for b.slow && !ok && l.total < longTimeouts().total {
				l.total *= 2 // a slow machine needs longer to reach the point of the stall
				ok = met()
			}
			if !ok {
				t.Errorf("got %s (%v) and %s, want %s", a.Outcome, cause, tried.Outcome, b.outcome)
			}
			outcomes[a.Outcome] = true
			text := publicText(a, tried)
			if a.StatusCode != 0 {
				text += logLine(t, a, cause)
			}
			for _, secret := range append([]string{"10.77.66.55"}, internalSecrets...) {
				if strings.Contains(strings.ToLower(text), secret) {
					t.Errorf("%q is told: %s", secret, text)
				}
			}
		})
	}
	if len(outcomes) != 9 {
		t.Errorf("only the outcomes %v", outcomes)
	}
}

// answerCanary answers a TLS handshake in plain text.
func answerCanary(conn net.Conn, _ int) {
	_, _ = conn.Read(make([]byte, 16<<10))
	_, _ = io.WriteString(conn, "HTTP/1.1 400 canary\r\nServer: canary\r\n\r\ncanary")
}

// startInternal serves b at an internal address; without a script no server listens there.
func (b receiverCase) startInternal(t *testing.T) (url string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.77.66.55:0")
	if err != nil {
		t.Fatal("no second loopback address: ", err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if b.serve == nil {
		closeConn(l)
		return "http://hooks.example.com:" + port + "/hook"
	}
	serveTCP(t, l, b.serveFunc())
	if b.tls != nil {
		return "https://hooks.example.com:" + port + "/hook"
	}
	return "http://hooks.example.com:" + port + "/hook"
}

func logLine(t *testing.T, a execution.Attempt, cause error) string {
	t.Helper()
	logger, hook := logtest.NewNullLogger()
	logAttempt(logrus.NewEntry(logger), aDelivery("http://hooks.example.com/hook?token=canary"), a, nextStep{}, cause)
	line, err := hook.LastEntry().String()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestARefusalAtAdmissionNamesOnlyTheRule checks the fault in the form that the server writes.
func TestARefusalAtAdmissionNamesOnlyTheRule(t *testing.T) {
	p := newTestPolicy(t, defaultConfig)
	for _, c := range hostile {
		f, ok := errors.AsType[*fault.Error](p.CheckURL(c.url))
		if !ok {
			t.Errorf("%q was not refused", c.url)
			continue
		}
		text, err := json.Marshal(map[string]any{"error": f.Sentence, "details": f.Details})
		if err != nil || strings.Contains(string(text), hostAddress) {
			t.Errorf("%q: %s, %v", c.url, text, err)
		}
	}
}
