package callback

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// delivererOf returns a deliverer that runs with a sender until the test ends, and has no deliveries.
func delivererOf(t *testing.T, s *sender) *Deliverer {
	t.Helper()
	logger, _ := logtest.NewNullLogger()
	c := Defaults()
	c.Destination.Rate = 0
	d := NewDeliverer(c, Deps{
		Store: newMemoryStore(), Unsealer: fakeUnsealer{}, Policy: s.policy, Log: logrus.NewEntry(logger),
	})
	d.sender = s
	ctx, quit := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		quit()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return d
}

// try sends a sample and checks the trial, except for its duration and body.
func try(t *testing.T, s *sender, url string, want Trial) {
	t.Helper()
	got, err := delivererOf(t, s).Try(t.Context(), Sample{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if got.Detail == "" || strings.Contains(got.Detail, "127.0.0.1") || strings.Contains(got.Detail, "10.11.12.13") {
		t.Errorf("detail is %q", got.Detail)
	}
	ignored := cmpopts.IgnoreFields(Trial{}, "Duration", "Body", "Detail")
	if diff := cmp.Diff(want, got, ignored, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: -want +got\n%s", url, diff)
	}
}

func TestTrySendsASampleThatLooksLikeAResult(t *testing.T) {
	var header http.Header
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks")
	}))
	defer receiver.Close()
	d := delivererOf(t, localSender(t, longTimeouts()))
	d.sender.unsealer = fakeUnsealer{err: io.ErrUnexpectedEOF} // a sample needs no key
	secrets := []string{"newest", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "oldest"}
	got, err := d.Try(t.Context(), Sample{URL: receiver.URL, Headers: map[string]string{"X-A": "b"}, Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	if got.Outcome != execution.AttemptSucceeded || got.StatusCode != http.StatusAccepted ||
		string(got.Answer) != "thanks" ||
		got.Duration <= 0 {
		t.Errorf("got %+v", got)
	}
	if string(got.Body) != string(body) {
		t.Errorf("the trial says that %q was sent, and %q came", got.Body, body)
	}
	var p wire.Result
	if err := json.Unmarshal(body, &p); err != nil || !p.ExecutionID.Valid() || !p.Success || p.Stdout == "" {
		t.Errorf("got %s, %v", body, err)
	}
	if header.Get("X-A") != "b" || header.Get("webhook-id") != "msg_"+string(p.ExecutionID) ||
		header.Get("X-HopX-Attempt") != "1" {
		t.Errorf("headers are %v", header)
	}
	if err := Verify("newest", header.Get(HeaderSignature), body); err != nil {
		t.Error(err)
	}
	for _, secret := range secrets {
		if err := VerifyStandard(secret, header, body, time.Now()); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
	if _, err := d.Try(t.Context(), Sample{URL: receiver.URL}); err != nil || header.Get(HeaderSignature) != "" {
		t.Errorf("without a secret: signature %q, %v", header.Get(HeaderSignature), err)
	}
}

func TestTryReportsHowFarItCame(t *testing.T) {
	receiver := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }),
	)
	defer receiver.Close()
	secure := httptest.NewUnstartedServer(receiver.Config.Handler)
	secure.Config.ErrorLog = discardLog
	secure.StartTLS()
	defer secure.Close()
	silent, _ := tcpServer(t, func(conn net.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
	port := func(url string) string { return url[strings.LastIndexByte(url, ':'):] }

	s := localSender(t, timeouts{connect: 20 * time.Second, tls: 20 * time.Second, total: 20 * time.Second})
	dial := dialerWithDNS(s.policy, map[string][][]string{
		"a.example.com":     {{"127.0.0.1"}},
		"evil.example.com":  {{"10.11.12.13"}},
		"empty.example.com": {{}},
		"cloud.example.com": {{"169.254.169.254"}},
	})
	s.transport.DialContext = dial.dial
	trusting := localSender(t, longTimeouts())
	trusting.transport.TLSClientConfig.RootCAs = rootsOf(secure)
	hasty := localSender(t, longTimeouts())
	// counted from the request, however long the connect takes
	hasty.transport.ResponseHeaderTimeout = 50 * time.Millisecond

	answered := Trial{Outcome: execution.AttemptStatus, Resolved: true, Connected: true, StatusCode: 418}
	try(t, s, "http://a.example.com"+port(receiver.URL), answered)
	try(t, s, receiver.URL, answered)
	answered.TLS = "TLS 1.3"
	for range 2 { // the second time on a new connection
		try(t, trusting, secure.URL, answered)
	}
	try(t, s, "https://a.example.com"+port(secure.URL),
		Trial{Outcome: execution.AttemptTLS, Resolved: true, Connected: true})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	try(t, s, "http://a.example.com"+port(closed.URL), Trial{Outcome: execution.AttemptRefused, Resolved: true})
	try(t, hasty, silent, Trial{Outcome: execution.AttemptTimeout, Resolved: true, Connected: true})
	try(t, s, "http://unknown.example.com", Trial{Outcome: execution.AttemptDNS})
	try(t, s, "http://empty.example.com", Trial{Outcome: execution.AttemptDNS})
	try(t, s, "http://evil.example.com",
		Trial{Outcome: execution.AttemptBlocked, Rule: "a private network (RFC 1918)", Resolved: true})
	try(t, s, "http://cloud.example.com",
		Trial{Outcome: execution.AttemptBlocked, Rule: "cloud metadata", Resolved: true})
	try(t, s, "http://10.0.0.1/",
		Trial{Outcome: execution.AttemptBlocked, Rule: "a private network (RFC 1918)", Resolved: true})
	try(t, s, "http://localhost/", Trial{Outcome: execution.AttemptBlocked, Rule: "localhost (RFC 6761)"})
	try(t, s, "http://a.example.com:22/", Trial{
		Outcome: execution.AttemptBlocked, Rule: "callback_url must not use a port below 1024 other than 80 and 443",
	})
}

func TestTryBehindAProxyReportsNoResolution(t *testing.T) {
	proxy := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }),
	)
	defer proxy.Close()
	c := Defaults()
	c.Proxy = strings.Replace(proxy.URL, "127.0.0.1", "localhost", 1) // the client must not learn the proxy's name
	s := newSender(c, newTestPolicy(t, defaultConfig), fakeUnsealer{}, "1.2.3", longTimeouts())
	try(t, s, "http://hooks.example.com/", Trial{Outcome: execution.AttemptSucceeded, Connected: true, StatusCode: 200})
	try(t, s, "http://8.8.8.8/",
		Trial{Outcome: execution.AttemptSucceeded, Resolved: true, Connected: true, StatusCode: 200})
}

func TestTryEndsWithItsContext(t *testing.T) {
	silent, _ := tcpServer(t, func(conn net.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := delivererOf(t, localSender(t, longTimeouts())).Try(ctx, Sample{URL: silent})
	if err != nil || got.Outcome != execution.AttemptTimeout {
		t.Errorf("got %+v, %v", got, err)
	}
}
