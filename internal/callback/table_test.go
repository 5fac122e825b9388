package callback

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/execution"
)

// receiverCase is a scripted receiver, and the expected record after the first attempt of a delivery to it.
type receiverCase struct {
	serve func(conn net.Conn, n int) // script of connection number n, from 1
	tls   *tls.Config                // nil for plain HTTP
	roots *x509.CertPool             // trusted together with tls
	slow  bool                       // the attempt uses its whole timeout, so it runs in a bubble
	again bool                       // the connection is idle after an earlier delivery

	outcome     execution.AttemptOutcome
	status      int
	detail      string // part of the attempt's detail
	answer      string
	state       execution.DeliveryState
	reason      execution.DeadReason
	pause       time.Duration // until the next attempt
	connections int32         // 0 means 1
}

// answerText answers the first request of each connection with text and closes the connection.
func answerText(text string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		readRequest(conn)
		_, _ = io.WriteString(conn, text)
	}
}

// answerStatus answers with a status and an empty body.
func answerStatus(status int, headers ...string) func(net.Conn, int) {
	return answerText(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n%s\r\n", status, headerLines(headers)))
}

func headerLines(headers []string) string {
	var text strings.Builder
	for _, header := range headers {
		text.WriteString(header + "\r\n")
	}
	return text.String()
}

// repeatForever sends begin and then again repeatedly, until the connection is closed.
func repeatForever(begin, again string) func(net.Conn, int) {
	return func(conn net.Conn, n int) {
		answerText(begin)(conn, n)
		for {
			if _, err := io.WriteString(conn, again); err != nil {
				return
			}
		}
	}
}

// repeatSlowly sends begin and then again repeatedly with pauses, until the connection is closed.
func repeatSlowly(begin, again string) func(net.Conn, int) {
	return func(conn net.Conn, n int) {
		answerText(begin)(conn, n)
		for {
			if _, err := io.WriteString(conn, again); err != nil {
				return
			}
			<-time.After(100 * time.Millisecond)
		}
	}
}

// stallAfter sends text and leaves the connection open.
func stallAfter(text string) func(net.Conn, int) {
	return func(conn net.Conn, n int) {
		answerText(text)(conn, n)
		neverAnswer(conn, n)
	}
}

// byConnection gives every connection a script of its own; the last one serves all further connections.
func byConnection(serve ...func(net.Conn, int)) func(net.Conn, int) {
	return func(conn net.Conn, n int) { serve[min(n, len(serve))-1](conn, n) }
}

func neverAnswer(conn net.Conn, _ int) { _, _ = io.Copy(io.Discard, conn) }
func closeAtOnce(net.Conn, int)        {}
func readAndClose(c net.Conn, _ int)   { readRequest(c) }
func readAndReset(c net.Conn, n int)   { readAndClose(c, n); reset(c) }
func answerAndReset(c net.Conn, _ int) {
	answerStatus(200)(c, 1)
	readAndReset(c, 1)
}

// pending expects the outcome of most failures.
func (b receiverCase) pending(pause time.Duration) receiverCase {
	b.state, b.pause = execution.Pending, pause
	return b
}

func (b receiverCase) delivered() receiverCase {
	b.outcome, b.state = execution.AttemptSucceeded, execution.Delivered
	return b
}

func (b receiverCase) dead(reason execution.DeadReason) receiverCase {
	b.state, b.reason = execution.Dead, reason
	return b
}

// failingReceiver answers with a status that is a failure.
func failingReceiver(status int, detail string, headers ...string) receiverCase {
	return receiverCase{
		serve:   answerStatus(status, headers...),
		outcome: execution.AttemptStatus,
		status:  status,
		detail:  detail,
	}
}

// testNoon is the time of all attempts in the table.
var testNoon = time.Date(2026, 1, 28, 12, 0, 0, 0, time.UTC)

// receivers returns the table: the behaviour of each receiver, and the expected state of its delivery.
func receivers(t *testing.T, elsewhere string) map[string]receiverCase {
	t.Helper()
	const first, busy = 5 * time.Second, time.Minute
	table := map[string]receiverCase{
		"200": receiverCase{
			serve:  answerText("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
			status: 200,
			detail: "answered 200",
			answer: "ok",
		}.delivered(),
		"200 without a length": receiverCase{
			serve:  answerText("HTTP/1.1 200 OK\r\n\r\nok"),
			status: 200,
			answer: "ok",
		}.delivered(),
		"204": receiverCase{serve: answerStatus(204), status: 204, detail: "answered 204"}.delivered(),
		"100 and 200": receiverCase{
			serve:  answerText("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
			status: 200,
		}.delivered(),

		"400":                  failingReceiver(400, "answered 400").pending(first),
		"404":                  failingReceiver(404, "answered 404").pending(first),
		"410":                  failingReceiver(410, "answered 410").dead(execution.Gone),
		"410 with Retry-After": failingReceiver(410, "", "Retry-After: 10").dead(execution.Gone),
		"429":                  failingReceiver(429, "answered 429").pending(busy),
		"429 with few seconds": failingReceiver(429, "", "Retry-After: 10").pending(busy),
		"429 with seconds":     failingReceiver(429, "", "Retry-After: 120").pending(2 * time.Minute),
		"429 with a date": failingReceiver(429, "", "Retry-After: Wed, 28 Jan 2026 13:00:00 GMT").
			pending(time.Hour),
		"429 with a date that is past": failingReceiver(429, "",
			"Retry-After: Wed, 28 Jan 2026 11:00:00 GMT").pending(busy),
		"429 with a date in years": failingReceiver(429, "",
			"Retry-After: Mon, 28 Jan 2030 11:00:00 GMT").pending(24 * time.Hour),
		"429 with seconds beyond a day": failingReceiver(429, "", "Retry-After: 999999").pending(24 * time.Hour),
		"429 with nonsense":             failingReceiver(429, "", "Retry-After: later").pending(busy),
		"500":                           failingReceiver(500, "answered 500").pending(first),
		"500 with Retry-After":          failingReceiver(500, "", "Retry-After: 30").pending(30 * time.Second),
		"500 with less than is planned": failingReceiver(500, "", "Retry-After: 1").pending(first),
		"502":                           failingReceiver(502, "answered 502").pending(busy),
		"503":                           failingReceiver(503, "answered 503").pending(first),
		"503 with a date": failingReceiver(503, "",
			"Retry-After: Wed, 28 Jan 2026 12:10:00 GMT").pending(10 * time.Minute),
		"504": failingReceiver(504, "answered 504").pending(busy),
		"101": failingReceiver(101, "answered 101", "Connection: Upgrade", "Upgrade: x").pending(first),
	}
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		b := failingReceiver(status, "redirects are not followed", "Location: "+elsewhere).pending(first)
		b.outcome = execution.AttemptRedirect
		table[fmt.Sprintf("%d to a private address", status)] = b
	}
	addSlow(table)
	addExcessive(table)
	addBroken(table)
	addInsecure(t, table)
	return table
}

func addSlow(table map[string]receiverCase) {
	const head = "HTTP/1.1 200 OK\r\n"
	slow := receiverCase{
		slow:    true,
		outcome: execution.AttemptTimeout,
		detail:  "did not answer in time",
	}.pending(time.Minute)
	for name, serve := range map[string]func(net.Conn, int){
		"no answer":              neverAnswer,
		"headers that drip":      repeatSlowly(head, "X-A: b\r\n"),
		"a status that drips":    repeatSlowly("HTTP/1.1 200 ", "O"),
		"1xx answers that drip":  repeatSlowly("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"headers without an end": stallAfter(head),
	} {
		slow.serve = serve
		table[name] = slow
	}
	table["no answer to a TLS handshake"] = receiverCase{
		serve: neverAnswer, tls: &tls.Config{}, slow: true, outcome: execution.AttemptTimeout,
		detail: "did not answer in time",
	}.pending(time.Minute)
	table["a body that drips"] = receiverCase{
		serve:  repeatSlowly(head+"\r\n", "x"),
		slow:   true,
		status: 200,
		answer: "x",
	}.delivered()
	table["a body that stops"] = receiverCase{
		serve:  stallAfter(head + "Content-Length: 9\r\n\r\nbegin"),
		slow:   true,
		status: 200,
		answer: "begin",
	}.delivered()
	table["a failure whose body stops"] = receiverCase{
		serve:   stallAfter("HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nbegin"),
		slow:    true,
		outcome: execution.AttemptStatus,
		status:  500,
		answer:  "begin",
	}.pending(5 * time.Second)
}

func addExcessive(table map[string]receiverCase) {
	kept := strings.Repeat("0123456789abcdef", maxAnswerKept/16)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 4<<20))
	_ = z.Close()
	zipped := bomb.String()
	table["an endless body"] = receiverCase{
		serve:  repeatForever("HTTP/1.1 200 OK\r\n\r\n", kept),
		status: 200,
		answer: kept,
	}.delivered()
	table["an endless body in chunks"] = receiverCase{
		serve: repeatForever("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
			"10\r\n0123456789abcdef\r\n"), status: 200, answer: kept,
	}.delivered()
	table["a gzip bomb"] = receiverCase{
		serve: answerText(
			fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s",
				len(zipped), zipped),
		),
		status: 200, answer: zipped,
	}.delivered()
	// Two connections each, because the receiver may just be starting.
	unreadable := receiverCase{outcome: execution.AttemptConnection, connections: 2}.pending(5 * time.Second)
	for name, serve := range map[string]func(net.Conn, int){
		"endless 1xx answers":      repeatForever("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"an endless status line":   repeatForever("HTTP/1.1 200 O", "K"),
		"another protocol":         answerText("SSH-2.0-OpenSSH_9.6\r\n\r\n"),
		"a status that is not one": answerText("HTTP/1.1 ok OK\r\n\r\n"),
	} {
		unreadable.serve = serve
		table[name] = unreadable
	}
	// The status line decides, after one connection.
	large := receiverCase{status: 200, detail: "more than 32 KiB"}.delivered()
	for name, serve := range map[string]func(net.Conn, int){
		"endless headers":     repeatForever("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
		"headers over 32 KiB": answerStatus(200, "X-A: "+strings.Repeat("a", maxAnswerHeaders)),
	} {
		large.serve = serve
		table[name] = large
	}
	table["two lengths"] = receiverCase{
		serve:  answerText("HTTP/1.1 410 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
		status: 410, outcome: execution.AttemptStatus, detail: "answered 410; its Content-Length",
	}.dead(execution.Gone)
}

func addBroken(table map[string]receiverCase) {
	broken := receiverCase{outcome: execution.AttemptConnection, connections: 2}.pending(5 * time.Second)
	for name, serve := range map[string]func(net.Conn, int){
		"hangs up before the request": closeAtOnce,
		"hangs up after the request":  readAndClose,
		"resets after the request":    readAndReset,
		"hangs up within the status":  answerText("HTTP/1.1 200 OK"),
	} {
		broken.serve, broken.detail = serve, "broke off"
		table[name] = broken
	}
	arrived := receiverCase{connections: 2, status: 200}.delivered()
	for name, first := range map[string]func(net.Conn, int){
		"hangs up, and answers at once":   closeAtOnce,
		"resets, and answers at once":     readAndReset,
		"speaks nonsense, and then sense": answerText("nonsense\r\n\r\n"),
	} {
		arrived.serve = byConnection(first, answerStatus(200))
		table[name] = arrived
	}
	arrived.again = true
	for name, first := range map[string]func(net.Conn, int){
		"a reused connection that was closed": answerStatus(200),
		"a reused connection that is reset":   answerAndReset,
	} {
		arrived.serve = byConnection(first, answerStatus(200))
		table[name] = arrived
	}
	table["hangs up within the headers"] = receiverCase{
		serve:   answerText("HTTP/1.1 503 OK\r\nRetry-After: 30\r\nX-A: b"),
		status:  503,
		outcome: execution.AttemptStatus,
		detail:  "broke off",
	}.pending(30 * time.Second)
	table["hangs up within the body"] = receiverCase{
		serve:  answerText("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin"),
		status: 200,
		answer: "begin",
	}.delivered()
}

func addInsecure(t *testing.T, table map[string]receiverCase) {
	t.Helper()
	tomorrow := time.Now().Add(24 * time.Hour)
	good, trusted := certificate(t, "hooks.example.com", tomorrow)
	expired, trustedExpired := certificate(t, "hooks.example.com", time.Now().Add(-time.Hour))
	early, trustedEarly := certificate(t, "hooks.example.com", time.Now().Add(72*time.Hour))
	other, trustedOther := certificate(t, "other.example.com", tomorrow)
	with := func(c tls.Certificate, least, most uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: least, MaxVersion: most}
	}
	secure := func(c *tls.Config, roots *x509.CertPool) receiverCase {
		return receiverCase{serve: answerStatus(200), tls: c, roots: roots}
	}
	insecure := func(c *tls.Config, roots *x509.CertPool, detail string) receiverCase {
		b := secure(c, roots)
		b.outcome, b.detail = execution.AttemptTLS, detail
		return b.pending(5 * time.Second)
	}
	for name, version := range map[string]uint16{"TLS 1.3": tls.VersionTLS13, "TLS 1.2": tls.VersionTLS12} {
		b := secure(with(good, version, version), trusted).delivered()
		b.status = 200
		table[name] = b
	}
	table["TLS 1.1"] = insecure(with(good, tls.VersionTLS10, tls.VersionTLS11), trusted, "handshake failed")
	table["TLS 1.0"] = insecure(with(good, tls.VersionTLS10, tls.VersionTLS10), trusted, "handshake failed")
	table["expired"] = insecure(with(expired, 0, 0), trustedExpired, "expired or is not valid yet")
	table["not valid yet"] = insecure(with(early, 0, 0), trustedEarly, "expired or is not valid yet")
	table["self-signed"] = insecure(with(good, 0, 0), x509.NewCertPool(),
		"not signed by an authority that this server trusts")
	table["another name"] = insecure(with(other, 0, 0), trustedOther, "for another name")
}

// listen serves b and counts its connections: at 127.0.0.1, or in a bubble without sockets.
func (b receiverCase) listen(t *testing.T, p *Policy) (url string, dial dialFunc, connections *atomic.Int32) {
	t.Helper()
	scheme, host := "http", "hooks.example.com"
	if b.tls != nil {
		scheme = "https"
	}
	if b.slow {
		dial, connections = b.piped()
	} else {
		url, connections = tcpServer(t, b.serveFunc())
		dial = withoutExceptions(dialerWithDNS(p, map[string][][]string{host: {{"127.0.0.1"}}}).dial)
		host = strings.Replace(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/hook"), "127.0.0.1", host, 1)
	}
	return scheme + "://" + host + "/hook", dial, connections
}

// piped connects to b without a socket.
func (b receiverCase) piped() (dial dialFunc, connections *atomic.Int32) {
	connections = new(atomic.Int32)
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		n := int(connections.Add(1))
		go func() {
			defer closeConn(server)
			b.serveFunc()(server, n)
		}()
		return &guardedConn{Conn: recordConn(client)}, nil
	}, connections
}

// serveFunc returns the script of b on a raw connection.
func (b receiverCase) serveFunc() func(net.Conn, int) {
	if b.tls == nil || b.tls.Certificates == nil {
		return b.serve
	}
	return func(conn net.Conn, n int) {
		secured := tls.Server(conn, b.tls)
		b.serve(secured, n)
		_ = secured.Close()
	}
}

// runCase sends deliveries to b one after the other. It returns the record of the last one, and its number of
// connections.
func (b receiverCase) runCase(t *testing.T) (execution.Delivery, execution.Attempt, int32) {
	t.Helper()
	s := localSender(t, longTimeouts())
	url, dial, connections := b.listen(t, s.policy)
	s.transport.TLSClientConfig.RootCAs = b.roots
	s.transport.DialContext = dial
	s.now = func() time.Time { return testNoon }
	logger, _ := logtest.NewNullLogger()
	m := newMemoryStore()
	d := NewDeliverer(Defaults(), Deps{
		Store: m, Unsealer: fakeUnsealer{}, Policy: s.policy, Version: "1.2.3", Log: logrus.NewEntry(logger),
	})
	d.sender, d.jitter = s, func() float64 { return 0.5 }
	ctx, quit := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	defer func() {
		quit()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	last := b.deliver(t, m, url, 1)
	if b.again {
		last = b.deliver(t, m, url, 2)
	}
	return last, m.attempts[len(m.attempts)-1], connections.Load()
}

// deliver waits until execution number n has had its first attempt.
func (b receiverCase) deliver(t *testing.T, m *memoryStore, url string, n int) execution.Delivery {
	t.Helper()
	d := aDelivery(url)
	d.Execution, d.NextAt = deliveryTo("", n).Execution, testNoon
	m.add(d)
	for m.get(d.Execution).Attempts == 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("there was no attempt")
		case <-time.After(time.Millisecond):
		}
	}
	return m.get(d.Execution)
}

func TestEveryBehaviourOfAReceiverHasItsDocumentedOutcome(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }),
	)
	t.Cleanup(elsewhere.Close)
	for name, want := range receivers(t, elsewhere.URL) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if want.slow {
				synctest.Test(t, func(t *testing.T) {
					want.check(t)
					sleep(time.Minute) // the receiver sees the closed connection
				})
				return
			}
			want.check(t)
		})
	}
}

// check runs b and compares the record with the expected one.
func (b receiverCase) check(t *testing.T) {
	t.Helper()
	d, a, connections := b.runCase(t)
	if a.Outcome != b.outcome || a.StatusCode != b.status || !strings.Contains(a.Detail, b.detail) || a.Detail == "" {
		t.Errorf("recorded %q, %d, %q; want %q, %d, %q",
			a.Outcome, a.StatusCode, a.Detail, b.outcome, b.status, b.detail)
	}
	if got := string(a.Answer); got != b.answer && (!b.slow || !strings.HasPrefix(got, b.answer)) {
		t.Errorf("kept %d bytes, %.40q; want %d, %.40q", len(got), got, len(b.answer), b.answer)
	}
	if a.Number != 1 || d.Attempts != 1 {
		t.Errorf("attempt %d of %d, want the only one", a.Number, d.Attempts)
	}
	if d.State != b.state || d.Reason != b.reason {
		t.Errorf("the delivery is %s (%s), want %s (%s)", d.State, d.Reason, b.state, b.reason)
	}
	if pause := d.NextAt.Sub(testNoon); d.State == execution.Pending && pause != b.pause {
		t.Errorf("the next attempt is after %v, want %v", pause, b.pause)
	}
	if want := max(b.connections, 1); connections != want {
		t.Errorf("%d connections, want %d", connections, want)
	}
}
