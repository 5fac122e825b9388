package server_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestASubjectHasItsRate(t *testing.T) {
	now := apitest.Moment(0)
	h := apitest.Open(t, apitest.ClockAt(&now), func(c *server.Config, _ *apitest.Deps) { c.Rate.PerSubject = 3 })
	for left := 2; left >= 0; left-- {
		a := h.Get("/executions", h.Ann)
		if a.Status != http.StatusOK || a.Header.Get("X-RateLimit-Limit") != "3" ||
			a.Header.Get("X-RateLimit-Remaining") != strconv.Itoa(left) ||
			a.Header.Get("X-RateLimit-Reset") != strconv.FormatInt(now.Unix()+int64(20*(3-left)), 10) {
			t.Errorf("got %d %v; want 200 with %d left", a.Status, a.Header, left)
		}
	}
	a := h.Get("/executions", h.Ann)
	if a.Status != http.StatusTooManyRequests || a.JSON(t)["code"] != "RATE_LIMIT_EXCEEDED" ||
		a.JSON(t)["retry_after"] != 20.0 ||
		a.Header.Get("Retry-After") != "20" || a.Header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("got %d %v %s; want 429, and 20 s to wait", a.Status, a.Header, a.Body)
	}
	if a := h.Get("/executions", h.Bob); a.Status != http.StatusOK {
		t.Errorf("another subject: got %d; want 200", a.Status)
	}
	if a := h.Get("/executions", "x.y.z"); a.Status != http.StatusUnauthorized ||
		a.Header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("an invalid token: got %d; want 401 without headers of a rate", a.Status)
	}
	now = now.Add(20 * time.Second)
	if a := h.Get("/executions", h.Ann); a.Status != http.StatusOK {
		t.Errorf("20 s later: got %d; want 200", a.Status)
	}
}

func TestAnAddressHasItsRate(t *testing.T) {
	now := apitest.Moment(0)
	h := apitest.Open(t, apitest.ClockAt(&now), func(c *server.Config, _ *apitest.Deps) {
		c.Rate.PerAddress = 2
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for n, test := range []struct {
		path, token, from string
		want              int
	}{
		{"/executions", "x.y.z", "192.0.2.1", http.StatusUnauthorized},
		{"/nowhere", "", "192.0.2.1", http.StatusNotFound},
		{"/executions", h.Ann, "192.0.2.1", http.StatusTooManyRequests},
		{"/health", "", "192.0.2.1", http.StatusTooManyRequests},
		{"/healthz", "", "192.0.2.1", http.StatusOK},
		{"/readyz", "", "192.0.2.1", http.StatusOK},
		{"/executions", h.Ann, "192.0.2.1, 192.0.2.2", http.StatusOK},
		{"/executions", h.Ann, "2001:db8::1", http.StatusOK},
		{"/executions", h.Ann, "2001:db8::2:0:0:1", http.StatusOK},
		{"/executions", h.Ann, "2001:db8::3:4:5:6", http.StatusTooManyRequests},
		{"/executions", h.Ann, "2001:db8:0:1::1", http.StatusOK},
	} {
		if a := h.Get(test.path, test.token, "X-Forwarded-For: "+test.from); a.Status != test.want {
			t.Errorf("%d: %s from %s: got %d %s; want %d", n, test.path, test.from, a.Status, a.Body, test.want)
		}
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	h.Get("/executions/"+string(id), h.Ann)
	h.Get("/executions/nonsense", h.Ann)
	h.Get("/nowhere/"+string(id), "")
	h.Call("PROPFIND", "/executions", "", "")
	for _, want := range []string{
		"POST /execute/async 200", "GET /executions/{id} 200", "GET /executions/{id} 404", "GET none 404",
		"other none 405",
	} {
		if _, ok := h.Answered.Load(want); !ok {
			var got []string
			h.Answered.Range(func(k, _ any) bool { got = append(got, fmt.Sprint(k)); return true })
			t.Errorf("got %q; want %q among them", got, want)
		}
	}
}
