// Package address knows the addresses that clients and programs may not reach through this server, and the reasons.
//
// The package does not know its users: callbacks, the proxy for programs and the firewall rules share one list.
//
// Clients choose receivers and programs choose hosts, but their connections start inside the operator's network. So
// every address with a meaning only inside that network must be closed. These addresses are in two registries, the IANA
// IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190). All their ranges are closed, even those marked
// "globally reachable", because they contain no public receivers. For IPv6, conversely, only the addresses that IANA
// has allocated for global use are open. Addresses are unmapped first (::ffff:0:0/96, RFC 4291 §2.5.5.2), so a mapped
// address is treated as IPv4.
//
// One case cannot be recognised by an address: a NAT64 prefix of the operator's own (RFC 6052 §2.2) lies within
// global6 and leads to IPv4. Within such a prefix only metadata addresses are found.
package address

import (
	"maps"
	"net"
	"net/netip"
	"slices"
)

// Block is a closed range of addresses, and the public name of the rule that closes it.
type Block struct {
	Prefix netip.Prefix
	Rule   string
}

// blocks4 is the IANA IPv4 Special-Purpose Address Registry in its order, and multicast, which has a registry of its
// own.
var blocks4 = []Block{
	// "This network": as a destination, the kernel takes 0.0.0.0 for this host (RFC 1122 §3.2.1.3).
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified addresses (RFC 791)"},
	// Internal addresses of nearly every network; Docker's own bridges are in 172.16.0.0/12.
	{netip.MustParsePrefix("10.0.0.0/8"), "a private network (RFC 1918)"},
	// Between a carrier's customers and its NAT; clouds and overlay networks use it internally.
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier's shared addresses (RFC 6598)"},
	// The whole range is this host, not only 127.0.0.1.
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	// Neighbours on the link, and the metadata services of clouds.
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "a private network (RFC 1918)"},
	// Anycast to the provider's nearest server: DS-Lite, PCP and TURN, NAT64 discovery.
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments (RFC 6890)"},
	// For documentation; some networks use the range internally.
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation addresses (RFC 5737)"},
	// Sinks for reverse lookups of private addresses, often run internally.
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112 (RFC 7535)"},
	// Anycast to the nearest relay of multicast (AMT).
	{netip.MustParsePrefix("192.52.193.0/24"), "multicast tunnelling (RFC 7450)"},
	// Anycast to the nearest relay into IPv6, deprecated.
	{netip.MustParsePrefix("192.88.99.0/24"), "a 6to4 relay (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private network (RFC 1918)"},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112 (RFC 7534)"},
	// For laboratories; also used internally like private addresses.
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking addresses (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation addresses (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation addresses (RFC 5737)"},
	// Many receivers, which TCP does not support.
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	// Class E, used internally by some; includes the limited broadcast 255.255.255.255 (RFC 8190).
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved addresses (RFC 1112)"},
}

// global6 holds all IPv6 addresses for global use (RFC 4291). Addresses outside are closed without a list: unspecified
// and loopback (RFC 4291 §2.5), IPv4-compatible (§2.5.5.1), NAT64 (RFC 6052, RFC 8215), discard-only and dummy (RFC
// 6666, RFC 9780), segment routing (RFC 9602), unique local (RFC 4193), link-local (§2.5.6) with the ISATAP addresses
// in it (RFC 5214), site-local (RFC 3879), multicast (§2.7), and all ranges assigned in the future.
var global6 = netip.MustParsePrefix("2000::/3")

// blocks6 is the part of the IANA IPv6 Special-Purpose Address Registry that lies inside global6.
var blocks6 = []Block{
	// Teredo, which carries an IPv4 address and a port (RFC 4380), benchmarking, AMT, ORCHID, drone ids.
	{netip.MustParsePrefix("2001::/23"), "IETF protocol assignments (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation addresses (RFC 3849)"},
	// Carries any IPv4 address after its prefix, including private ones.
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112 (RFC 7534)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation addresses (RFC 9637)"},
}

// Names of the rules that are not ranges.
const (
	Metadata  = "cloud metadata" // cannot be opened
	NotGlobal = "IPv6 addresses that are not global (RFC 4291)"
	Own       = "an address of this host"
)

// metadataAddresses serve a machine's credentials. They stay closed even if the operator opens their range. No range
// closes 168.63.129.16, which is a public address.
var metadataAddresses = map[netip.Addr]bool{
	netip.MustParseAddr("169.254.169.254"): true, // AWS, Google, Azure, DigitalOcean, Oracle and more
	netip.MustParseAddr("169.254.169.253"): true, // AWS: the resolver
	netip.MustParseAddr("169.254.170.2"):   true, // AWS: credentials of an ECS task
	netip.MustParseAddr("169.254.170.23"):  true, // AWS: credentials of an EKS pod
	netip.MustParseAddr("169.254.0.23"):    true, // Tencent
	netip.MustParseAddr("169.254.42.42"):   true, // Scaleway
	netip.MustParseAddr("168.63.129.16"):   true, // Azure: the host agent
	netip.MustParseAddr("100.100.100.200"): true, // Alibaba
	netip.MustParseAddr("192.0.0.192"):     true, // Oracle
	netip.MustParseAddr("fd00:ec2::254"):   true, // AWS
	netip.MustParseAddr("fd00:ec2::253"):   true, // AWS: the resolver
	netip.MustParseAddr("fd00:ec2::23"):    true, // AWS: credentials of an EKS pod
	netip.MustParseAddr("fd20:ce::254"):    true, // Google
	netip.MustParseAddr("fd00:42::42"):     true, // Scaleway
}

// metadataNames are the names of metadata services.
var metadataNames = map[string]bool{
	"metadata":                   true,
	"metadata.google.internal":   true,
	"metadata.goog":              true,
	"metadata.azure.internal":    true,
	"metadata.tencentyun.com":    true,
	"instance-data":              true,
	"instance-data.ec2.internal": true,
}

// MetadataName reports whether a name leads to cloud metadata. The name must be in lower case and without a final dot.
func MetadataName(host string) bool { return metadataNames[host] }

// MetadataAddresses returns the addresses that stay closed even if an operator opens their range, in ascending order.
func MetadataAddresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(metadataAddresses), netip.Addr.Compare)
}

// Rule returns the name of the rule that closes an address, or "". Metadata comes before all other rules. Own means an
// address of this host's interfaces, which own lists; Rule calls own only if no other rule closes the address, and
// returns its error.
func Rule(addr netip.Addr, own func() ([]netip.Addr, error)) (string, error) {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	if isMetadata(addr) {
		return Metadata, nil
	}
	if rule := closedRule(addr); rule != "" {
		return rule, nil
	}
	mine, err := own()
	if err != nil {
		return "", err
	}
	if slices.Contains(mine, addr) {
		return Own, nil
	}
	return "", nil
}

// Interfaces returns the addresses of this host, or of the network namespace of this process. It asks the kernel on
// each call, because addresses may change.
func Interfaces() ([]netip.Addr, error) {
	networks, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make([]netip.Addr, 0, len(networks))
	for _, network := range networks {
		if ip, ok := network.(*net.IPNet); ok {
			addr, _ := netip.AddrFromSlice(ip.IP)
			own = append(own, addr.Unmap())
		}
	}
	return own, nil
}

// Closed4 returns all closed IPv4 ranges, followed by the metadata addresses outside these ranges, for users that need
// the list instead of Rule.
func Closed4() []Block {
	all := slices.Clone(blocks4)
	for _, addr := range MetadataAddresses() {
		if addr.Is4() && closedRule(addr) == "" {
			all = append(all, Block{netip.PrefixFrom(addr, addr.BitLen()), Metadata})
		}
	}
	return all
}

// closedRule returns the name of the range rule that closes an address, or "". The address is unmapped and has no zone.
func closedRule(addr netip.Addr) string {
	blocks := blocks4
	if addr.Is6() {
		if !global6.Contains(addr) {
			return NotGlobal
		}
		blocks = blocks6
	}
	for _, b := range blocks {
		if b.Prefix.Contains(addr) {
			return b.Rule
		}
	}
	return ""
}

// isMetadata reports whether an address leads to cloud metadata: directly, or after a translator has extracted an IPv4
// address from it. That IPv4 address is in the last 32 bits (RFC 4291 §2.5.5, RFC 6052 with a /96), or follows 2002:
// (RFC 3056).
func isMetadata(addr netip.Addr) bool {
	if metadataAddresses[addr] {
		return true
	}
	if addr.Is4() {
		return false
	}
	b := addr.As16()
	return metadataAddresses[netip.AddrFrom4([4]byte(b[12:16]))] ||
		b[0] == 0x20 && b[1] == 0x02 && metadataAddresses[netip.AddrFrom4([4]byte(b[2:6]))]
}
