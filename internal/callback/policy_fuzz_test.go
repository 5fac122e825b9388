package callback

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzCheckURL checks that admission and dial agree: if a host passes and a parser could read it as an address, the
// dial allows that address.
func FuzzCheckURL(f *testing.F) {
	for _, c := range hostile {
		f.Add(c.url)
	}
	for _, url := range append(metadataURLs,
		"https://example.com/hook?a=b", "http://[2606:4700::1111]:8080/", "http://8.8.8.8/") {
		f.Add(url)
	}
	p := newTestPolicy(f, defaultConfig)
	f.Fuzz(func(t *testing.T, raw string) {
		if p.CheckURL(raw) != nil {
			return
		}
		request, err := http.NewRequest(http.MethodPost, raw, http.NoBody)
		if err != nil {
			t.Fatalf("%q passed and cannot be requested: %v", raw, err)
		}
		var wire bytes.Buffer
		if err := request.Write(&wire); err != nil {
			t.Fatalf("%q passed and cannot be written: %v", raw, err)
		}
		received, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil || received.Host != request.URL.Host {
			t.Fatalf("%q arrives as host %q, %v", raw, received.Host, err)
		}
		_, authority, _ := strings.Cut(raw, "://")
		if i := strings.IndexAny(authority, "/?"); i >= 0 {
			authority = authority[:i]
		}
		if authority != request.URL.Host {
			t.Fatalf("%q names %q to a simple reader, and %q is dialled", raw, authority, request.URL.Host)
		}
		host := request.URL.Hostname()
		addr, err := netip.ParseAddr(host)
		if loose, ok := inetAton(host); ok {
			if err != nil || addr != loose {
				t.Fatalf("%q passed, and its host is %s to a lenient reader", raw, loose)
			}
		}
		if err != nil {
			return
		}
		if v, err := p.decide(host, netip.AddrPortFrom(addr, 443)); err != nil || v.refusal != nil {
			t.Fatalf("%q passed admission, and the dial says %v, %v", raw, v.refusal, err)
		}
	})
}

// inetAton reads an address like the C function inet_aton: one to four parts, each decimal, octal or hexadecimal, with
// the last one filling the rest.
func inetAton(host string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	value := uint64(0)
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (4 - i)
		}
		n, err := strconv.ParseUint(part, 0, bits)
		if err != nil || strings.Contains(part, "_") || strings.HasPrefix(strings.ToLower(part), "0b") ||
			strings.HasPrefix(strings.ToLower(part), "0o") {
			return netip.Addr{}, false
		}
		value = value<<bits | n
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// FuzzCheckHeaders checks that accepted headers arrive and do not change the headers that boomerang sets.
func FuzzCheckHeaders(f *testing.F) {
	for _, c := range []map[string]string{
		{"X-Custom-Header": "my-value", "X-Task-ID": "task-123"},
		{"Authorization": "Bearer a\tb", "cookie": "a=b; c=d"},
		{"user-agent": "mine"},
		{"X-A": "é"},
		{"X-A": "a\r\nX-HopX-Signature: forged"},
		{"Content-Length": "0"},
		{"": ""},
	} {
		text, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	p := newTestPolicy(f, openConfig)
	f.Fuzz(func(t *testing.T, text []byte) {
		var headers map[string]string
		if json.Unmarshal(text, &headers) != nil || p.CheckHeaders(headers) != nil {
			return
		}
		d := aDelivery("http://receiver/hook")
		d.Callback.Headers = text
		request, err := testSender(p).request(t.Context(), d, anAttempt())
		if err != nil {
			t.Fatal(err)
		}
		var wire bytes.Buffer
		if err := request.Write(&wire); err != nil {
			t.Fatalf("%q passed and cannot be written: %v", text, err)
		}
		received, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("%q passed and cannot be read: %v\n%s", text, err, wire.Bytes())
		}
		for name, value := range headers {
			want := []string{strings.Trim(value, " \t")}
			if strings.EqualFold(name, "User-Agent") && value == "" {
				want = nil // net/http leaves an empty User-Agent out
			}
			if got := received.Header.Values(name); !slices.Equal(got, want) {
				t.Errorf("%q: got %q, want %q", name, got, want)
			}
		}
		for name, values := range request.Header {
			if got := received.Header.Values(name); strings.HasPrefix(name, "X-HopX-") &&
				(len(got) != 1 || got[0] != values[0]) {
				t.Errorf("%q: got %q, want %q", name, got, values)
			}
		}
	})
}
