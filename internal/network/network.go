// Package network knows the networks that a language may choose beside none, and the rules of the machine's firewall that
// close them: egress reaches public addresses alone, proxy reaches the proxy alone.
//
// It refuses to know Docker: what makes the networks there is given a Bridge. Why each address is closed, package address
// knows.
package network

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"boomerang/internal/address"
)

// The networks that a language may choose.
const (
	None   = "none"   // nothing but loopback
	Egress = "egress" // public IPv4 addresses
	Proxy  = "proxy"  // the proxy, and by it what its list allows
)

// Config of the networks. Whoever lays them and whoever uses them must have the same.
type Config struct {
	// Prefix begins the names of networks, bridges and chains. Two servers on one engine may share all of them, or have two.
	Prefix string `yaml:"prefix"`
	// DNS are the servers that programs on egress ask; public ones, or the rules would close the way to them.
	DNS []netip.Addr `yaml:"dns"`
	// EgressSubnet and ProxySubnet are private IPv4 ranges that nobody else has: one address for each program at a time.
	EgressSubnet netip.Prefix `yaml:"egress_subnet"`
	ProxySubnet  netip.Prefix `yaml:"proxy_subnet"`
	// ProxyPort is where the proxy listens, on the gateway of its network.
	ProxyPort uint16 `yaml:"proxy_port"`
}

// Defaults are two networks for some 4000 programs each.
func Defaults() Config {
	return Config{
		Prefix:       "boomerang",
		DNS:          []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9")},
		EgressSubnet: netip.MustParsePrefix("10.213.0.0/20"),
		ProxySubnet:  netip.MustParsePrefix("10.213.16.0/20"),
		ProxyPort:    3128,
	}
}

// prefixForm leaves room for what is put around it: a name of an interface has at most 15 characters.
var prefixForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,9}$`)

const (
	largestSubnet  = 16 // bits: beyond, it would swallow what the machine's own network uses
	smallestSubnet = 28
)

// Validate names the key that is wrong.
func (c Config) Validate() error {
	if !prefixForm.MatchString(c.Prefix) {
		return fmt.Errorf("prefix must be at most 10 of a-z 0-9 and begin with a letter, not %q", c.Prefix)
	}
	if len(c.DNS) == 0 {
		return errors.New("dns must name a server")
	}
	for _, server := range c.DNS {
		if err := checkDNSServer(server); err != nil {
			return fmt.Errorf("dns: %s %w", server, err)
		}
	}
	for _, subnet := range []struct {
		key   string
		value netip.Prefix
	}{{"egress_subnet", c.EgressSubnet}, {"proxy_subnet", c.ProxySubnet}} {
		if p := subnet.value; !p.Addr().Is4() || !p.Addr().IsPrivate() || p != p.Masked() || p.Bits() < largestSubnet || p.Bits() > smallestSubnet {
			return fmt.Errorf("%s must be a private IPv4 range of /%d to /%d like 10.213.0.0/20, not %s", subnet.key, largestSubnet, smallestSubnet, p)
		}
	}
	if c.EgressSubnet.Overlaps(c.ProxySubnet) {
		return errors.New("proxy_subnet must not overlap egress_subnet")
	}
	if c.ProxyPort == 0 {
		return errors.New("proxy_port must be between 1 and 65535")
	}
	return nil
}

func checkDNSServer(server netip.Addr) error {
	if !server.Is4() {
		return errors.New("must be an IPv4 address: the networks have no IPv6")
	}
	rule, err := address.Rule(server, func() ([]netip.Addr, error) { return nil, nil })
	if err == nil && rule != "" {
		err = fmt.Errorf("is %s, which the rules close", rule)
	}
	return err
}

// Bridge is one network: a bridge on the machine, and the name under which the engine has it.
type Bridge struct {
	Network   string // Egress or Proxy
	Name      string // the engine's
	Interface string // the machine's
	Subnet    netip.Prefix
	Gateway   netip.Addr // the machine's own address on it
	Internal  bool       // without a way out
}

// Bridges are both networks.
func (c Config) Bridges() []Bridge { return []Bridge{c.egress(), c.proxy()} }

// Bridge is the network that a language calls by that name; false when there is none of it.
func (c Config) Bridge(network string) (Bridge, bool) {
	for _, b := range c.Bridges() {
		if b.Network == network {
			return b, true
		}
	}
	return Bridge{}, false
}

func (c Config) egress() Bridge {
	return Bridge{
		Network: Egress, Name: c.Prefix + "-egress", Interface: "br-" + c.Prefix + "-e",
		Subnet: c.EgressSubnet, Gateway: c.EgressSubnet.Addr().Next(),
	}
}

func (c Config) proxy() Bridge {
	return Bridge{
		Network: Proxy, Name: c.Prefix + "-proxy", Interface: "br-" + c.Prefix + "-p",
		Subnet: c.ProxySubnet, Gateway: c.ProxySubnet.Addr().Next(), Internal: true,
	}
}

// nowhere is given as DNS server to programs that shall have none: the engine would ask the machine's own otherwise, in the
// machine's name. It is an address for books (RFC 5737) on a network without a way out.
var unreachableDNS = netip.MustParseAddr("203.0.113.53")

// Servers are the DNS servers of a network's programs.
func (c Config) Servers(network string) []netip.Addr {
	if network == Egress {
		return c.DNS
	}
	return []netip.Addr{unreachableDNS}
}

// ProxyAddr is where the proxy listens.
func (c Config) ProxyAddr() netip.AddrPort { return netip.AddrPortFrom(c.proxy().Gateway, c.ProxyPort) }

// ProxyURL is where programs find it.
func (c Config) ProxyURL() string { return "http://" + c.ProxyAddr().String() }

// Sentinel is an address that nobody has (RFC 7600) and whose port 9 refuses connections because the rules say so: a program
// that is refused there knows that the rules are in its way.
func Sentinel() netip.AddrPort { return netip.MustParseAddrPort("192.0.0.8:9") }

// chain is the name of one of our chains.
func (c Config) chain(name string) string { return strings.ToUpper(c.Prefix) + "-" + name }
