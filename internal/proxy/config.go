package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"boomerang/internal/address"
)

// Config lists the hosts that programs may reach through the proxy. The listen address is in the settings of the
// networks.
type Config struct {
	// Allow lists host names: example.com, or *.example.com for every name that ends in .example.com. All other hosts
	// are refused.
	Allow []string `yaml:"allow"`
	// Ports lists the open ports of these hosts.
	Ports []uint16 `yaml:"ports"`
	// AllowCIDRs lists ranges that are open although a rule closes them. Cloud metadata stays closed.
	AllowCIDRs []netip.Prefix `yaml:"allow_cidrs"`
}

// Defaults returns settings that allow no host.
func Defaults() Config { return Config{Ports: []uint16{80, 443}} }

// Validate returns an error that names the invalid key.
func (c Config) Validate() error {
	for _, entry := range c.Allow {
		if err := checkEntry(entry); err != nil {
			return fmt.Errorf("allow: %q %w", entry, err)
		}
	}
	if len(c.Ports) == 0 || slices.Contains(c.Ports, 0) {
		return errors.New("ports must name ports from 1 to 65535")
	}
	for _, prefix := range c.AllowCIDRs {
		if !prefix.IsValid() {
			return errors.New("allow_cidrs: every entry must be an address range like 10.0.0.0/8")
		}
	}
	return nil
}

// wildcard starts an entry for every name that ends in the rest of the entry.
const wildcard = "*."

func checkEntry(entry string) error {
	host := canonical(strings.TrimPrefix(entry, wildcard))
	_, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		return errors.New("is an address: use the name of a host, which must lead to it")
	case host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "":
		return errors.New("must be the name of a host, or *. and a name; without scheme and port")
	case address.MetadataName(host):
		return errors.New("leads to cloud metadata, which is never opened")
	case strings.HasPrefix(entry, wildcard) && !strings.Contains(host, "."):
		return errors.New("would allow a whole top-level domain; to allow the whole internet, use network: egress")
	}
	return nil
}

// canonical returns the form in which names are compared: lower case, without the final dot of an absolute name.
func canonical(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// allowList is the compiled form of a Config.
type allowList struct {
	hosts    map[string]bool
	suffixes []string // each with its leading dot
	ports    []uint16
}

func newAllowList(c Config) allowList {
	l := allowList{hosts: make(map[string]bool), ports: c.Ports}
	for _, entry := range c.Allow {
		if rest, ok := strings.CutPrefix(entry, wildcard); ok {
			l.suffixes = append(l.suffixes, "."+canonical(rest))
		} else {
			l.hosts[canonical(entry)] = true
		}
	}
	return l
}

func (l allowList) allows(host string, port uint16) bool {
	host = canonical(host)
	named := l.hosts[host] || slices.ContainsFunc(l.suffixes, func(suffix string) bool {
		return strings.HasSuffix(host, suffix) && len(host) > len(suffix)
	})
	return named && slices.Contains(l.ports, port) && !address.MetadataName(host)
}
