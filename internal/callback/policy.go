package callback

import (
	"net/netip"
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
	cidrs         []netip.Prefix
	hosts         map[string]bool
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
	hosts := make(map[string]bool, len(c.AllowHosts))
	for _, host := range c.AllowHosts {
		hosts[canonicalHost(host)] = true
	}
	return &Policy{
		cidrs:         slices.Clone(c.AllowCIDRs),
		hosts:         hosts,
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

// decide returns the decision about an address of host; host is the address itself if the URL has no name. The only
// error is that the addresses of this host cannot be read, which is no reason to give a delivery up.
func (p *Policy) decide(host string, addr netip.Addr) (decision, error) {
	addr = addr.Unmap().WithZone("") // a prefix contains no address with a zone
	rule, err := address.Rule(addr, p.hostAddresses)
	if err != nil {
		return decision{}, err
	}
	if rule == address.Metadata {
		return decision{refusal: &RefusalError{rule}}, nil
	}
	host = canonicalHost(host)
	if p.hosts[host] || slices.ContainsFunc(p.cidrs, func(c netip.Prefix) bool { return c.Contains(addr) }) {
		return decision{excepted: rule != "" || localNameRule(host) != ""}, nil
	}
	if rule != "" {
		return decision{refusal: &RefusalError{rule}}, nil
	}
	return decision{}, nil
}
