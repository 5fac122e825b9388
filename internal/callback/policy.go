package callback

import (
	"net/netip"
	"slices"

	"boomerang/internal/address"
)

// RefusalError is why a destination is closed. It names the rule and never an address: what DNS answered inside our network
// is not for the client to know.
type RefusalError struct{ Rule string }

// Error is one public sentence.
func (r *RefusalError) Error() string { return "The callback must not go to " + r.Rule + "." }

// Policy decides where callbacks may go. It is asked twice: CheckURL when a submission comes in, without DNS, and the
// dial for each resolved address. The dial is the authority; a name that changes its address in between gains nothing.
type Policy struct {
	cidrs []netip.Prefix
	hosts map[string]bool
	https bool
	trust trust
	own   func() ([]netip.Addr, error) // the addresses of this host's interfaces, as they are now
}

// NewPolicy makes the policy that c describes, and reads the files of certificates that c names. Errors are those of
// Config.Validate, and of these files.
func NewPolicy(c Config) (*Policy, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	trust, err := loadTrust(c)
	if err != nil {
		return nil, err
	}
	hosts := make(map[string]bool, len(c.AllowHosts))
	for _, host := range c.AllowHosts {
		hosts[canonicalHost(host)] = true
	}
	return &Policy{cidrs: slices.Clone(c.AllowCIDRs), hosts: hosts, https: c.RequireHTTPS, trust: trust, own: address.Interfaces}, nil
}

// verdict is what the policy says of one address under one name.
type verdict struct {
	refusal  *RefusalError // nil: it may be called
	excepted bool          // only an exception of the operator opened it
}

// judge decides about one address that host stands for; host is the address itself when a URL has no name. The only
// error is that this host's own addresses cannot be told, which is nothing to give a delivery up for.
func (p *Policy) judge(host string, addr netip.Addr) (verdict, error) {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	rule, err := address.Rule(addr, p.own)
	if err != nil {
		return verdict{}, err
	}
	if rule == address.Metadata {
		return verdict{refusal: &RefusalError{rule}}, nil
	}
	host = canonicalHost(host)
	if p.hosts[host] || slices.ContainsFunc(p.cidrs, func(c netip.Prefix) bool { return c.Contains(addr) }) {
		return verdict{excepted: rule != "" || localName(host) != ""}, nil
	}
	if rule != "" {
		return verdict{refusal: &RefusalError{rule}}, nil
	}
	return verdict{}, nil
}
