package callback

import (
	"net/netip"
	"net/url"
	"slices"

	"boomerang/internal/address"
)

// RefusalError says why a destination is closed. It names the rule and never an address: the addresses that DNS returns
// inside the operator's network must not reach the client.
type RefusalError struct{ Rule string }

// Error returns one public sentence.
func (r *RefusalError) Error() string { return "The callback must not go to " + r.Rule + "." }

// Policy decides where callbacks may go. CheckURL asks it when a submission comes in, without DNS; the dial asks it for
// each resolved address. The dial has the last word, so a name that changes its address in between gains nothing.
type Policy struct {
	cidrs         []address.Range
	hosts         map[string][]address.Ports
	reveal        bool // clients see how attempts at exceptions fail
	requireHTTPS  bool
	trust         trust
	hostAddresses func() ([]netip.Addr, error) // current addresses of this host's interfaces
}

// NewPolicy returns the policy that c describes, and reads the certificate files that c names. Errors are those of
// Config.Validate and of the files.
func NewPolicy(c Config) (*Policy, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	trust, err := loadTrust(c)
	if err != nil {
		return nil, err
	}
	hosts := make(map[string][]address.Ports, len(c.AllowHosts))
	for _, host := range c.AllowHosts {
		name := canonicalHost(host.Name)
		hosts[name] = append(hosts[name], host.Ports)
	}
	return &Policy{
		cidrs:         slices.Clone(c.AllowCIDRs),
		hosts:         hosts,
		reveal:        c.RevealExceptions,
		requireHTTPS:  c.RequireHTTPS,
		trust:         trust,
		hostAddresses: address.Interfaces,
	}, nil
}

// decision is the policy's decision about one address under one name.
type decision struct {
	refusal  *RefusalError // nil if the address is allowed
	excepted bool          // only an exception of the operator opened the address
}

// decide returns the decision about an address and port of host; host is the address itself if the URL has no name. The
// only error is that the addresses of this host cannot be read, which is no reason to give a delivery up.
func (p *Policy) decide(host string, to netip.AddrPort) (decision, error) {
	addr := to.Addr().Unmap().WithZone("") // a prefix contains no address with a zone
	to = netip.AddrPortFrom(addr, to.Port())
	rule, err := address.Rule(addr, p.hostAddresses)
	if err != nil {
		return decision{}, err
	}
	if rule == address.Metadata {
		return decision{refusal: &RefusalError{rule}}, nil
	}
	host = canonicalHost(host)
	if p.namesHost(host, to.Port()) ||
		slices.ContainsFunc(p.cidrs, func(c address.Range) bool { return c.Contains(to) }) {
		return decision{excepted: rule != "" || localNameRule(host) != ""}, nil
	}
	if rule != "" {
		return decision{refusal: &RefusalError{rule}}, nil
	}
	return decision{}, nil
}

// namesHost reports whether an exception names a host, in canonical form, with a port.
func (p *Policy) namesHost(host string, port uint16) bool {
	return slices.ContainsFunc(p.hosts[host], func(ports address.Ports) bool { return ports.Contain(port) })
}

// isException reports whether a URL leads to a destination that only an exception opens, as far as this is known
// without DNS.
func (p *Policy) isException(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	host := canonicalHost(u.Hostname())
	if addr, err := netip.ParseAddr(host); err == nil {
		d, err := p.decide(host, netip.AddrPortFrom(addr, urlPort(u)))
		return err == nil && d.excepted
	}
	return localNameRule(host) != "" && p.namesHost(host, urlPort(u))
}

// Unlimited lists the exceptions that open every port, as they are written in the configuration.
func (c Config) Unlimited() (entries []string) {
	for _, r := range c.AllowCIDRs {
		if r.Ports == (address.Ports{}) {
			entries = append(entries, r.String())
		}
	}
	for _, h := range c.AllowHosts {
		if h.Ports == (address.Ports{}) {
			entries = append(entries, h.String())
		}
	}
	return entries
}
