package callback

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// longTimeouts returns timeouts that no test reaches unless it hangs.
func longTimeouts() timeouts {
	return timeouts{connect: 20 * time.Second, tls: 20 * time.Second, total: 20 * time.Second}
}

// localSender returns a sender that may send to loopback and treats it as public, so that answers are kept.
func localSender(t *testing.T, l timeouts) *sender {
	t.Helper()
	s := newSender(Defaults(), newTestPolicy(t, allowLoopback), fakeUnsealer{}, "1.2.3", l)
	s.transport.DialContext = withoutExceptions(s.transport.DialContext)
	t.Cleanup(s.transport.CloseIdleConnections)
	return s
}

// withoutExceptions clears the exception flag of the connections of dial.
func withoutExceptions(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if v, ok := conn.(*guardedConn); ok {
			v.excepted = false
		}
		return conn, err
	}
}

// sendAndCheck makes one attempt and checks its outcome.
func sendAndCheck(t *testing.T, s *sender, url string, want execution.AttemptOutcome, status int) execution.Attempt {
	t.Helper()
	a, err := s.send(t.Context(), aDelivery(url))
	if a.Outcome != want || a.StatusCode != status {
		t.Errorf("%s: got %q with status %d (%s; %v), want %q with %d",
			url, a.Outcome, a.StatusCode, a.Detail, err, want, status)
	}
	if a.Detail == "" || strings.Contains(a.Detail, "127.0.0.1") {
		t.Errorf("detail is %q", a.Detail)
	}
	return a
}

func TestTheStatusDecidesTheOutcome(t *testing.T) {
	elsewhere := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }),
	)
	defer elsewhere.Close()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Path[1:])
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	for want, statuses := range map[execution.AttemptOutcome][]int{
		execution.AttemptSucceeded: {200, 201, 202, 204, 226, 299},
		execution.AttemptRedirect:  {300, 301, 302, 303, 304, 305, 307, 308},
		execution.AttemptStatus:    {400, 401, 404, 410, 418, 429, 500, 502, 503, 504, 599, 999},
	} {
		for _, status := range statuses {
			sendAndCheck(t, s, receiver.URL+"/"+strconv.Itoa(status), want, status)
		}
	}
}

func TestRetryAfterIsReadFromEveryFailure(t *testing.T) {
	now := time.Date(2025, 1, 28, 0, 0, 0, 0, time.UTC)
	status, header := 0, ""
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", header)
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	s.now = func() time.Time { return now }
	for _, c := range []struct {
		status int
		header string
		want   time.Duration
	}{
		{429, "120", 2 * time.Minute},
		{503, "Tue, 28 Jan 2025 00:10:00 GMT", 10 * time.Minute},
		{302, "5", 5 * time.Second},
		{200, "120", 0},
		{429, "", 0},
		{429, "0", 0},
		{429, "-5", 0},
		{429, "1.5", 0},
		{429, "soon", 0},
		{429, "Mon, 27 Jan 2025 00:00:00 GMT", 0},
		{429, "99999999999999999999999", maxRetryAfter},
		{429, "2147483648", maxRetryAfter},
	} {
		status, header = c.status, c.header
		a, _ := s.send(t.Context(), aDelivery(receiver.URL))
		if a.RetryAfter != c.want {
			t.Errorf("%d with %q: got %v, want %v", c.status, c.header, a.RetryAfter, c.want)
		}
	}
}

func TestAnswerIsKeptUpTo16KiBAndReadUpTo64(t *testing.T) {
	whole := strings.Repeat("0123456789abcdef", maxAnswerRead/16)
	var written atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/short" {
			_, _ = io.WriteString(w, "short")
			return
		}
		for {
			n, err := io.WriteString(w, whole)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	if a := sendAndCheck(t, s, receiver.URL+"/short", execution.AttemptSucceeded, 200); string(a.Answer) != "short" {
		t.Errorf("got %q", a.Answer)
	}
	a := sendAndCheck(t, s, receiver.URL+"/endless", execution.AttemptSucceeded, 200)
	if string(a.Answer) != whole[:16<<10] {
		t.Errorf("kept %d bytes, want 16 KiB", len(a.Answer))
	}
	receiver.Close() // waits for the handler, whose writes go to a closed connection
	if got := written.Load(); got > 32<<20 {
		t.Errorf("%d bytes were taken from an endless answer", got)
	}
}

func TestAnswerOfADestinationThatAnExceptionOpenedIsNotKept(t *testing.T) {
	receiver := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }),
	)
	defer receiver.Close()
	s := newSender(Defaults(), newTestPolicy(t, allowLoopback), fakeUnsealer{}, "1.2.3", longTimeouts())
	for range 2 { // the second attempt reuses the connection
		if a := sendAndCheck(t, s, receiver.URL, execution.AttemptSucceeded, 200); a.Answer != nil {
			t.Errorf("kept %q", a.Answer)
		}
	}
}

func TestNothingIsDecompressed(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accepted := r.Header.Values("Accept-Encoding"); accepted != nil {
			t.Errorf("asked for %q", accepted)
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	defer receiver.Close()
	a := sendAndCheck(t, localSender(t, longTimeouts()), receiver.URL, execution.AttemptSucceeded, 200)
	if want := bomb.Bytes()[:min(bomb.Len(), maxAnswerKept)]; !bytes.Equal(a.Answer, want) {
		t.Errorf("kept %d bytes that are not the first %d of the body", len(a.Answer), len(want))
	}
}

func TestCookiesAreForgotten(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Error("a cookie came back")
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	}))
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	sendAndCheck(t, s, receiver.URL, execution.AttemptSucceeded, 200)
	sendAndCheck(t, s, receiver.URL, execution.AttemptSucceeded, 200)
}

// tcpServer accepts connections and calls serve on each; n counts them from 1.
func tcpServer(t *testing.T, serve func(conn net.Conn, n int)) (url string, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + l.Addr().String() + "/hook", serveTCP(t, l, serve)
}

// serveTCP accepts connections one after the other until the test ends.
func serveTCP(t *testing.T, l net.Listener, serve func(conn net.Conn, n int)) (connections *atomic.Int32) {
	t.Helper()
	connections = new(atomic.Int32)
	done := make(chan struct{})
	t.Cleanup(func() {
		closeConn(l)
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn, int(connections.Add(1)))
			closeConn(conn)
		}
	}()
	return connections
}

func TestBrokenAnswersAreConnectionErrors(t *testing.T) {
	forever := func(conn net.Conn, text string) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
	for name, serve := range map[string]func(net.Conn){
		"hangs up at once":    func(net.Conn) {},
		"hangs up when asked": func(conn net.Conn) { readRequest(conn) },
		"resets":              func(conn net.Conn) { readRequest(conn); reset(conn) },
		"breaks off": func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK")
		},
		"does not speak HTTP": func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n\r\n")
		},
		"endless 1xx answers": func(conn net.Conn) {
			readRequest(conn)
			forever(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		},
		"one endless header": func(conn net.Conn) { readRequest(conn); forever(conn, "HTTP/1.1 200 OK") },
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := tcpServer(t, func(conn net.Conn, _ int) { serve(conn) })
			sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptConnection, 0)
		})
	}
}

// reset makes the connection end with an RST.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func TestAnswersAtTheLimitOfHeadersAreTaken(t *testing.T) {
	url, _ := tcpServer(t, func(conn net.Conn, _ int) {
		readRequest(conn)
		_, _ = io.WriteString(conn,
			"HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", maxAnswerHeaders-256)+"\r\nContent-Length: 0\r\n\r\n")
	})
	sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptSucceeded, 200)
}

func TestSwitchingProtocolsIsAnImmediateFailure(t *testing.T) {
	released := make(chan struct{})
	url, _ := tcpServer(t, func(conn net.Conn, _ int) {
		readRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-released
	})
	sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptStatus, 101)
	close(released)
}

func TestAConnectionThatFailsAtOnceIsTriedOnceMore(t *testing.T) {
	url, connections := tcpServer(t, func(conn net.Conn, n int) {
		if n > 1 {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	if a := sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptSucceeded, 200); a.Number != 1 {
		t.Errorf("number = %d, want 1", a.Number)
	}
	if got := connections.Load(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}

	url, connections = tcpServer(t, func(net.Conn, int) {})
	sendAndCheck(t, localSender(t, longTimeouts()), url, execution.AttemptConnection, 0)
	if got := connections.Load(); got != 2 {
		t.Errorf("%d connections when both fail, want 2", got)
	}
	later := aDelivery(url)
	later.Attempts = 1
	if a, _ := localSender(t, longTimeouts()).send(t.Context(), later); a.Outcome != execution.AttemptConnection ||
		connections.Load() != 3 {
		t.Errorf("the second attempt: %q, %d connections in all, want 3", a.Outcome, connections.Load())
	}
}

func TestAnIdleConnectionThatDiedDoesNotFailTheAttempt(t *testing.T) {
	for name, die := range map[string]func(net.Conn){
		"closed while idle": func(net.Conn) {},
		"reset when used":   func(conn net.Conn) { readRequest(conn); reset(conn) },
	} {
		t.Run(name, func(t *testing.T) {
			url, connections := tcpServer(t, func(conn net.Conn, _ int) {
				readRequest(conn)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				die(conn)
			})
			s := localSender(t, longTimeouts())
			sendAndCheck(t, s, url, execution.AttemptSucceeded, 200)
			later := aDelivery(url)
			later.Attempts = 1 // a later attempt is not repeated at once
			if a, err := s.send(t.Context(), later); a.Outcome != execution.AttemptSucceeded {
				t.Errorf("got %q, %v", a.Outcome, err)
			}
			if got := connections.Load(); got != 2 {
				t.Errorf("%d connections, want 2", got)
			}
		})
	}
}

func TestAPortWithoutListenerIsARefusedConnection(t *testing.T) {
	receiver := httptest.NewServer(http.NotFoundHandler())
	receiver.Close()
	sendAndCheck(t, localSender(t, longTimeouts()), receiver.URL, execution.AttemptRefused, 0)
}

func TestAnAttemptHasTheDocumentedTimeouts(t *testing.T) {
	d := NewDeliverer(Defaults(), Deps{
		Store: newMemoryStore(), Unsealer: fakeUnsealer{}, Policy: newTestPolicy(t, defaultConfig), Version: "1.2.3",
	})
	if d.sender.timeout != 30*time.Second || d.sender.transport.TLSHandshakeTimeout != 5*time.Second ||
		defaultTimeouts().connect != 5*time.Second {
		t.Errorf("got %v in all, %v for TLS, %v to connect",
			d.sender.timeout, d.sender.transport.TLSHandshakeTimeout, defaultTimeouts().connect)
	}
}

func TestSilenceIsATimeout(t *testing.T) {
	released := make(chan struct{})
	url, _ := tcpServer(t, func(net.Conn, int) { <-released })
	defer close(released)
	sendAndCheck(t,
		localSender(t, timeouts{connect: 20 * time.Second, tls: 20 * time.Second, total: 50 * time.Millisecond}), url,
		execution.AttemptTimeout, 0)
	mute := localSender(t, longTimeouts())
	hanging := guardedDialer{policy: mute.policy, timeout: 50 * time.Millisecond, resolver: &net.Resolver{
		PreferGo: true,
		Dial:     func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
	}}
	mute.transport.DialContext = hanging.dial
	sendAndCheck(t, mute, "http://hooks.example.com/", execution.AttemptDNS, 0)
	secure := strings.Replace(url, "http:", "https:", 1)
	sendAndCheck(t,
		localSender(t, timeouts{connect: 20 * time.Second, tls: 50 * time.Millisecond, total: 20 * time.Second}),
		secure, execution.AttemptTimeout, 0)
}

func TestNamesThatDoNotResolveAreDNSErrors(t *testing.T) {
	s := localSender(t, longTimeouts())
	s.transport.DialContext = dialerWithDNS(s.policy, map[string][][]string{"empty.example.com": {{}}}).dial
	sendAndCheck(t, s, "http://unknown.example.com/", execution.AttemptDNS, 0)
	sendAndCheck(t, s, "http://empty.example.com/", execution.AttemptDNS, 0)
}

func TestClosedDestinationsAreBlockedWithoutRevealingTheAddress(t *testing.T) {
	s := localSender(t, longTimeouts())
	s.transport.DialContext = dialerWithDNS(s.policy, map[string][][]string{"evil.example.com": {{"10.11.12.13"}}}).dial
	a := sendAndCheck(t, s, "http://evil.example.com/", execution.AttemptBlocked, 0)
	if strings.Contains(a.Detail, "10.11") || !strings.Contains(a.Detail, "RFC 1918") {
		t.Errorf("detail is %q", a.Detail)
	}
	sendAndCheck(t, s, "http://169.254.169.254/", execution.AttemptBlocked, 0)
	sendAndCheck(t, s, "http://localhost/", execution.AttemptBlocked, 0)
}

func TestNothingIsSentUnsignedWhenTheSecretCannotBeRead(t *testing.T) {
	receiver := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came") }),
	)
	defer receiver.Close()
	s := localSender(t, longTimeouts())
	s.unsealer = fakeUnsealer{err: errors.New("another key")}
	sendAndCheck(t, s, receiver.URL, execution.AttemptConnection, 0)

	s.unsealer = fakeUnsealer{}
	d := aDelivery(receiver.URL)
	d.Callback.Secret = execution.Sealed(`["new"`)
	if a, err := s.send(t.Context(), d); err == nil || a.Outcome != execution.AttemptConnection {
		t.Errorf("half a list: got %+v, %v", a, err)
	}
}

func TestAProxyGetsTheNameAndItsAnswersAreNotKept(t *testing.T) {
	asked := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.RequestURI
		_, _ = io.WriteString(w, "inside")
	}))
	defer proxy.Close()
	c := Defaults()
	c.Proxy = proxy.URL
	s := newSender(c, newTestPolicy(t, defaultConfig), fakeUnsealer{}, "1.2.3", longTimeouts())
	defer s.transport.CloseIdleConnections()
	a := sendAndCheck(t, s, "http://hooks.example.com:8080/hook?a=b", execution.AttemptSucceeded, 200)
	if a.Answer != nil {
		t.Errorf("kept %q", a.Answer)
	}
	if want := "POST http://hooks.example.com:8080/hook?a=b"; asked != want {
		t.Errorf("the proxy was asked for %q, want %q", asked, want)
	}
	asked = ""
	sendAndCheck(t, s, "http://10.0.0.1/hook", execution.AttemptBlocked, 0)
	sendAndCheck(t, s, "http://db.internal/hook", execution.AttemptBlocked, 0)
	if asked != "" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

// certificate returns a self-signed certificate and the pool that trusts it.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{name},
		NotBefore:    until.Add(-48 * time.Hour),
		NotAfter:     until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSMustBeModernAndItsCertificateValid(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	good, trusted := certificate(t, "hooks.example.com", tomorrow)
	expired, trustedExpired := certificate(t, "hooks.example.com", time.Now().Add(-time.Hour))
	other, trustedOther := certificate(t, "other.example.com", tomorrow)
	for name, c := range map[string]struct {
		server *tls.Config
		roots  *x509.CertPool
		want   execution.AttemptOutcome
		status int
		detail string
	}{
		"TLS 1.3": {
			&tls.Config{Certificates: []tls.Certificate{good}}, trusted, execution.AttemptSucceeded, 200, "200",
		},
		"TLS 1.2": {
			&tls.Config{Certificates: []tls.Certificate{good}, MaxVersion: tls.VersionTLS12}, trusted,
			execution.AttemptSucceeded, 200, "200",
		},
		"TLS 1.1": {
			&tls.Config{
				Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
			},
			trusted, execution.AttemptTLS, 0, "handshake",
		},
		"self-signed": {
			&tls.Config{Certificates: []tls.Certificate{good}}, x509.NewCertPool(), execution.AttemptTLS, 0,
			"not signed by an authority",
		},
		"expired": {
			&tls.Config{Certificates: []tls.Certificate{expired}}, trustedExpired, execution.AttemptTLS, 0, "expired",
		},
		"another name": {
			&tls.Config{Certificates: []tls.Certificate{other}}, trustedOther, execution.AttemptTLS, 0, "another name",
		},
		"wants a certificate of ours": {
			&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, trusted,
			execution.AttemptTLS, 0, "alert",
		},
		"wants a certificate of ours over TLS 1.2": {
			&tls.Config{
				Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert,
				MaxVersion: tls.VersionTLS12,
			},
			trusted, execution.AttemptTLS, 0, "handshake",
		},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			receiver.Config.ErrorLog = discardLog
			receiver.TLS = c.server
			receiver.StartTLS()
			defer receiver.Close()
			s := localSender(t, longTimeouts())
			s.transport.TLSClientConfig.RootCAs = c.roots
			s.transport.DialContext = dialerWithDNS(s.policy,
				map[string][][]string{"hooks.example.com": {{"127.0.0.1"}}}).dial
			_, port, _ := net.SplitHostPort(receiver.Listener.Addr().String())
			a := sendAndCheck(t, s, "https://hooks.example.com:"+port+"/", c.want, c.status)
			if !strings.Contains(a.Detail, c.detail) {
				t.Errorf("detail is %q, want it to say %q", a.Detail, c.detail)
			}
		})
	}
	t.Run("hangs up in the handshake", func(t *testing.T) {
		url, _ := tcpServer(t, func(conn net.Conn, _ int) { _, _ = conn.Read(make([]byte, 16)) })
		sendAndCheck(t, localSender(t, longTimeouts()), strings.Replace(url, "http:", "https:", 1),
			execution.AttemptConnection, 0)
	})
	t.Run("plain HTTP", func(t *testing.T) {
		receiver := httptest.NewServer(http.NotFoundHandler())
		defer receiver.Close()
		a := sendAndCheck(t, localSender(t, longTimeouts()), strings.Replace(receiver.URL, "http:", "https:", 1),
			execution.AttemptTLS, 0)
		if !strings.Contains(a.Detail, "does not speak TLS") {
			t.Errorf("detail is %q", a.Detail)
		}
	})
}
