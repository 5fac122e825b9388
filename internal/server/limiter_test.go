package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

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
		if err := l.spend(http.Header{}, strconv.Itoa(n), moment(0)); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if got := len(l.young) + len(l.old); got > 2*generation {
		t.Errorf("remembers %d; want no more than %d", got, 2*generation)
	}
	last := strconv.Itoa(5*generation - 1)
	if err := l.spend(http.Header{}, last, moment(0)); err == nil {
		t.Error("the last one was forgotten")
	}
	if err := l.spend(http.Header{}, last, moment(60)); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func moment(s int64) time.Time { return time.Unix(1_738_022_400+s, 0).UTC() }
