package httpapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// at makes the API's clock stand still at a time that the test moves.
func at(now *time.Time) func(*Config, *Deps) {
	return func(_ *Config, d *Deps) { d.Now = func() time.Time { return *now } }
}

func TestASubjectHasItsRate(t *testing.T) {
	now := moment(0)
	h := open(t, at(&now), func(c *Config, _ *Deps) { c.Rate.PerSubject = 3 })
	for left := 2; left >= 0; left-- {
		a := h.get("/executions", h.ann)
		if a.status != http.StatusOK || a.header.Get("X-RateLimit-Limit") != "3" || a.header.Get("X-RateLimit-Remaining") != strconv.Itoa(left) ||
			a.header.Get("X-RateLimit-Reset") != strconv.FormatInt(now.Unix()+int64(20*(3-left)), 10) {
			t.Errorf("got %d %v; want 200 with %d left", a.status, a.header, left)
		}
	}
	a := h.get("/executions", h.ann)
	if a.status != http.StatusTooManyRequests || a.json(t)["code"] != "RATE_LIMIT_EXCEEDED" || a.json(t)["retry_after"] != 20.0 ||
		a.header.Get("Retry-After") != "20" || a.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("got %d %v %s; want 429, and 20 s to wait", a.status, a.header, a.body)
	}
	if a := h.get("/executions", h.bob); a.status != http.StatusOK {
		t.Errorf("another subject: got %d; want 200", a.status)
	}
	if a := h.get("/executions", "x.y.z"); a.status != http.StatusUnauthorized || a.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("nobody: got %d; want 401, and nothing of a rate", a.status)
	}
	now = now.Add(20 * time.Second)
	if a := h.get("/executions", h.ann); a.status != http.StatusOK {
		t.Errorf("20 s later: got %d; want 200", a.status)
	}
}

func TestAnAddressHasItsRate(t *testing.T) {
	now := moment(0)
	h := open(t, at(&now), func(c *Config, _ *Deps) {
		c.Rate.PerAddress = 2
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for n, test := range []struct {
		path, token, from string
		want              int
	}{
		{"/executions", "x.y.z", "192.0.2.1", http.StatusUnauthorized},
		{"/nowhere", "", "192.0.2.1", http.StatusNotFound},
		{"/executions", h.ann, "192.0.2.1", http.StatusTooManyRequests},
		{"/health", "", "192.0.2.1", http.StatusTooManyRequests},
		{"/healthz", "", "192.0.2.1", http.StatusOK},
		{"/readyz", "", "192.0.2.1", http.StatusOK},
		{"/executions", h.ann, "192.0.2.1, 192.0.2.2", http.StatusOK},
		{"/executions", h.ann, "2001:db8::1", http.StatusOK},
		{"/executions", h.ann, "2001:db8::2:0:0:1", http.StatusOK},
		{"/executions", h.ann, "2001:db8::3:4:5:6", http.StatusTooManyRequests},
		{"/executions", h.ann, "2001:db8:0:1::1", http.StatusOK},
	} {
		if a := h.get(test.path, test.token, "X-Forwarded-For: "+test.from); a.status != test.want {
			t.Errorf("%d: %s from %s: got %d %s; want %d", n, test.path, test.from, a.status, a.body, test.want)
		}
	}
}

func TestXForwardedForIsBelievedFromItsEndOnly(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, test := range []struct {
		peer      string
		forwarded []string
		trusted   []netip.Prefix
		want      string
	}{
		{"192.0.2.9:1", nil, trusted, "192.0.2.9"},
		{"192.0.2.9:1", []string{"192.0.2.1"}, trusted, "192.0.2.9"},
		{"10.0.0.1:1", []string{"192.0.2.1"}, nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"192.0.2.1"}, trusted, "192.0.2.1"},
		{"10.0.0.1:1", []string{"192.0.2.66, 192.0.2.1"}, trusted, "192.0.2.1"},
		{"10.0.0.1:1", []string{"192.0.2.66", "192.0.2.1 ,10.0.0.2"}, trusted, "192.0.2.1"},
		{"10.0.0.1:1", []string{"192.0.2.66, nonsense, 10.0.0.2"}, trusted, "10.0.0.2"},
		{"10.0.0.1:1", []string{""}, trusted, "10.0.0.1"},
		{"10.0.0.1:1", nil, trusted, "10.0.0.1"},
		{"[fd00::1]:1", []string{"2001:db8::1"}, trusted, "2001:db8::1"},
		{"[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, trusted, "192.0.2.1"},
		{"[fe80::1%eth0]:1", nil, trusted, "fe80::1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = test.peer
		r.Header["X-Forwarded-For"] = test.forwarded
		if got := address(r, test.trusted); got.String() != test.want {
			t.Errorf("%s, %q: got %s; want %s", test.peer, test.forwarded, got, test.want)
		}
	}
}

func TestManyAddressesAreForgotten(t *testing.T) {
	l := newLimiter(1)
	for n := range 5 * generation {
		if err := l.take(http.Header{}, strconv.Itoa(n), moment(0)); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if got := len(l.young) + len(l.old); got > 2*generation {
		t.Errorf("remembers %d; want no more than %d", got, 2*generation)
	}
	last := strconv.Itoa(5*generation - 1)
	if err := l.take(http.Header{}, last, moment(0)); err == nil {
		t.Error("the last one was forgotten")
	}
	if err := l.take(http.Header{}, last, moment(60)); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	h.get("/executions/"+string(id), h.ann)
	h.get("/executions/nonsense", h.ann)
	h.get("/nowhere/"+string(id), "")
	h.call("PROPFIND", "/executions", "", "")
	for _, want := range []string{
		"POST /execute/async 200", "GET /executions/{id} 200", "GET /executions/{id} 404", "GET none 404", "other none 405",
	} {
		if _, ok := h.answered.Load(want); !ok {
			var got []string
			h.answered.Range(func(k, _ any) bool { got = append(got, fmt.Sprint(k)); return true })
			t.Errorf("got %q; want %q among them", got, want)
		}
	}
}
