// Package network defines the networks that a language may choose beside none, and the firewall rules that restrict
// them: egress reaches only public addresses, proxy reaches only the proxy.
//
// The package does not know Docker: the code that creates the networks gets a Bridge. Package address knows why each
// address is closed.
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
	None   = "none"   // only loopback
	Egress = "egress" // public IPv4 addresses
	Proxy  = "proxy"  // the proxy, and through it the hosts on its list
)

// Config holds the settings of the networks. The command that installs the rules and the server that uses the networks
// need equal settings.
type Config struct {
	// Prefix starts the names of networks, bridges and chains. Two servers on one engine may share the networks, or use
	// two prefixes.
	Prefix string `yaml:"prefix"`
	// DNS lists the DNS servers of programs on egress. They must be public: the rules close all other addresses.
	DNS []netip.Addr `yaml:"dns"`
	// EgressSubnet and ProxySubnet are private IPv4 ranges without other users, with one address for each running
	// program.
	EgressSubnet netip.Prefix `yaml:"egress_subnet"`
	ProxySubnet  netip.Prefix `yaml:"proxy_subnet"`
	// ProxyPort is the port of the proxy, on the gateway of its network.
	ProxyPort uint16 `yaml:"proxy_port"`
}

// Defaults returns settings for two networks of about 4000 programs each.
func Defaults() Config {
	return Config{
		Prefix:       "boomerang",
		DNS:          []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9")},
		EgressSubnet: netip.MustParsePrefix("10.213.0.0/20"),
		ProxySubnet:  netip.MustParsePrefix("10.213.16.0/20"),
		ProxyPort:    3128,
	}
}

// prefixForm leaves room for the rest of the name: an interface's name has at most 15 characters.
var prefixForm = regexp.MustCompile(`^[a-z][a-z0-9]{0,9}$`)

const (
	largestSubnet  = 16 // bits; a larger one would swallow addresses of the machine's own network
	smallestSubnet = 28
)

// Validate returns an error that names the invalid key.
func (c Config) Validate() error {
	if !prefixForm.MatchString(c.Prefix) {
		return fmt.Errorf("prefix must be 1 to 10 characters of a-z and 0-9 and start with a letter, not %q", c.Prefix)
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
		if !validSubnet(subnet.value) {
			return fmt.Errorf("%s must be a private IPv4 range of /%d to /%d like 10.213.0.0/20, not %s",
				subnet.key, largestSubnet, smallestSubnet, subnet.value)
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

func validSubnet(p netip.Prefix) bool {
	private4 := p.Addr().Is4() && p.Addr().IsPrivate()
	return private4 && p == p.Masked() && p.Bits() >= largestSubnet && p.Bits() <= smallestSubnet
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

// Bridge is one network: a bridge on the machine, and its name in the engine.
type Bridge struct {
	Network   string // Egress or Proxy
	Name      string // name of the network in the engine
	Interface string // name of the bridge on the machine
	Subnet    netip.Prefix
	Gateway   netip.Addr // the machine's address on the bridge
	Internal  bool       // no route to other networks
}

// Bridges returns both networks.
func (c Config) Bridges() []Bridge { return []Bridge{c.egress(), c.proxy()} }

// Bridge returns the network with the name that languages use; false if there is none.
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

// unreachableDNS is the DNS server of programs that must have none. Without it the engine would query the machine's own
// DNS servers for them. It is a documentation address (RFC 5737), used on a network without a route out.
var unreachableDNS = netip.MustParseAddr("203.0.113.53")

// Servers returns the DNS servers of a network's programs.
func (c Config) Servers(network string) []netip.Addr {
	if network == Egress {
		return c.DNS
	}
	return []netip.Addr{unreachableDNS}
}

// ProxyAddr returns the listen address of the proxy.
func (c Config) ProxyAddr() netip.AddrPort { return netip.AddrPortFrom(c.proxy().Gateway, c.ProxyPort) }

// ProxyURL returns the URL of the proxy for programs.
func (c Config) ProxyURL() string { return "http://" + c.ProxyAddr().String() }

// Sentinel returns a dummy address (RFC 7600) whose port 9 refuses connections because of the rules: a program whose
// connection is refused there knows that the rules are in effect.
func Sentinel() netip.AddrPort { return netip.MustParseAddrPort("192.0.0.8:9") }

// chain returns the full name of one of our chains.
func (c Config) chain(name string) string { return strings.ToUpper(c.Prefix) + "-" + name }
