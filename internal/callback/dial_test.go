package callback

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/address"
)

// dnsServer answers DNS queries: for each name it has a list of answers, used one after another, the last one for ever.
// An answer is a list of addresses, or a single other name, which is returned as the canonical name.
type dnsServer struct {
	mu        sync.Mutex
	answers   map[string][][]string
	otherwise []string // addresses of every other name; nil if there are no other names
}

// resolver returns a resolver that queries s as if it were a name server reached over TCP.
func (s *dnsServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go s.serve(server)
		return client, nil
	}}
}

// serve answers the queries of one connection (RFC 1035 §4.2.2).
func (s *dnsServer) serve(conn net.Conn) {
	defer closeConn(conn)
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		answer := s.answer(query)
		length := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
		if _, err := conn.Write(append(length, answer...)); err != nil {
			return
		}
	}
}

func (s *dnsServer) answer(query []byte) []byte {
	var labels []string
	end := 12
	for query[end] != 0 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
		end += 1 + int(query[end])
	}
	name := strings.ToLower(strings.Join(labels, "."))
	kind := binary.BigEndian.Uint16(query[end+1:])
	records, known := s.next(name, kind == 28)
	answer := append([]byte{}, query[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0) // a recursive answer to one question
	answer = append(answer, query[12:end+5]...)
	if !known {
		answer[3] |= 3 // NXDOMAIN
	}
	owner := []byte{0xc0, 12} // the name of the question
	for _, record := range records {
		addr, err := netip.ParseAddr(record)
		switch {
		case err != nil:
			canonical := encodeName(record)
			answer = appendRecord(answer, owner, 5, canonical)
			owner = canonical
		case addr.Is6() == (kind == 28):
			answer = appendRecord(answer, owner, kind, addr.AsSlice())
		default:
			continue
		}
		answer[7]++
	}
	return answer
}

// appendRecord appends a record without a time to live.
func appendRecord(answer, owner []byte, kind uint16, data []byte) []byte {
	answer = append(answer, owner...)
	answer = append(answer, byte(kind>>8), byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(len(data)))
	return append(answer, data...)
}

func encodeName(name string) (encoded []byte) {
	for label := range strings.SplitSeq(name, ".") {
		encoded = append(append(encoded, byte(len(label))), label...)
	}
	return append(encoded, 0)
}

// next returns the records of a name: canonical names and then addresses. A query for the A record advances to the next
// answer; the query for AAAA comes beside it.
func (s *dnsServer) next(name string, six bool) (records []string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		answers, known := s.answers[name]
		if !known {
			return append(records, s.otherwise...), s.otherwise != nil
		}
		records = append(records, answers[0]...)
		if !six && len(answers) > 1 {
			s.answers[name] = answers[1:]
		}
		if len(answers[0]) != 1 {
			return records, true
		}
		if _, err := netip.ParseAddr(answers[0][0]); err == nil {
			return records, true
		}
		name = answers[0][0]
	}
}

// dialerWithDNS returns a dialer that resolves names to answers.
func dialerWithDNS(p *Policy, answers map[string][][]string) guardedDialer {
	return guardedDialer{policy: p, resolver: (&dnsServer{answers: answers}).resolver(), timeout: 5 * time.Second}
}

// allowLoopback opens this machine and shows all that happens there, as for a public receiver.
func allowLoopback(c *Config) {
	c.AllowCIDRs, c.RevealExceptions = []address.Range{address.MustParseRange("127.0.0.0/8")}, true
}

// listen accepts connections on a loopback address and returns its port.
func listen(t *testing.T) (port string) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(l) })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestDialRefusesEveryClosedAddressThatDNSGives(t *testing.T) {
	for addr, rule := range map[string]string{
		"0.0.0.0":                  "RFC 791",
		"10.255.255.255":           "RFC 1918",
		"100.127.255.255":          "RFC 6598",
		"127.0.0.1":                "loopback",
		"169.254.0.1":              "link-local",
		"169.254.169.254":          "metadata",
		"172.16.0.1":               "RFC 1918",
		"192.0.0.1":                "RFC 6890",
		"192.0.0.170":              "RFC 6890",
		"192.0.2.1":                "RFC 5737",
		"192.31.196.1":             "AS112",
		"192.52.193.1":             "RFC 7450",
		"192.88.99.1":              "6to4",
		"192.168.0.1":              "RFC 1918",
		"192.175.48.1":             "AS112",
		"198.18.0.1":               "RFC 2544",
		"198.51.100.1":             "RFC 5737",
		"203.0.113.1":              "RFC 5737",
		"239.255.255.255":          "multicast",
		"240.0.0.1":                "RFC 1112",
		"255.255.255.255":          "RFC 1112",
		"168.63.129.16":            "metadata",
		"100.100.100.200":          "metadata",
		hostAddress:                "this host",
		"::1":                      "not global",
		"::ffff:127.0.0.1":         "loopback",
		"::ffff:169.254.169.254":   "metadata",
		"::10.0.0.1":               "not global",
		"64:ff9b::10.0.0.1":        "not global",
		"64:ff9b::169.254.169.254": "metadata",
		"fd00:ec2::254":            "metadata",
		"fe80::1":                  "not global",
		"fec0::1":                  "not global",
		"ff0e::1":                  "not global",
		"2001::1":                  "RFC 2928",
		"2001:db8::1":              "RFC 3849",
		"2002:a00:1::":             "6to4",
		"3fff::1":                  "RFC 9637",
		"4000::1":                  "not global",
	} {
		t.Run(addr, func(t *testing.T) {
			d := dialerWithDNS(newTestPolicy(t, defaultConfig), map[string][][]string{"evil.example.com": {{addr}}})
			conn, err := d.dial(t.Context(), "tcp", "evil.example.com:80")
			if err == nil {
				closeConn(conn)
				t.Fatal("it connected")
			}
			refusal, ok := errors.AsType[*RefusalError](err)
			if !ok || !strings.Contains(refusal.Rule, rule) {
				t.Errorf("got %v, want a refusal about %q", err, rule)
			}
			if strings.Contains(err.Error(), addr) {
				t.Errorf("%q names the address", err)
			}
		})
	}
}

func TestDialConnectsToTheOpenAddressAmongClosedOnes(t *testing.T) {
	port := listen(t)
	for _, addresses := range [][]string{
		{"10.0.0.1", "127.0.0.1"}, {"127.0.0.1", "10.0.0.1"}, {"fd00::1", "127.0.0.1"},
	} {
		conn, err := dialerWithDNS(newTestPolicy(t, allowLoopback),
			map[string][][]string{"a.example.com": {addresses}}).
			dial(t.Context(), "tcp", "a.example.com:"+port)
		if err != nil {
			t.Errorf("%v: %v", addresses, err)
			continue
		}
		if v, ok := conn.(*guardedConn); !ok || !v.excepted {
			t.Errorf("%v: got %#v, want a connection that an exception opened", addresses, conn)
		}
		closeConn(conn)
	}
}

func TestDialDoesNotBlockANameWithAnOpenAddressThatIsDown(t *testing.T) {
	p := newTestPolicy(t, func(c *Config) { c.AllowCIDRs = []address.Range{address.MustParseRange("127.0.0.2/32")} })
	for _, addresses := range [][]string{
		{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}, {"fd00::1", "127.0.0.2"},
	} {
		_, err := dialerWithDNS(p, map[string][][]string{"a.example.com": {addresses}}).
			dial(t.Context(), "tcp", "a.example.com:1")
		if _, blocked := errors.AsType[*RefusalError](err); err == nil || blocked {
			t.Errorf("%v: got %v", addresses, err)
		}
	}
}

func TestDialStopsDNSRebinding(t *testing.T) {
	port := listen(t)
	d := dialerWithDNS(newTestPolicy(t, allowLoopback),
		map[string][][]string{"rebind.example.com": {{"127.0.0.1"}, {"10.0.0.1"}}})
	conn, err := d.dial(t.Context(), "tcp", "rebind.example.com:"+port)
	if err != nil {
		t.Fatal(err)
	}
	closeConn(conn)
	if _, err := d.dial(t.Context(), "tcp", "rebind.example.com:"+port); err == nil {
		t.Error("the second answer was dialled")
	} else if _, ok := errors.AsType[*RefusalError](err); !ok {
		t.Errorf("got %v", err)
	}
}

func TestDialOpensAllAddressesOfAnAllowedNameExceptMetadata(t *testing.T) {
	port := listen(t)
	p := newTestPolicy(t, func(c *Config) { c.AllowHosts = []address.Host{{Name: "receiver"}} })
	answers := map[string][][]string{"receiver": {{"127.0.0.1"}, {"169.254.169.254"}}, "other": {{"127.0.0.1"}}}
	d := dialerWithDNS(p, answers)
	conn, err := d.dial(t.Context(), "tcp", "receiver:"+port)
	if err != nil {
		t.Fatal(err)
	}
	closeConn(conn)
	for _, name := range []string{"receiver", "other"} {
		_, err = d.dial(t.Context(), "tcp", name+":"+port)
		if _, ok := errors.AsType[*RefusalError](err); !ok {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
}

func TestDialReturnsTheErrorOfTheNetwork(t *testing.T) {
	d := dialerWithDNS(newTestPolicy(t, allowLoopback), map[string][][]string{"down.example.com": {{"127.0.0.1"}}})
	if _, err := d.dial(t.Context(), "tcp", "down.example.com:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refused connection", err)
	}
	_, err := d.dial(t.Context(), "tcp", "unknown.example.com:80")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
		t.Errorf("got %v, want an unknown name", err)
	}
}
