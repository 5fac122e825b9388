package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// startProxy runs a proxy until the test ends.
func startProxy(t *testing.T, c Config) (address string, p *Proxy) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	p = New(c, logrus.NewEntry(log))
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), p
}

// startHost starts a server that answers with the requested host.
func startHost(t *testing.T) (port uint16) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s%s %s %q",
			r.Method, r.Host, r.RequestURI, body, r.Header.Get("Proxy-Authorization")+r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()).Port()
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// sendRaw sends the bytes of a request and returns the answer.
func sendRaw(t *testing.T, proxy, request string) (status int, body string) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(request)[0]})
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("%q: %d, %v", request, answer.StatusCode, err)
	}
	return answer.StatusCode, string(text)
}

func TestHostsOnTheListAreReached(t *testing.T) {
	port := startHost(t)
	address, _ := startProxy(t, Config{Allow: []string{"LocalHost."}, Ports: []uint16{port}, AllowCIDRs: loopback})
	through := func(target string) string {
		return fmt.Sprintf(
			"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\nGET / HTTP/1.1\r\nHost: inner\r\nConnection: close\r\n\r\n", target,
			target,
		)
	}
	target := fmt.Sprintf("localhost:%d", port)
	if status, body := sendRaw(t, address, through(target)); status != http.StatusOK ||
		!strings.Contains(body, "GET inner") {
		t.Errorf("CONNECT: %d %q", status, body)
	}
	plain := fmt.Sprintf("POST http://%s/a?b;c%%zz HTTP/1.1\r\nHost: elsewhere\r\nProxy-Authorization: x\r\n"+
		"X-Forwarded-For: y\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", target)
	if status, body := sendRaw(t, address, plain); status != http.StatusOK ||
		body != fmt.Sprintf("POST %s/a?b;c%%zz hi %q", target, "") {
		t.Errorf("http: %d %q, want the host and the query of the URL, the body, and no header for a proxy",
			status, body)
	}
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: address})}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+target+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	// Go's client ignores a proxy from the environment for localhost, but not a proxy from its settings.
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("by Go's client: %s", answer.Status)
	}
}

func TestNothingElseIsReached(t *testing.T) {
	port := startHost(t)
	address, _ := startProxy(t,
		Config{Allow: []string{"localhost", "*.example.com"}, Ports: []uint16{port, 443}, AllowCIDRs: loopback})
	for _, target := range []string{
		"localhost:80", "localhost:22", fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("[::1]:%d", port),
		fmt.Sprintf("[::ffff:127.0.0.1]:%d", port),
		"example.com:443", "evilexample.com:443", "a.example.com.evil.test:443", "169.254.169.254:443",
		"metadata.google.internal:443",
		fmt.Sprintf("localhost:0%d0", port), "localhost:-1", "localhost:", "localhost", ":443", "localhost:65536",
		"localhost\t:443",
		fmt.Sprintf("localhost:%d@evil.test:443", port), fmt.Sprintf("2130706433:%d", port),
	} {
		raw := fmt.Sprintf("CONNECT %s HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", target, port)
		if status, _ := sendRaw(t, address, raw); status < 400 {
			t.Errorf("CONNECT %s: %d", target, status)
		}
	}
	for _, first := range []string{
		"GET / HTTP/1.1", "GET /http://localhost HTTP/1.1", "GET https://localhost/ HTTP/1.1",
		"GET ftp://localhost/ HTTP/1.1", "OPTIONS * HTTP/1.1",
		"GET http://localhost/ HTTP/1.1", "GET http://127.0.0.1/ HTTP/1.1", "GET http:///x HTTP/1.1",
		"GET file:///etc/passwd HTTP/1.1",
		fmt.Sprintf("GET http://localhost:%d@evil.test/ HTTP/1.1", port),
		fmt.Sprintf("GET http://evil.test#@localhost:%d/ HTTP/1.1", port),
	} {
		raw := fmt.Sprintf("%s\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", first, port)
		if status, _ := sendRaw(t, address, raw); status < 400 {
			t.Errorf("%s: %d", first, status)
		}
	}
}

func TestANameOnTheListWithAClosedAddressIsRefused(t *testing.T) {
	port := startHost(t)
	address, _ := startProxy(t, Config{Allow: []string{"localhost"}, Ports: []uint16{port}})
	for _, request := range []string{"CONNECT localhost:%d HTTP/1.1\r\n", "GET http://localhost:%d/ HTTP/1.1\r\n"} {
		status, body := sendRaw(t, address, fmt.Sprintf(request+"Host: localhost\r\nConnection: close\r\n\r\n", port))
		if status != http.StatusForbidden || strings.Contains(body, "loopback") || strings.Contains(body, "127.0.0.1") {
			t.Errorf("%s: %d %q, want 403 and no word on where the name leads", request, status, body)
		}
	}
}

func TestTheGuardLooksAtEveryAddress(t *testing.T) {
	_, p := startProxy(t, Config{
		Ports:      []uint16{80},
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16")},
	})
	p.own = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("81.2.69.142")}, nil }
	for target, open := range map[string]bool{
		"1.1.1.1:80": true, "[2606:4700:4700::1111]:80": true, "10.1.2.3:80": true, "[::ffff:10.1.2.3]:80": true,
		"169.254.7.7:80": true,
		"192.168.1.1:80": false, "127.0.0.1:80": false, "[::1]:80": false, "81.2.69.142:80": false,
		"[::ffff:81.2.69.142]:80": false,
		// even if all ranges are open
		"169.254.169.254:80": false, "[::ffff:169.254.169.254]:80": false, "[64:ff9b::a9fe:a9fe]:80": false,
		"168.63.129.16:80":  false,
		"[fe80::1%eth0]:80": false, "nonsense": false,
	} {
		if err := p.guard(t.Context(), "tcp", target, nil); (err == nil) != open {
			t.Errorf("%s: %v, want open = %t", target, err, open)
		}
	}
	broken := errors.New("netlink is broken")
	p.own = func() ([]netip.Addr, error) { return nil, broken }
	if err := p.guard(t.Context(), "tcp", "1.1.1.1:80", nil); !errors.Is(err, broken) {
		t.Errorf("when the machine's addresses cannot be told: %v", err)
	}
}

func TestAnInvalidListIsRefused(t *testing.T) {
	for entry, good := range map[string]bool{
		"pypi.org": true, "*.example.com": true, "Files.PythonHosted.org.": true, "registry": true,
		"my_host.example.com": true,
		"":                    false, "*": false, "*.": false, "*.com": false, "https://pypi.org": false,
		"pypi.org:443": false,
		"a b":          false, "1.2.3.4": false, "::1": false,
		"*.1.2.3.4": false, "metadata.google.internal": false, "METADATA": false, "pypi.*": false, "a.*.com": false,
	} {
		c := Defaults()
		c.Allow = []string{entry}
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%q: %v, want good = %t", entry, err, good)
		}
	}
	for _, c := range []Config{{}, {Ports: []uint16{0}}, {Ports: []uint16{80}, AllowCIDRs: []netip.Prefix{{}}}} {
		if c.Validate() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

func TestManyRefusalsFillNoLog(t *testing.T) {
	logger, hook := logtest.NewNullLogger()
	p := New(Defaults(), logrus.NewEntry(logger))
	const many = 100 * logBurst
	for range many {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://x.test/", http.NoBody)
		p.ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := len(hook.AllEntries()); n < logBurst || n > many/2 {
		t.Errorf("%d refusals made %d lines", many, n)
	}
}

func TestALongNameFillsNoLog(t *testing.T) {
	p := New(Defaults(), logrus.NewEntry(logrus.New()))
	entry := p.logEntry(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", http.NoBody),
		strings.Repeat("a", 1<<16))
	if text, ok := entry.Data["target"].(string); !ok || len(text) != maxTarget {
		t.Errorf("%d bytes of the target are logged, want %d", len(text), maxTarget)
	}
}

// TestOneProgramCannotTakeAllConnections opens more connections than one program may have. The surplus is closed at
// once, and a new one is accepted after another has ended.
func TestOneProgramCannotTakeAllConnections(t *testing.T) {
	address, _ := startProxy(t, Defaults())
	dial := func() net.Conn {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	answers := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	kept := make([]net.Conn, maxConnsPerProgram)
	for i := range kept {
		if kept[i] = dial(); !answers(kept[i]) {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if answers(dial()) {
		t.Error("there is one more than there may be")
	}
	_ = kept[0].Close()
	for !answers(dial()) { // the proxy soon notices the closed connection
		if t.Context().Err() != nil {
			t.Fatal("no slot is ever free again")
		}
	}
}

func TestTunnelsEndWithTheProxy(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	log := logrus.New()
	log.SetOutput(io.Discard)
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	p := New(Config{Allow: []string{"localhost"}, Ports: []uint16{port}, AllowCIDRs: loopback}, logrus.NewEntry(log))
	own, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(ctx, own) }()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", own.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "CONNECT localhost:%d HTTP/1.1\r\nHost: x\r\n\r\n", port)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(r); err != nil && !errors.Is(err, net.ErrClosed) &&
		!strings.Contains(err.Error(), "reset") {
		t.Errorf("the tunnel: %v, want its end", err)
	}
}
