package callback

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// authority is a private certificate authority with a directory for its files.
type authority struct {
	t      *testing.T
	dir    string
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := a.template("the authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// issue makes a certificate for name, and the files name.pem and name.key.
func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := a.template(name)
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", text)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// identity returns the client certificate of name for host.
func (a *authority) identity(host, name string) ClientCertificate {
	return ClientCertificate{Host: host, Certificate: a.path(name + ".pem"), Key: a.path(name + ".key")}
}

// startServer starts a TLS server with certificates for names. It reports the name of the last client certificate, or
// "" for none.
func (a *authority) startServer(
	auth tls.ClientAuthType, version uint16, handler http.Handler, names ...string,
) (server *httptest.Server, whose *string) {
	a.t.Helper()
	whose = new(string)
	clients := x509.NewCertPool()
	clients.AddCert(a.root)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*whose = ""
		if len(r.TLS.PeerCertificates) > 0 {
			*whose = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		handler.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = discardLog
	server.TLS = &tls.Config{ClientAuth: auth, ClientCAs: clients, MaxVersion: version}
	for _, name := range names {
		server.TLS.Certificates = append(server.TLS.Certificates, a.issue(name))
	}
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return server, whose
}

// senderForNames returns a sender with configuration c that finds each of names at 127.0.0.1.
func senderForNames(t *testing.T, c Config, names ...string) *sender {
	t.Helper()
	allowLoopback(&c)
	s := newSender(c, newTestPolicy(t, func(p *Config) { *p = c }), fakeUnsealer{}, "1.2.3", longTimeouts())
	answers := make(map[string][][]string)
	for _, name := range names {
		answers[name] = [][]string{{"127.0.0.1"}}
	}
	if s.transport.Proxy == nil {
		s.transport.DialContext = dialerWithDNS(s.policy, answers).dial
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	return s
}

func ok(http.ResponseWriter, *http.Request) {}

func portOf(server *httptest.Server) string {
	u, _ := url.Parse(server.URL)
	return ":" + u.Port()
}

func TestAPrivateAuthorityIsTrustedBesideTheSystems(t *testing.T) {
	a := newAuthority(t)
	server, _ := a.startServer(tls.NoClientCert, tls.VersionTLS13, http.HandlerFunc(ok), "a.example.com")
	to := "https://a.example.com" + portOf(server)
	sendAndCheck(t, senderForNames(t, Defaults(), "a.example.com"), to, execution.AttemptTLS, 0)
	c := Defaults()
	c.CAFile = a.path("ca.pem")
	s := senderForNames(t, c, "a.example.com", "b.example.com")
	sendAndCheck(t, s, to, execution.AttemptSucceeded, 200)
	if got := sendAndCheck(t, s, "https://b.example.com"+portOf(server), execution.AttemptTLS, 0); !strings.Contains(
		got.Detail, "another name",
	) {
		t.Errorf("detail is %q", got.Detail)
	}
	both, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	both.AddCert(a.root)
	if !both.Equal(s.policy.trust.roots) {
		t.Error("the trusted authorities are not the system's and one more")
	}
}

func TestAClientCertificateIsShownToItsHostAlone(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		a := newAuthority(t)
		a.issue("our name for a")
		a.issue("our name for the address")
		strict, toStrict := a.startServer(tls.RequireAndVerifyClientCert, version, http.HandlerFunc(ok),
			"a.example.com", "b.example.com")
		curious, toCurious := a.startServer(tls.RequestClientCert, version, http.HandlerFunc(ok), "127.0.0.1",
			"a.example.com", "b.example.com", "xa.example.com")
		c := Defaults()
		c.CAFile = a.path("ca.pem")
		c.ClientCertificates = []ClientCertificate{
			a.identity("A.Example.Com.", "our name for a"), a.identity("127.0.0.1", "our name for the address"),
		}
		s := senderForNames(t, c, "a.example.com", "b.example.com", "xa.example.com")
		for _, host := range []string{"a.example.com", "A.EXAMPLE.COM", "a.example.com"} {
			*toStrict = ""
			sendAndCheck(t, s, "https://"+host+portOf(strict), execution.AttemptSucceeded, 200)
			if *toStrict != "our name for a" {
				t.Errorf("%s with TLS %x was shown %q", host, version, *toStrict)
			}
		}
		sendAndCheck(t, s, "https://b.example.com"+portOf(strict), execution.AttemptTLS, 0)
		for host, want := range map[string]string{
			"a.example.com": "our name for a", "127.0.0.1": "our name for the address", "b.example.com": "",
			"xa.example.com": "",
		} {
			*toCurious = "no connection"
			sendAndCheck(t, s, "https://"+host+portOf(curious), execution.AttemptSucceeded, 200)
			if *toCurious != want {
				t.Errorf("%s with TLS %x was shown %q, want %q", host, version, *toCurious, want)
			}
		}
	}
}

// tunnel is a proxy that connects every CONNECT request with target, and keeps the request.
func tunnel(target string, connect *bytes.Buffer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(connect, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
		_ = r.Header.Write(connect)
		_, _ = io.WriteString(connect, "\r\n")
		if r.Method != http.MethodConnect {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", target)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer closeConn(there)
		here, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer closeConn(here)
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, buffered); closeConn(there) }()
		_, _ = io.Copy(here, there)
	}
}

func TestAProxyOverTLSIsShownItsOwnCertificateAndNotTheReceivers(t *testing.T) {
	a := newAuthority(t)
	a.issue("our name for a")
	a.issue("our name for the proxy")
	receiver, toReceiver := a.startServer(tls.RequestClientCert, tls.VersionTLS13, http.HandlerFunc(ok),
		"a.example.com")
	var connect bytes.Buffer
	proxy, toProxy := a.startServer(tls.RequestClientCert, tls.VersionTLS13,
		tunnel(receiver.Listener.Addr().String(), &connect), "127.0.0.1")
	for want, certificates := range map[string][]ClientCertificate{
		"": {a.identity("a.example.com", "our name for a")},
		"our name for the proxy": {
			a.identity("a.example.com", "our name for a"), a.identity("127.0.0.1", "our name for the proxy"),
		},
	} {
		c := Defaults()
		c.CAFile, c.Proxy, c.ClientCertificates = a.path("ca.pem"), proxy.URL, certificates
		*toProxy, *toReceiver = "no connection", "no connection"
		sendAndCheck(t, senderForNames(t, c), "https://a.example.com"+portOf(receiver), execution.AttemptSucceeded, 200)
		if *toReceiver != "our name for a" || *toProxy != want {
			t.Errorf("the receiver was shown %q, and the proxy %q, want %q", *toReceiver, *toProxy, want)
		}
	}
}

func TestUnusableCertificateFilesAreNamed(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.issue("good")
	other.issue("good")
	a.write("no.pem", "NOTHING", nil)
	for want, change := range map[string]func(*Config){
		"callback.ca_file: open " + a.path("none"):              func(c *Config) { c.CAFile = a.path("none") },
		"callback.ca_file: " + a.path("no.pem") + " holds no":   func(c *Config) { c.CAFile = a.path("no.pem") },
		"callback.ca_file: " + a.path("good.key") + " holds no": func(c *Config) { c.CAFile = a.path("good.key") },
		"callback.client_certificates: " + a.path("none.pem") + " with": func(c *Config) {
			c.ClientCertificates = []ClientCertificate{a.identity("a", "none")}
		},
		"callback.client_certificates: " + a.path("good.pem") + " with " + other.path("good.key"): func(c *Config) {
			c.ClientCertificates = []ClientCertificate{
				{Host: "a", Certificate: a.path("good.pem"), Key: other.path("good.key")},
			}
		},
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("Validate looked into the files: %v", err)
		}
		if _, err := NewPolicy(c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q…", err, want)
		}
	}
}
