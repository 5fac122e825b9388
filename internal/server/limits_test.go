package server_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestAHeaderOf15KiBIsRead(t *testing.T) {
	h := apitest.Open(t)
	if a := h.Get("/health", "", "X-Long: "+strings.Repeat("x", 15<<10)); a.Status != http.StatusOK {
		t.Errorf("got %d; want 200", a.Status)
	}
}

func TestABodyHasItsLimits(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Body = 1 << 20 })
	for name, test := range map[string]struct {
		body string
		want int
		code string
	}{
		"over the limit": {
			`{"code":"` + strings.Repeat("x", 1<<20) + `"}`, http.StatusRequestEntityTooLarge,
			"PAYLOAD_TOO_LARGE",
		},
		"33 levels": {
			`{"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`, http.StatusBadRequest,
			"INVALID_JSON",
		},
		"500 000 levels": {
			`{"x":` + strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000) + `}`,
			http.StatusBadRequest, "INVALID_JSON",
		},
		"500 000 openings": {strings.Repeat(`[`, 500_000), http.StatusBadRequest, "INVALID_JSON"},
		"objects":          {strings.Repeat(`{"x":`, 100_000), http.StatusBadRequest, "INVALID_JSON"},
	} {
		a := h.Call(http.MethodPost, "/execute/async", h.Ann, test.body, apitest.AsJSON)
		if a.Status != test.want || a.JSON(t)["code"] != test.code {
			t.Errorf("%s: got %d %s; want %d %s", name, a.Status, a.Body, test.want, test.code)
		}
	}
}

func TestIdleConnectionsDoNotBlockOtherClients(t *testing.T) {
	h := apitest.Open(t)
	for range 300 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() //nolint:errcheck // nothing was written
	}
	if a := h.Get("/health", ""); a.Status != http.StatusOK {
		t.Errorf("got %d; want 200", a.Status)
	}
}

func TestThePublicListenerShowsNothingOfTheInside(t *testing.T) {
	h := apitest.Open(t)
	for _, path := range []string{
		"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/debug", "/", "/configs/", "/.git/config",
		"/../../etc/passwd", "/%2e%2e/etc/passwd",
	} {
		if a := h.Get(path, h.Admin); a.Status != http.StatusNotFound || a.JSON(t)["code"] != "ROUTE_NOT_FOUND" {
			t.Errorf("%s: got %d %s; want 404", path, a.Status, a.Body)
		}
	}
}

func TestEveryAnswerHasItsSecurityHeaders(t *testing.T) {
	h := apitest.Open(t)
	for _, path := range []string{"/health", "/executions", "/nowhere", "/openapi.yaml"} {
		a := h.Get(path, h.Ann)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; sandbox",
			"Strict-Transport-Security": "",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: got %s: %q; want %q", path, name, got, want)
			}
		}
	}
}

func TestWithACertificateItSpeaksTLS(t *testing.T) {
	dir := t.TempDir()
	c := server.Defaults()
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := server.OpenCertificate(c); err == nil {
		t.Error("files that are not there were passed over")
	}
	writeCertificate(t, c, 1)
	certificate, err := server.OpenCertificate(c)
	if err != nil {
		t.Fatal(err)
	}
	logger, _ := logtest.NewNullLogger()
	api := server.NewHTTP(c, apitest.Open(t).Handler, logrus.NewEntry(logger))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- certificate.Serve(api, listener) }()
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).
			DialContext(t.Context(), "tcp", listener.Addr().String())
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
	if conn, err := tls.Dial("tcp", listener.Addr().String(),
		&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 was spoken")
	}
	if err := api.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed { //nolint:errorlint // net/http says that it is this one
		t.Errorf("got %v; want it closed", err)
	}
}

func writeCertificate(t *testing.T, c server.Config, serial int64) {
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

func TestABodyThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Timeout = time.Second })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing more is written
	if _, err := fmt.Fprintf(conn, "POST /execute/async HTTP/1.1\r\nHost: x\r\n%s\r\nAuthorization: Bearer "+
		"%s\r\nContent-Length: 100\r\n\r\n{",
		apitest.AsJSON, h.Ann); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return // hung up on: just as well
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest {
		t.Errorf("got %d %s; want 400", response.StatusCode, body)
	}
}
