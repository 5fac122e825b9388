package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"boomerang/internal/address"
	"boomerang/internal/language"
	"boomerang/internal/network"
	"boomerang/internal/probe"
)

const (
	reachTimeout = 30 * time.Second
	sharedPort   = 47811 // port of a neighbour
)

// Reach runs only the network checks, with a neighbour on the same network, and returns the findings that did not hold.
// Errors: as for Examine.
func (d *Doctor) Reach(ctx context.Context, l language.Language) ([]probe.Finding, error) {
	n, err := d.startNeighbour(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("neighbour: %w", err)
	}
	var open []probe.Finding
	inner := *d
	inner.neighbours = n.addresses()
	inner.Found = func(f probe.Finding) {
		if !f.Held {
			open = append(open, f)
		}
		if d.Found != nil {
			d.Found(f)
		}
	}
	err = inner.runChecks(ctx, l, probe.NetworkChecks, reachTimeout)
	if err == nil && len(inner.neighbours) == 0 {
		err = errors.New("the neighbour has no address")
	}
	return open, errors.Join(err, n.remove(context.WithoutCancel(ctx)))
}

// networkOf returns the network of a language; empty if it has none.
func networkOf(l language.Language) string {
	if l.Network == network.None {
		return ""
	}
	return l.Network
}

// surroundings returns the addresses that must be unreachable from a language's network. A reachable machine refuses
// connections to closed ports, and a refusal is an answer too, so any ports serve.
func (d *Doctor) surroundings(l language.Language) probe.Around {
	bridge, ok := d.Networks.Bridge(l.Network)
	if !ok {
		return probe.Around{}
	}
	a := probe.Around{Sentinel: network.Sentinel().String(), Proxy: d.Networks.ProxyAddr().String()}
	for _, addr := range append([]netip.Addr{bridge.Gateway}, d.Machine...) {
		if addr.Is4() && !addr.IsLoopback() {
			a.Machine = append(a.Machine, ports(addr, 22, 2375, sharedPort)...)
		}
	}
	for _, addr := range d.neighbours {
		a.Neighbours = append(a.Neighbours, ports(addr, sharedPort)...)
	}
	for _, addr := range address.MetadataAddresses() {
		a.Metadata = append(a.Metadata, ports(addr, 80)...)
	}
	for _, b := range address.Closed4() {
		if first := b.Prefix.Addr(); b.Prefix.IsSingleIP() || first.IsLoopback() || first.IsMulticast() ||
			first.IsUnspecified() {
			continue // metadata addresses have a list of their own, and no connection is made to the others
		}
		a.Closed = append(a.Closed, ports(b.Prefix.Addr().Next(), 80)...)
	}
	return a
}

func ports(addr netip.Addr, numbers ...uint16) []string {
	all := make([]string, len(numbers))
	for i, n := range numbers {
		all[i] = netip.AddrPortFrom(addr, n).String()
	}
	return all
}

// addresses returns the addresses that the neighbour printed.
func (n *neighbour) addresses() []netip.Addr {
	text, _ := n.stdout.Bytes()
	answers := probe.Read[probe.Answer](text)
	var all []netip.Addr
	if len(answers) > 0 {
		for word := range strings.FieldsSeq(answers[0].Note) {
			if addr, err := netip.ParseAddr(word); err == nil {
				all = append(all, addr)
			}
		}
	}
	return all
}
