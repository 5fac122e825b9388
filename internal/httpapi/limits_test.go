package httpapi

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// pipes is a listener in memory, so that the clock of a test can run ahead.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// lasts says something on a new connection of a server with the default limits and returns how long the server keeps
// it, and what it answers. What is said goes on with a byte each second.
func lasts(t *testing.T, said, drip string) (d time.Duration, answer string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger, _ := logtest.NewNullLogger()
		server := Server(Defaults(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		}), logrus.NewEntry(logger))
		listener := make(pipes)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		client, conn := net.Pipe()
		listener <- conn
		began := time.Now()
		var talk sync.WaitGroup
		talk.Go(func() {
			_, err := io.WriteString(client, said)
			for ; err == nil && drip != ""; <-time.After(time.Second) {
				_, err = io.WriteString(client, drip)
			}
		})
		text, _ := io.ReadAll(client) // until the server hangs up
		d, answer = time.Since(began), string(text)
		_ = client.Close()
		talk.Wait()
		close(listener)
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		_ = server.Close()
	})
	return d, answer
}

func TestTheServerWaitsForNobodyForLong(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: x\r\n"
	const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
	const hangsUp = "" // with a 400 if the client is quick to read it
	for name, test := range map[string]struct {
		said, drip string
		within     time.Duration
		answer     string
	}{
		"silence":                           {"", "", headerTimeout, hangsUp},
		"half a header":                     {get, "", headerTimeout, hangsUp},
		"a header by drops":                 {get, "X: y\r\n", headerTimeout, hangsUp},
		"no body":                           {post, "", Defaults().Timeout, hangsUp},
		"a body by drops":                   {post, "x", Defaults().Timeout, hangsUp},
		"a body in chunks without end":      {strings.Replace(post, "Content-Length: 1000", "Transfer-Encoding: chunked", 1), "1\r\nx\r\n", Defaults().Timeout, hangsUp},
		"nothing more after the first":      {get + "\r\n", "", idleTimeout, "HTTP/1.1 200"},
		"half a second request":             {get + "\r\n" + get, "", headerTimeout, "HTTP/1.1 200"},
		"a header of 17 KiB":                {get + "X: " + strings.Repeat("x", 17<<10), "", 0, "431"},
		"a header of 17 KiB, line by line":  {get + strings.Repeat("X: "+strings.Repeat("x", 120)+"\r\n", 139), "", 0, "431"},
		"a request line of 17 KiB":          {"GET /" + strings.Repeat("x", 17<<10), "", 0, "431"},
		"two lengths":                       {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "", 0, "400"},
		"no host":                           {"GET / HTTP/1.1\r\n\r\n", "", 0, "400"},
		"a control character in the header": {get + "X: a\x00b\r\n\r\n", "", 0, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			d, answer := lasts(t, test.said, test.drip)
			if d > test.within+time.Second || !strings.Contains(answer, test.answer) || test.answer == hangsUp && strings.Contains(answer, "HTTP/1.1 200") {
				t.Errorf("got %q after %s; want %q within %s", answer, d, test.answer, test.within)
			}
		})
	}
}

func TestAHeaderOf15KiBIsRead(t *testing.T) {
	h := open(t)
	if a := h.get("/health", "", "X-Long: "+strings.Repeat("x", 15<<10)); a.status != http.StatusOK {
		t.Errorf("got %d; want 200", a.status)
	}
}

func TestABodyHasItsLimits(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Body = 1 << 20 })
	for name, test := range map[string]struct {
		body string
		want int
		code string
	}{
		"over the limit":   {`{"code":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE"},
		"33 levels":        {`{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, http.StatusBadRequest, "INVALID_JSON"},
		"500 000 levels":   {`{"x":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`, http.StatusBadRequest, "INVALID_JSON"},
		"500 000 openings": {strings.Repeat(`[`, 500_000), http.StatusBadRequest, "INVALID_JSON"},
		"objects":          {strings.Repeat(`{"x":`, 100_000), http.StatusBadRequest, "INVALID_JSON"},
	} {
		a := h.call(http.MethodPost, "/execute/async", h.ann, test.body, asJSON)
		if a.status != test.want || a.json(t)["code"] != test.code {
			t.Errorf("%s: got %d %s; want %d %s", name, a.status, a.body, test.want, test.code)
		}
	}
}

func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	h := open(t)
	for range 300 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // nothing was written
	}
	if a := h.get("/health", ""); a.status != http.StatusOK {
		t.Errorf("got %d; want 200", a.status)
	}
}

func TestThePublicListenerShowsNothingOfTheInside(t *testing.T) {
	h := open(t)
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug", "/", "/configs/", "/.git/config", "/../../etc/passwd", "/%2e%2e/etc/passwd",
	} {
		if a := h.get(path, h.admin); a.status != http.StatusNotFound || a.json(t)["code"] != "ROUTE_NOT_FOUND" {
			t.Errorf("%s: got %d %s; want 404", path, a.status, a.body)
		}
	}
}

func TestEveryAnswerHasItsSecurityHeaders(t *testing.T) {
	h := open(t)
	for _, path := range []string{"/health", "/executions", "/nowhere", "/openapi.yaml"} {
		a := h.get(path, h.ann)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox", "Strict-Transport-Security": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: got %s: %q; want %q", path, name, got, want)
			}
		}
	}
}

func TestWithACertificateItSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	c := Defaults()
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := OpenCertificate(c); err == nil {
		t.Error("files that are not there were passed over")
	}
	writeCertificate(t, c, 1)
	certificate, err := OpenCertificate(c)
	if err != nil {
		t.Fatal(err)
	}
	logger, _ := logtest.NewNullLogger()
	server := Server(c, open(t).api, logrus.NewEntry(logger))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- certificate.Serve(server, listener) }()
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // nothing more is read
		if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // nothing more is read
		if response.StatusCode != http.StatusOK || response.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("got %d %v; want 200 with HSTS", response.StatusCode, response.Header)
		}
		tlsConn, _ := conn.(*tls.Conn)
		return tlsConn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	if got := serial(); got != "1" {
		t.Errorf("got certificate %s; want 1", got)
	}
	writeCertificate(t, c, 2)
	if err := certificate.Reload(); err != nil {
		t.Error(err)
	}
	if got := serial(); got != "2" {
		t.Errorf("after reload: got certificate %s; want 2", got)
	}
	if conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was spoken")
	}
	if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed { //nolint:errorlint // net/http says that it is this one
		t.Errorf("got %v; want it closed", err)
	}
}

func TestWhatNetHTTPSaysGoesToTheLog(t *testing.T) {
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(logrus.DebugLevel)
	said := Server(Defaults(), nil, logrus.NewEntry(logger)).ErrorLog
	for line, want := range map[string]logrus.Level{
		"http: TLS handshake error from 192.0.2.1:1: EOF":          logrus.DebugLevel,
		"http: Accept error: too many open files; retrying in 5ms": logrus.WarnLevel,
	} {
		said.Print(line)
		if e := hook.LastEntry(); e == nil || e.Level != want || e.Data["said"] != line {
			t.Errorf("%s: got %v; want it as %s", line, e, want)
		}
	}
}

func writeCertificate(t *testing.T, c Config, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		c.TLSCert: {Type: "CERTIFICATE", Bytes: der}, c.TLSKey: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
