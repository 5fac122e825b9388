package callback

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/address"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// hiddenTimeout is the timeout of an attempt in these tests.
const hiddenTimeout = 300 * time.Millisecond

// hidingSender returns a sender with an exception for loopback, whose outcomes are hidden.
func hidingSender(t *testing.T, resolver *net.Resolver) *sender {
	t.Helper()
	p := newTestPolicy(t, func(c *Config) {
		c.AllowCIDRs = []address.Range{address.MustParseRange("127.0.0.0/8")}
		c.AllowHosts = []address.Host{{Name: "gone.internal"}}
	})
	l := timeouts{connect: 20 * time.Second, tls: 20 * time.Second, total: hiddenTimeout}
	s := newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", l)
	if resolver != nil {
		s.transport.DialContext = guardedDialer{policy: p, resolver: resolver, timeout: l.connect}.dial
	}
	return s
}

// failingReceivers returns the URLs of private receivers that fail in every way, by the way.
func failingReceivers(t *testing.T) map[string]string {
	t.Helper()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	urls := map[string]string{"closed": closed.URL, "no name": "http://gone.internal:9000/"}
	for way, serve := range map[string]func(net.Conn, int){
		"hanging":   func(conn net.Conn, _ int) { <-t.Context().Done() },
		"hangs up":  func(net.Conn, int) {},
		"speaks":    func(conn net.Conn, _ int) { _, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.6\r\n")) },
		"no status": func(conn net.Conn, _ int) { _, _ = conn.Write([]byte("HTTP/1.1 000 x\r\n\r\n")) },
	} {
		urls[way], _ = tcpServer(t, serve)
	}
	urls["no TLS"] = strings.Replace(urls["speaks"], "http:", "https:", 1)
	for _, status := range []int{302, 404, 410, 429, 500, 503} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "inside", status)
		}))
		t.Cleanup(receiver.Close)
		urls[strconv.Itoa(status)] = receiver.URL
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	urls["unknown authority"] = secure.URL
	return urls
}

func TestAttemptsAtExceptionsFailAllAlike(t *testing.T) {
	t.Parallel()
	s := hidingSender(t, (&dnsServer{}).resolver())
	for way, url := range failingReceivers(t) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			d := execution.Delivery{Execution: "exec_1", Callback: execution.Callback{URL: url}, Body: []byte("{}")}
			began := time.Now()
			a, err := s.send(t.Context(), d)
			took := time.Since(began)
			if err == nil {
				t.Error("the operator's log gets no reason")
			}
			want := execution.Attempt{
				Execution: "exec_1", Number: 1, StartedAt: a.StartedAt, Duration: hiddenTimeout,
				Outcome: execution.AttemptFailed,
				Detail:  "The callback did not arrive. Of this private receiver the server shows no more.",
			}
			if diff := cmp.Diff(want, a); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if took < hiddenTimeout {
				t.Errorf("it took %s; want at least %s, like every failure", took, hiddenTimeout)
			}
		})
	}
}

// Only the dial, or the connection that an earlier attempt left open, knows that such a name leads to an exception.
func TestANameThatLeadsToAnExceptionHidesItsFailures(t *testing.T) {
	names := &dnsServer{answers: map[string][][]string{"hooks.example.com": {{"127.0.0.1"}}}}
	s := hidingSender(t, names.resolver())
	var connections atomic.Int32
	receiver := httptest.NewUnstartedServer(http.NotFoundHandler())
	receiver.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	receiver.Start()
	url := strings.Replace(receiver.URL, "127.0.0.1", "hooks.example.com", 1)
	expect := func() {
		t.Helper()
		d := execution.Delivery{Execution: "exec_1", Callback: execution.Callback{URL: url}, Body: []byte("{}")}
		began := time.Now()
		if a, _ := s.send(t.Context(), d); a.Outcome != execution.AttemptFailed || time.Since(began) < hiddenTimeout {
			t.Errorf("got %+v after %s; want a hidden failure", a, time.Since(began))
		}
	}
	expect()
	expect()
	if n := connections.Load(); n != 1 {
		t.Errorf("the attempts made %d connections; want the second to use the first one's", n)
	}
	receiver.Close()
	s.transport.CloseIdleConnections()
	expect()
}

func TestAnExceptionBehindAProxyHidesItsFailures(t *testing.T) {
	proxy := httptest.NewServer(http.NotFoundHandler())
	defer proxy.Close()
	c := Defaults()
	c.Proxy, c.AllowHosts = proxy.URL, []address.Host{address.ParseHost("receiver.internal:9000")}
	s := newSender(c, newTestPolicy(t, func(p *Config) { *p = c }), fakeUnsealer{}, "1.2.3", longTimeouts())
	s.timeout = hiddenTimeout
	for url, want := range map[string]execution.AttemptOutcome{
		"http://receiver.internal:9000/": execution.AttemptFailed, "http://example.com/": execution.AttemptStatus,
	} {
		d := execution.Delivery{Execution: "exec_1", Callback: execution.Callback{URL: url}, Body: []byte("{}")}
		if a, _ := s.send(t.Context(), d); a.Outcome != want {
			t.Errorf("%s: got %+v; want %s", url, a, want)
		}
	}
}

func TestAPortScanThroughSamplesLearnsNothing(t *testing.T) {
	t.Parallel()
	s := hidingSender(t, (&dnsServer{}).resolver())
	for way, url := range failingReceivers(t) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			got, err := delivererOf(s).Try(t.Context(), Sample{URL: url})
			if err != nil || time.Since(began) < hiddenTimeout {
				t.Errorf("%v after %s; want a trial after %s", err, time.Since(began), hiddenTimeout)
			}
			got.Body = nil
			want := Trial{
				Outcome: execution.AttemptFailed, Resolved: way != "no name", Duration: hiddenTimeout,
				Detail: "The callback did not arrive. Of this private receiver the server shows no more.",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestAnArrivalAtAnExceptionShowsNoStatusOfTheReceiver(t *testing.T) {
	for _, status := range []int{200, 204, 299} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
		}))
		s := hidingSender(t, nil)
		s.timeout = time.Minute
		d := execution.Delivery{Execution: "exec_1", Callback: execution.Callback{URL: receiver.URL}}
		a, err := s.send(t.Context(), d)
		receiver.Close()
		if err != nil || a.Outcome != execution.AttemptSucceeded || a.StatusCode != http.StatusOK ||
			a.Duration%time.Second != 0 || a.Detail != "The callback arrived." {
			t.Errorf("%d: got %+v, %v; want an arrival with the status 200, in whole seconds", status, a, err)
		}
	}
}

func TestTheRefusalsOfThePolicyAreNotHidden(t *testing.T) {
	s := hidingSender(t, (&dnsServer{answers: map[string][][]string{"closed.example.com": {{"10.0.0.1"}}}}).resolver())
	for _, url := range []string{"http://closed.example.com/", "http://127.0.0.1:22/", "http://gone.local/"} {
		d := execution.Delivery{Execution: "exec_1", Callback: execution.Callback{URL: url}}
		if a, _ := s.send(t.Context(), d); a.Outcome != execution.AttemptBlocked {
			t.Errorf("%s: got %+v; want it blocked", url, a)
		}
	}
}

func TestDownloadsFromExceptionsFailAllAlike(t *testing.T) {
	t.Parallel()
	f, err := NewFetcher(Defaults(), []address.Range{address.MustParseRange("127.0.0.0/8")}, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	urls := failingReceivers(t)
	delete(urls, "no name") // names are no exceptions of a Fetcher
	for way, url := range urls {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), hiddenTimeout)
			defer cancel()
			_, err := f.Fetch(ctx, "files[0].url", url, 100)
			failed, ok := errors.AsType[*fault.Error](err)
			if !ok || failed.Sentence != "files[0].url could not be fetched: failed." || ctx.Err() == nil {
				t.Errorf("got %v, before the deadline: %t; want one sentence at the deadline", err, ctx.Err() == nil)
			}
		})
	}
}
