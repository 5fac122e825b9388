package callback

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"boomerang/internal/address"
	"boomerang/internal/execution"
)

const (
	badLine   = "one of its headers is malformed"
	framing   = "its Content-Length, Transfer-Encoding or Trailer is not valid"
	cutOff    = "the connection broke off within its headers"
	excessive = "its headers have more than 32 KiB"
)

// malformedAnswers are answers with a complete status line, and the defect of the rest, or "" if net/http accepts it.
var malformedAnswers = map[string]struct {
	status int
	rest   string // bytes after the status line
	flaw   string
}{
	"Transfer-Encoding: identity": {200, "Transfer-Encoding: identity\r\n\r\nok", framing},
	"chunked twice": {
		200, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", framing,
	},
	"chunked twice in a line": {204, "Transfer-Encoding: chunked, chunked\r\n\r\n", framing},
	"an unknown coding":       {410, "Transfer-Encoding: gzip, chunked\r\n\r\n", framing},
	"no coding":               {200, "Transfer-Encoding:\r\n\r\n", framing},
	"a length that is a word": {200, "Content-Length: none\r\n\r\n", framing},
	"a negative length":       {404, "Content-Length: -1\r\n\r\n", framing},
	"a length with a sign":    {200, "Content-Length: +2\r\n\r\nok", framing},
	"a length that overflows": {200, "Content-Length: 99999999999999999999\r\n\r\n", framing},
	"a list of lengths":       {200, "Content-Length: 2, 2\r\n\r\nok", framing},
	"lengths that differ":     {200, "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", framing},
	"a trailer that frames": {
		200, "Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", framing,
	},
	"a header over 32 KiB":             {200, "X-A: " + strings.Repeat("a", maxAnswerHeaders) + "\r\n\r\n", excessive},
	"many headers over 32 KiB":         {301, strings.Repeat("X-A: b\r\n", maxAnswerHeaders/8) + "\r\n", excessive},
	"a header without a colon":         {200, "X-A\r\n\r\n", badLine},
	"a header without a name":          {503, ": a\r\n\r\n", badLine},
	"a space before the colon":         {200, "X-A : a\r\nContent-Length: 0\r\n\r\n", ""},
	"a space before the first header":  {200, " X-A: a\r\n\r\n", badLine},
	"a NUL in a name":                  {410, "X-\x00A: a\r\n\r\n", badLine},
	"a NUL in a value":                 {200, "X-A: a\x00b\r\n\r\n", badLine},
	"a second status line":             {200, "HTTP/1.1 500 X\r\n\r\n", badLine},
	"HTML at once":                     {500, "<html><body>oops</body></html>\r\n\r\n", badLine},
	"nothing behind it":                {200, "", cutOff},
	"the end within a name":            {410, "Content-Le", cutOff},
	"the end within a value":           {200, "Content-Length: 1", cutOff},
	"the end before the empty line":    {503, "Content-Length: 0\r\n", cutOff},
	"a value that is folded":           {200, "X-A: a\r\n b\r\nContent-Length: 0\r\n\r\n", ""},
	"lone line feeds":                  {410, "X-A: a\nContent-Length: 0\n\n", ""},
	"a length and a coding":            {200, "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
	"no headers at all":                {200, "\r\n", ""},
	"a length that is never delivered": {503, "Content-Length: 9\r\n\r\n", ""},
}

// transports are the ways of an answer: serve speaks HTTP on each connection, with TLS and a proxy below it or without.
var transports = map[string]func(t *testing.T, serve func(net.Conn, int)) (
	s *sender, url string, connections *atomic.Int32,
){
	"http": func(t *testing.T, serve func(net.Conn, int)) (*sender, string, *atomic.Int32) {
		t.Helper()
		url, connections := tcpServer(t, serve)
		return localSender(t, longTimeouts()), url, connections
	},
	"https": func(t *testing.T, serve func(net.Conn, int)) (*sender, string, *atomic.Int32) {
		t.Helper()
		b, s := overTLS(t, serve), localSender(t, longTimeouts())
		url, dial, connections := b.listen(t, s.policy)
		s.transport.TLSClientConfig.RootCAs, s.transport.DialContext = b.roots, dial
		return s, url, connections
	},
	"http by a proxy": func(t *testing.T, serve func(net.Conn, int)) (*sender, string, *atomic.Int32) {
		t.Helper()
		proxy, connections := tcpServer(t, serve)
		return senderByProxy(t, strings.TrimSuffix(proxy, "/hook"), nil,
			defaultConfig), "http://example.com/hook", connections
	},
	"https by a proxy": func(t *testing.T, serve func(net.Conn, int)) (*sender, string, *atomic.Int32) {
		t.Helper()
		b := overTLS(t, serve)
		url, connections := tcpServer(t, b.serveFunc())
		proxy := httptest.NewServer(
			tunnel(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/hook"), new(bytes.Buffer)),
		)
		t.Cleanup(proxy.Close)
		s := senderByProxy(t, proxy.URL, nil, defaultConfig)
		s.transport.TLSClientConfig.RootCAs = b.roots
		return s, "https://hooks.example.com/hook", connections
	},
}

func overTLS(t *testing.T, serve func(net.Conn, int)) receiverCase {
	t.Helper()
	own, roots := certificate(t, "hooks.example.com", time.Now().Add(24*time.Hour))
	return receiverCase{serve: serve, tls: &tls.Config{Certificates: []tls.Certificate{own}}, roots: roots}
}

func TestTheStatusLineDecidesWhateverFollowsIt(t *testing.T) {
	for way, open := range transports {
		t.Run(way, func(t *testing.T) {
			answer := ""
			s, url, connections := open(t, func(conn net.Conn, n int) { answerText(answer)(conn, n) })
			for name, c := range malformedAnswers {
				answer = fmt.Sprintf("HTTP/1.1 %d X\r\n%s", c.status, c.rest)
				connections.Store(0)
				want, detail := classifyStatus(c.status)
				if c.flaw != "" {
					detail = strings.TrimSuffix(detail, ".") + "; " + c.flaw + "."
				}
				if a := sendAndCheck(t, s, url, want, c.status); a.Detail != detail {
					t.Errorf("%s: detail is %q, want %q", name, a.Detail, detail)
				}
				if got := connections.Load(); got != 1 {
					t.Errorf("%s: it was posted %d times", name, got)
				}
			}
		})
	}
}

func TestEveryValidStatusLineIsAccepted(t *testing.T) {
	for answer, status := range map[string]int{
		"HTTP/1.1 200 OK\r\nbad\r\n\r\n":                                            200,
		"HTTP/1.1  200 OK\r\nbad\r\n\r\n":                                           200,
		"HTTP/1.1 200\r\nbad\r\n\r\n":                                               200,
		"HTTP/1.1 200 \r\nbad\r\n\r\n":                                              200,
		"HTTP/1.0 299 OK\r\nbad\r\n\r\n":                                            299,
		"HTTP/1.0 200 OK\r\n\r\nok":                                                 200,
		"HTTP/1.1 503 d\xe9sol\xe9, 200 OK\r\nbad\r\n\r\n":                          503,
		"HTTP/1.1 410 Gone\nbad\n\n":                                                410,
		"HTTP/1.1 999 X\r\n":                                                        999,
		"HTTP/1.1 101 X\r\nbad\r\n\r\nHTTP/1.1 200 X\r\n":                           101,
		"HTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 410 X\r\nbad":                       410,
		"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 102 X\r\n\r\nHTTP/1.1 200 X\r\nbad\r\n\r\n": 200,
	} {
		url, connections := tcpServer(t, answerText(answer))
		want, _ := classifyStatus(status)
		sendAndCheck(t, localSender(t, longTimeouts()), url, want, status)
		if got := connections.Load(); got != 1 {
			t.Errorf("%q: it was posted %d times", answer, got)
		}
	}
	for _, answer := range []string{
		"", "\r\n", "H", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 200", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r",
		"HTTP/1.1 20\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 ok OK\r\n\r\n", "HTTP/1.1\t200 OK\r\n\r\n",
		"HTTP/1.1 000 X\r\n\r\n", "HTTP/1.1 +20 X\r\n\r\n", "HTTP/1.1 -20 X\r\nbad\r\n\r\n",
		"HTTP/1.1 020 X\r\nbad\r\n\r\n",
		"HTTP 200 OK\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "http/1.1 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"200 OK\r\n\r\n", "SSH-2.0-x\r\n\r\n",
		"\r\nHTTP/1.1 200 OK\r\n\r\n", " HTTP/1.1 200 OK\r\n\r\n", "nonsense\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 103 X\r\nA: b\r\n\r\n",
		"HTTP/1.1 020 X\r\nbad\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 103 X\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK",
		"HTTP/1.1 200 " + strings.Repeat("O", maxAnswerHeaders) + "K\r\n\r\n", "<html>HTTP/1.1 200 OK\r\n\r\n",
	} {
		url, _ := tcpServer(t, answerText(answer))
		sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptConnection, 0)
	}
}

func TestRetryAfterOfAMalformedAnswerCountsIfItIsReadable(t *testing.T) {
	for rest, want := range map[string]time.Duration{
		"Retry-After: 120\r\nbad\r\n\r\n":                           2 * time.Minute,
		"bad\r\nretry-after:120\r\n\r\n":                            2 * time.Minute,
		"Retry-After : 120\r\nbad\r\n\r\n":                          0, // another header name
		"Retry-After: Wed, 28 Jan 2026 13:00:00 GMT\r\n: x\r\n\r\n": time.Hour,
		"Transfer-Encoding: identity\r\nRetry-After: 60\r\n\r\n":    time.Minute,
		"Retry-After: 60\r\nRetry-After: 90\r\nbad\r\n\r\n":         time.Minute,
		"Retry-After: 60\r\n":                                       time.Minute,
		// the value may be incomplete
		"Retry-After: 60":                  0,
		"Retry-After: 6\x000\r\n\r\n":      0,
		"Retry-After: soon\r\nbad\r\n\r\n": 0,
		"bad\r\n\r\nRetry-After: 60\r\n":   0, // part of the body
		"X-A: " + strings.Repeat("a", maxAnswerHeaders) + "\r\nRetry-After: 60\r\n\r\n": 0,
		"Retry-After: 60\r\nX-A: " + strings.Repeat("a", maxAnswerHeaders) + "\r\n\r\n": time.Minute,
	} {
		url, _ := tcpServer(t, answerText("HTTP/1.1 503 X\r\n"+rest))
		s := localSender(t, longTimeouts())
		s.now = func() time.Time { return testNoon }
		if a := sendAndCheck(t, s, url, execution.AttemptStatus, 503); a.RetryAfter != want {
			t.Errorf("%.60q: got %v, want %v", rest, a.RetryAfter, want)
		}
	}
	url, _ := tcpServer(t, answerText("HTTP/1.1 200 X\r\nRetry-After: 60\r\nbad\r\n\r\n"))
	if a := sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptSucceeded, 200); a.RetryAfter != 0 {
		t.Errorf("a success: got %v", a.RetryAfter)
	}
}

func TestAnAnswerIsNotMistakenForThatOfAnEarlierAttempt(t *testing.T) {
	for way, open := range transports {
		second := ""
		s, url, connections := open(t, func(conn net.Conn, _ int) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			readRequest(conn)
			_, _ = io.WriteString(conn, second)
		})
		sendAndCheck(t, s, url, execution.AttemptSucceeded, 200)
		second = "HTTP/1.1 410 X\r\nbad\r\n\r\n"
		sendAndCheck(t, s, url, execution.AttemptStatus, 410)
		if got := connections.Load(); got != 1 {
			t.Errorf("%s: %d connections, want that the first is used again", way, got)
		}
		sendAndCheck(t, s, url, execution.AttemptSucceeded, 200)
		second = "nonsense\r\n\r\n"
		later := aDelivery(url)
		later.Attempts = 1 // a later attempt is not repeated at once
		if a, err := s.send(t.Context(), later); a.Outcome != execution.AttemptConnection || a.StatusCode != 0 {
			t.Errorf("%s: nonsense on a connection that is used again: got %+v, %v", way, a, err)
		}
	}
}

func TestAProxysAnswerToConnectIsNotTheReceiversAnswer(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
		"HTTP/1.1 200 OK\r\nbad\r\n\r\n",
		"HTTP/1.1 204 X\r\n\r\n", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 410 Gone\r\nbad\r\n\r\n",
		"HTTP/1.1 302 X\r\nLocation: https://example.com/\r\n\r\n", "HTTP/1.1 407 X\r\n\r\n", "", "nonsense\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", maxAnswerHeaders) + "\r\n\r\n",
	} {
		proxy, _ := tcpServer(t, answerText(answer))
		a := sendAndCheck(t, senderByProxy(t, strings.TrimSuffix(proxy, "/hook"), nil, defaultConfig),
			"https://example.com/hook", execution.AttemptConnection, 0)
		if want := "The egress proxy made no connection to the receiver."; a.Detail != want {
			t.Errorf("%.60q: detail is %q, want %q", answer, a.Detail, want)
		}
	}
	// The tunnel is open, and its other end speaks HTTP without TLS, closes the connection, or resets it.
	resets := func(conn net.Conn, _ int) { _, _ = conn.Read(make([]byte, 16)); reset(conn) }
	for _, serve := range []func(net.Conn, int){answerCanary, closeAtOnce, resets} {
		url, _ := tcpServer(t, serve)
		proxy := httptest.NewServer(
			tunnel(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/hook"), new(bytes.Buffer)),
		)
		a, err := senderByProxy(t, proxy.URL, nil,
			defaultConfig).send(t.Context(), aDelivery("https://example.com/hook"))
		if a.StatusCode != 0 || a.Outcome == execution.AttemptSucceeded {
			t.Errorf("got %+v, %v", a, err)
		}
		proxy.Close()
	}
}

func TestAProxyThatDoesNotAnswerConnectIsATimeout(t *testing.T) {
	proxy, _ := tcpServer(t, neverAnswer)
	c := Defaults()
	c.Proxy = strings.TrimSuffix(proxy, "/hook")
	l := longTimeouts()
	l.total = 50 * time.Millisecond
	s := newSender(c, newTestPolicy(t, func(p *Config) { *p = c }), fakeUnsealer{}, "1.2.3", l)
	sendAndCheck(t, s, "https://example.com/hook", execution.AttemptTimeout, 0)
	e := egressProxy{
		proxy:   &url.URL{Scheme: "http", Host: strings.TrimPrefix(c.Proxy, "http://")},
		connect: l.connect,
		total:   l.total,
	}
	if _, err := e.tunnel(t.Context(), "tcp", "example.com:443"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the tunnel: got %v, want %v", err, context.DeadlineExceeded)
	} else if outcome, _ := classifyError(err); outcome != execution.AttemptTimeout {
		t.Errorf("the tunnel: got %s, want %s", outcome, execution.AttemptTimeout)
	}
}

func TestBytesOfAnAbandonedConnectionAreDropped(t *testing.T) {
	trace := new(connTrace)
	for range 2 { // net/http uses another connection if the first was closed while idle
		trace.clientTrace().GotConn(httptrace.GotConnInfo{Conn: recordConn(nil)})
		trace.recordBytes([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"), true)
	}
	trace.clientTrace().GotConn(httptrace.GotConnInfo{Conn: recordConn(nil)})
	if head, ended := trace.stopRecording(); len(head) > 0 || ended {
		t.Errorf("got %q, ended %t", head, ended)
	}
}

func TestOnlyTheBeginningOfAnAnswerIsRecorded(t *testing.T) {
	trace := &connTrace{recording: true}
	for range 100 {
		trace.recordBytes(make([]byte, 4000), false)
	}
	if head, _ := trace.stopRecording(); len(head) != maxAnswerHeaders {
		t.Errorf("%d bytes were kept, want %d", len(head), maxAnswerHeaders)
	}
	trace.recordBytes([]byte("a body"), true)
	if head, _ := trace.stopRecording(); len(head) != 0 {
		t.Errorf("%q was kept after the headers had been read", head)
	}
	url, _ := tcpServer(t, answerText("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000)))
	s := localSender(t, longTimeouts())
	_, heard, err := s.attempt(t.Context(), aDelivery(url))
	if head, _ := heard.stopRecording(); err != nil || len(head) != 0 {
		t.Errorf("%d bytes are kept after an attempt, %v", len(head), err)
	}
}

func TestAFetchOfAMalformedAnswerFails(t *testing.T) {
	url, _ := tcpServer(t, answerText("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\ncontent"))
	c := Defaults()
	c.RevealExceptions = true
	f, err := NewFetcher(c, []address.Range{address.MustParseRange("127.0.0.0/8")}, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Fetch(t.Context(), "files[0].url", url, 1<<20); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}
