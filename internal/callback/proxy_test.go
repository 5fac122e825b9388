package callback

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"boomerang/internal/execution"
)

// rootsOf returns the pool that trusts the certificate of a TLS server.
func rootsOf(server *httptest.Server) *x509.CertPool {
	transport := server.Client().Transport.(*http.Transport) //nolint:errcheck,forcetypeassert // httptest's
	return transport.TLSClientConfig.RootCAs
}

// senderByProxy returns a sender that sends by the proxy at url and trusts the certificates of receiver.
func senderByProxy(t *testing.T, proxy string, receiver *httptest.Server, change func(*Config)) *sender {
	t.Helper()
	c := Defaults()
	c.Proxy = proxy
	change(&c)
	s := newSender(c, newTestPolicy(t, func(p *Config) { *p = c }), fakeUnsealer{}, "1.2.3", longTimeouts())
	if receiver != nil {
		pool := s.transport.TLSClientConfig.Clone()
		pool.RootCAs = rootsOf(receiver)
		s.transport.TLSClientConfig = pool
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	return s
}

func TestAProxyGetsOnlyCONNECTForHTTPS(t *testing.T) {
	var got http.Header
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer receiver.Close()
	var connect bytes.Buffer
	proxy := httptest.NewServer(tunnel(receiver.Listener.Addr().String(), &connect))
	defer proxy.Close()
	s := senderByProxy(t, strings.Replace(proxy.URL, "http://", "http://user:hush@", 1), receiver, defaultConfig)
	d := aDelivery("https://example.com:8443/hook?token=hush")
	d.Callback.Headers = execution.Sealed(`{"Authorization":"Bearer hush","X-Custom":"hush"}`)
	d.Callback.Secret = execution.Sealed(`["hush"]`)
	if a, err := s.send(t.Context(), d); a.Outcome != execution.AttemptSucceeded || a.Answer != nil {
		t.Fatalf("got %+v, %v", a, err)
	}
	if got.Get("Authorization") != "Bearer hush" || got.Get("Proxy-Authorization") != "" {
		t.Errorf("the receiver got %v", got)
	}
	const want = "CONNECT example.com:8443 HTTP/1.1\r\nHost: example.com:8443\r\n" +
		"Proxy-Authorization: Basic dXNlcjpodXNo\r\nUser-Agent: boomerang/1.2.3\r\n\r\n"
	if connect.String() != want {
		t.Errorf("the proxy got\n%s\nwant\n%s", connect.String(), want)
	}
}

func TestAProxyIsNotAskedForADestinationThatThePolicyCloses(t *testing.T) {
	proxy := httptest.NewServer(
		http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) { t.Errorf("it was asked for %s", r.RequestURI) },
		),
	)
	defer proxy.Close()
	s := senderByProxy(t, proxy.URL, nil, defaultConfig)
	for _, c := range hostile {
		sendAndCheck(t, s, c.url, execution.AttemptBlocked, 0)
	}
	for _, target := range metadataURLs {
		sendAndCheck(t, s, target, execution.AttemptBlocked, 0)
	}
}

func TestAFailingProxyIsNotMistakenForTheReceiver(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "10.11.12.13 is not for you")
	}))
	defer refusing.Close()
	unknown := httptest.NewUnstartedServer(http.NotFoundHandler())
	unknown.Config.ErrorLog = discardLog
	unknown.StartTLS()
	defer unknown.Close()
	for _, proxy := range []string{closed.URL, refusing.URL, unknown.URL, "http://unknown.invalid:3128"} {
		s := senderByProxy(t, proxy, nil, defaultConfig)
		a := sendAndCheck(t, s, "https://example.com/hook", execution.AttemptConnection, 0)
		if a.Detail != "The egress proxy made no connection to the receiver." {
			t.Errorf("%s: detail is %q", proxy, a.Detail)
		}
	}
	s := senderByProxy(t, refusing.URL, nil, defaultConfig)
	if a := sendAndCheck(t, s, "http://example.com/hook", execution.AttemptStatus, 403); a.Answer != nil {
		t.Errorf("kept %q", a.Answer)
	}
}

func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	asked := func(http.ResponseWriter, *http.Request) { t.Error("the proxy of the environment was asked") }
	proxy := httptest.NewServer(http.HandlerFunc(asked))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
		t.Setenv(strings.ToLower(name), proxy.URL)
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	a := newAuthority(t)
	plain := httptest.NewServer(http.HandlerFunc(ok))
	defer plain.Close()
	secure, _ := a.startServer(0, 0, http.HandlerFunc(ok), "a.example.com")
	c := Defaults()
	c.CAFile = a.path("ca.pem")
	s := senderForNames(t, c, "a.example.com")
	if s.transport.Proxy != nil { // net/http reads the environment once, perhaps before this test
		t.Error("the transport asks for a proxy")
	}
	sendAndCheck(t, s, "http://a.example.com"+portOf(plain), execution.AttemptSucceeded, 200)
	sendAndCheck(t, s, "https://a.example.com"+portOf(secure), execution.AttemptSucceeded, 200)

	var mu sync.Mutex
	var through []string
	ours := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		through = append(through, r.RequestURI)
	}))
	defer ours.Close()
	t.Setenv("NO_PROXY", "*")
	sendAndCheck(t, senderByProxy(t, ours.URL, nil, defaultConfig), "http://example.com/hook",
		execution.AttemptSucceeded, 200)
	if len(through) != 1 {
		t.Errorf("the configured proxy was asked for %q", through)
	}
}

func TestRequireHTTPSHoldsForExecutionsAdmittedBefore(t *testing.T) {
	receiver := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request came") }),
	)
	defer receiver.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(ok))
	defer secure.Close()
	https := func(c *Config) {
		allowLoopback(c)
		c.RequireHTTPS = true
	}
	for name, s := range map[string]*sender{
		"direct":   senderByProxy(t, "", secure, https),
		"by proxy": senderByProxy(t, receiver.URL, secure, https),
	} {
		a := sendAndCheck(t, s, receiver.URL+"/hook", execution.AttemptBlocked, 0)
		if !strings.Contains(a.Detail, "https://") {
			t.Errorf("%s: detail is %q", name, a.Detail)
		}
		got, err := delivererOf(t, s).Try(t.Context(), Sample{URL: receiver.URL})
		if err != nil || got.Rule != "callback_url must be https:// on this server" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	sendAndCheck(t, senderByProxy(t, "", secure, https), secure.URL, execution.AttemptSucceeded, 200)
}
