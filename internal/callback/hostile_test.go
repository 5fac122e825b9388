package callback

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/address"
	"boomerang/internal/execution"
)

// hostileAnswers are names that admission cannot recognise as hostile: the DNS answers for each, one after another, and
// a part of the rule that refuses the last.
var hostileAnswers = []struct {
	url     string
	answers [][]string
	rule    string
}{
	{"http://a.example.com/", [][]string{{"10.11.12.13"}}, "RFC 1918"},
	{"http://a.example.com:6379/", [][]string{{"127.0.0.1"}}, "loopback"},
	{"http://A.EXAMPLE.COM./", [][]string{{"127.0.0.1"}}, "loopback"},
	{"https://a.example.com/", [][]string{{"127.8.8.8"}}, "loopback"},
	{"http://localtest.me/", [][]string{{"127.0.0.1"}}, "loopback"},
	{"http://127.0.0.1.nip.io/", [][]string{{"127.0.0.1"}}, "loopback"},
	{"http://0x7f000001.nip.io/", [][]string{{"127.0.0.1"}}, "loopback"},
	{"http://xn--lcalhost-57a.example/", [][]string{{"127.0.0.1"}}, "loopback"},
	{"http://a.example.com/", [][]string{{"0.0.0.0"}}, "RFC 791"},
	{"http://a.example.com/", [][]string{{"::"}}, ""},
	{"http://a.example.com/", [][]string{{"::1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"::ffff:127.0.0.1"}}, "loopback"},
	{"http://a.example.com/", [][]string{{"::ffff:10.0.0.1"}}, "RFC 1918"},
	{"http://a.example.com/", [][]string{{"::10.0.0.1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"64:ff9b::10.0.0.1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"64:ff9b:1::10.0.0.1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"2002:7f00:1::1"}}, "6to4"},
	{"http://a.example.com/", [][]string{{"2001:0:a00:1::80ff:fffe"}}, "RFC 2928"},
	{"http://a.example.com/", [][]string{{"fe80::5efe:10.0.0.1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"fe80::1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"fd00::1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"ff02::1"}}, "not global"},
	{"http://a.example.com/", [][]string{{"100.64.0.1"}}, "RFC 6598"},
	{"http://a.example.com/", [][]string{{"172.17.0.1"}}, "RFC 1918"},
	{"http://a.example.com/", [][]string{{"224.0.0.251"}}, "multicast"},
	{"http://a.example.com/", [][]string{{"255.255.255.255"}}, "RFC 1112"},
	{"http://a.example.com/", [][]string{{hostAddress}}, "this host"},
	{"http://a.example.com/", [][]string{{"::ffff:" + hostAddress}}, "this host"},

	// Cloud metadata.
	{"http://aws.example.com/latest/meta-data/", [][]string{{"169.254.169.254"}}, "metadata"},
	{"http://aws.example.com/latest/meta-data/", [][]string{{"::ffff:169.254.169.254"}}, "metadata"},
	{"http://aws.example.com/latest/meta-data/", [][]string{{"64:ff9b::169.254.169.254"}}, "metadata"},
	{"http://aws.example.com/latest/meta-data/", [][]string{{"2606:4700::5efe:169.254.169.254"}}, "metadata"},
	{"http://aws.example.com/latest/meta-data/", [][]string{{"fd00:ec2::254"}}, "metadata"},
	{"http://ecs.example.com/v2/credentials/", [][]string{{"169.254.170.2"}}, "metadata"},
	{"http://eks.example.com/v1/credentials", [][]string{{"fd00:ec2::23"}}, "metadata"},
	{"http://google.example.com/computeMetadata/v1/", [][]string{{"fd20:ce::254"}}, "metadata"},
	{"http://azure.example.com/machine", [][]string{{"168.63.129.16"}}, "metadata"},
	{"http://alibaba.example.com/latest/meta-data/", [][]string{{"100.100.100.200"}}, "metadata"},
	{"http://oracle.example.com/latest/", [][]string{{"192.0.0.192"}}, "metadata"},
	{"http://tencent.example.com/latest/", [][]string{{"169.254.0.23"}}, "metadata"},
	{"http://scaleway.example.com/conf", [][]string{{"169.254.42.42"}}, "metadata"},

	// Public in the first answer, private when dialled.
	{"http://rebind.example.com/", [][]string{{"93.184.216.34"}, {"127.0.0.1"}}, "loopback"},
	{"http://rebind.example.com/", [][]string{{"93.184.216.34"}, {"169.254.169.254"}}, "metadata"},
	{"http://rebind.example.com/", [][]string{{"2606:4700::1111", "93.184.216.34"}, {"::1", "10.0.0.1"}}, ""},

	// Several addresses, all closed.
	{"http://mixed.example.com/", [][]string{{"10.0.0.1", "192.168.0.1", "172.16.0.1"}}, "RFC 1918"},
	{"http://mixed.example.com/", [][]string{{"fd00::1", "10.0.0.1"}}, ""},

	// An alias of an internal name.
	{"http://alias.example.com/", [][]string{{"db.internal"}}, "RFC 1918"},
	{"http://alias.example.com/", [][]string{{"another.example.com"}}, "RFC 1918"},
	{"http://alias.example.com/", [][]string{{"localhost"}}, "loopback"},
	{"http://alias.example.com/", [][]string{{"metadata.google.internal"}}, "metadata"},
}

// internalNames are the addresses of the other names.
var internalNames = map[string]string{
	"db.internal": "10.11.12.13", "metadata.google.internal": "169.254.169.254", "localhost": "127.0.0.1",
}

// TestNoHostileDestinationIsReached sends to each destination like an attempt. Names without an answer lead to
// loopback, so that a name that must not be looked up is not saved by being unknown.
func TestNoHostileDestinationIsReached(t *testing.T) {
	count := 0
	reach := func(target string, answers map[string][][]string, rule string) {
		count++
		p := newTestPolicy(t, defaultConfig)
		s := newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", longTimeouts())
		dial := dialerWithDNS(p, nil)
		dial.resolver = (&dnsServer{answers: answers, otherwise: []string{"127.0.0.1"}}).resolver()
		s.transport.DialContext = dial.dial
		if u, err := url.Parse(target); err == nil {
			for range len(answers[canonicalHost(u.Hostname())]) - 1 { // the lookups before the dial
				if _, err := dial.resolver.LookupNetIP(t.Context(), "ip4", u.Hostname()); err != nil {
					t.Errorf("%q: %v", target, err)
				}
			}
		}
		got, err := delivererOf(t, s).Try(t.Context(), Sample{URL: target})
		if err != nil || got.Outcome != execution.AttemptBlocked || got.Connected || !strings.Contains(got.Rule, rule) {
			t.Errorf("%q (%v): got %s by %q, connected %t, %v; want it blocked by %q",
				target, answers, got.Outcome, got.Rule, got.Connected, err, rule)
		}
	}
	for _, c := range hostile {
		reach(c.url, nil, c.rule)
	}
	for _, target := range metadataURLs {
		reach(target, nil, "metadata")
	}
	for _, c := range hostileAnswers {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		answers := map[string][][]string{
			canonicalHost(u.Hostname()): c.answers,
			"another.example.com":       {{"db.internal"}},
		}
		for name, addr := range internalNames {
			answers[name] = [][]string{{addr}}
		}
		if err := newTestPolicy(t, defaultConfig).CheckURL(c.url); err != nil {
			t.Errorf("%q needs no DNS to be refused: %v", c.url, err)
		}
		reach(c.url, answers, c.rule)
	}
	if count < 80 {
		t.Errorf("%d destinations", count)
	}
}

func TestOnlyTheOpenAddressOfAMixedAnswerIsReached(t *testing.T) {
	open := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	closed := httptest.NewServer(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the closed address was reached") }),
	)
	defer closed.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.2"+portOf(closed))
	if err != nil {
		t.Fatal("no second loopback address: ", err)
	}
	closeConn(open.Listener)
	open.Listener = l
	open.Start()
	defer open.Close()
	p := newTestPolicy(t, func(c *Config) { c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")} })
	for _, answers := range [][]string{
		{"127.0.0.1", "127.0.0.2"},
		{"127.0.0.2", "127.0.0.1"},
		{"::1", "127.0.0.1", "127.0.0.2"},
		{"::ffff:127.0.0.1", "127.0.0.2"},
	} {
		s := newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", longTimeouts())
		s.transport.DialContext = dialerWithDNS(p, map[string][][]string{"a.example.com": {answers}}).dial
		sendAndCheck(t, s, "http://a.example.com"+portOf(closed), execution.AttemptSucceeded, 200)
		s.transport.CloseIdleConnections()
	}
}

// FuzzAttempt checks that no closed address is connected to, for any URL that passes admission and any DNS answer. The
// standard library, not our list of ranges, decides which addresses are closed.
func FuzzAttempt(f *testing.F) {
	for _, c := range hostile {
		f.Add(c.url, []byte{127, 0, 0, 1})
	}
	for _, c := range hostileAnswers {
		for _, text := range c.answers[len(c.answers)-1] {
			if addr, err := netip.ParseAddr(text); err == nil {
				f.Add(c.url, addr.AsSlice())
			}
		}
	}
	f.Add("https://example.com/hook?a=b", []byte{93, 184, 216, 34})
	f.Add("http://[2606:4700::1111]:8080/", []byte{8, 8, 8, 8, 10, 0, 0, 1})
	p := newTestPolicy(f, defaultConfig)
	f.Fuzz(func(t *testing.T, target string, dns []byte) {
		if p.CheckURL(target) != nil {
			return
		}
		var passed dialRecorder
		s := newSender(Defaults(), p, fakeUnsealer{}, "1.2.3", timeouts{total: 2 * time.Second})
		s.transport.DialContext = passed.dialer(p, addresses(dns))
		a, _ := s.send(t.Context(), aDelivery(target))
		if a.StatusCode != 0 || a.Outcome == execution.AttemptTimeout {
			t.Fatalf("%q with %x: %s", target, dns, a.Outcome)
		}
		for _, addr := range passed.addresses {
			if forbidden(addr) {
				t.Errorf("%q with %x: %s would have been connected to", target, dns, addr)
			}
		}
	})
}

// addresses reads IPv4 addresses and, from sixteen bytes on, an IPv6 address.
func addresses(dns []byte) (answers []string) {
	if len(dns) >= 16 {
		answers = append(answers, netip.AddrFrom16([16]byte(dns)).String())
		dns = dns[16:]
	}
	for ; len(dns) >= 4 && len(answers) < 8; dns = dns[4:] {
		answers = append(answers, netip.AddrFrom4([4]byte(dns)).String())
	}
	return answers
}

// dialRecorder records the addresses that the policy allowed a dialer to connect to.
type dialRecorder struct {
	mu        sync.Mutex
	addresses []netip.Addr
}

// dialer returns a dial function that resolves every name to answers, asks p, and never connects.
func (r *dialRecorder) dialer(p *Policy, answers []string) dialFunc {
	resolver := (&dnsServer{otherwise: answers}).resolver()
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		v := dialGuard{policy: p, host: host, allowed: make(map[netip.Addr]bool)}
		inner := net.Dialer{
			Resolver: resolver,
			ControlContext: func(ctx context.Context, network, address string, c syscall.RawConn) error {
				if err := v.control(ctx, network, address, c); err != nil {
					return err
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.addresses = append(r.addresses, netip.MustParseAddrPort(address).Addr())
				return errors.New("far enough")
			},
		}
		return inner.DialContext(ctx, network, address)
	}
}

func forbidden(addr netip.Addr) bool {
	metadata := map[netip.Addr]bool{}
	for _, a := range address.MetadataAddresses() {
		metadata[a] = true
	}
	addr = addr.Unmap()
	if addr.Is6() { // look through encodings of an IPv4 address
		b := addr.As16()
		for _, carried := range [][4]byte{[4]byte(b[2:6]), [4]byte(b[12:16])} {
			if metadata[netip.AddrFrom4(carried)] && (b[0] == 0x20 && b[1] == 2 || carried == [4]byte(b[12:16])) {
				return true
			}
		}
	}
	return addr.IsPrivate() || !addr.IsGlobalUnicast() || metadata[addr] || addr == netip.MustParseAddr(hostAddress)
}
