package address

import (
	"net/netip"
	"slices"
	"testing"
)

func TestInterfacesAreThoseOfTheKernel(t *testing.T) {
	own, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, addr := range own {
		if addr.IsLoopback() {
			return
		}
	}
	t.Errorf("got %v, want the loopback address among them", own)
}

// TestRuleClosesEachRangeToItsBorders checks the first and the last address of each range, and their neighbours.
func TestRuleClosesEachRangeToItsBorders(t *testing.T) {
	for _, b := range append(slices.Clip(blocks4), blocks6...) {
		first := b.Prefix.Masked().Addr()
		last := lastOf(b.Prefix)
		for _, addr := range []netip.Addr{first, last} {
			if got := closedRule(addr); got == "" {
				t.Errorf("%s of %s is open", addr, b.Prefix)
			}
		}
		for _, addr := range []netip.Addr{first.Prev(), last.Next()} {
			if addr.IsValid() && closedRule(addr) == b.Rule && !shared(b, addr) {
				t.Errorf("%s outside of %s is closed by its rule", addr, b.Prefix)
			}
		}
	}
	for _, open := range []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
		"223.255.255.255", "2001:200::", "2003::", "2620:4f:8001::", "3ffe:ffff::", "3fff:1000::",
	} {
		if rule := closedRule(netip.MustParseAddr(open)); rule != "" {
			t.Errorf("%s is closed by %q", open, rule)
		}
	}
}

// shared reports whether another range with the rule of b holds addr.
func shared(b Block, addr netip.Addr) bool {
	for _, other := range append(slices.Clip(blocks4), blocks6...) {
		if other.Prefix != b.Prefix && other.Rule == b.Rule && other.Prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// TestClosed4ContainsEveryClosedAddress checks that Rule and Closed4 agree on each metadata address and on
// addresses all over IPv4.
func TestClosed4ContainsEveryClosedAddress(t *testing.T) {
	list := Closed4()
	noInterfaces := func() ([]netip.Addr, error) { return nil, nil }
	try := func(addr netip.Addr) {
		rule, err := Rule(addr, noInterfaces)
		listed := slices.ContainsFunc(list, func(b Block) bool { return b.Prefix.Contains(addr) })
		if err != nil || listed != (rule != "") {
			t.Errorf("%s: closed by %q (%v), on the list %t", addr, rule, err, listed)
		}
	}
	for _, addr := range MetadataAddresses() {
		if addr.Is4() {
			try(addr)
		}
	}
	for i := range 1 << 16 {
		try(netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 3, 7}))
	}
}
