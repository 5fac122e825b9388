package network

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// fakeIptables fakes iptables: its variants and their saved rules.
type fakeIptables struct {
	saved map[string]string // by tool
	calls []string
}

func (m *fakeIptables) run(_ context.Context, stdin, tool string, args ...string) (string, error) {
	m.calls = append(m.calls, strings.Join(append([]string{tool}, args...), " "))
	saved, there := m.saved[strings.TrimSuffix(strings.TrimSuffix(tool, "-save"), "-restore")]
	if !there {
		return "", errors.New(tool + ": not found")
	}
	if strings.HasSuffix(tool, "-restore") && !strings.HasSuffix(stdin, "COMMIT\n") {
		return "", errors.New("no whole script")
	}
	return saved, nil
}

func firewall(saved map[string]string) (*Firewall, *fakeIptables) {
	m := &fakeIptables{saved: saved}
	return &Firewall{config: Defaults(), run: m.run, root: true, ipv6: true}, m
}

const savedWithoutDocker = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"

func TestTheEnginesOwnIptablesIsUsed(t *testing.T) {
	f, m := firewall(map[string]string{
		"iptables": savedWithoutDocker, "iptables-nft": savedWithoutDocker, "iptables-legacy": savedBare,
		"ip6tables": savedWithoutDocker, "ip6tables-legacy": savedWithoutDocker,
	})
	if err := f.Lay(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls := strings.Join(m.calls, "\n")
	for _, want := range []string{
		"iptables-legacy-restore -w 10 --noflush", "ip6tables-legacy-restore -w 10 --noflush",
	} {
		if !strings.Contains(calls, want) {
			t.Errorf("no %s in\n%s", want, calls)
		}
	}
	if strings.Contains(calls, "nft-restore") || strings.Contains(calls, "iptables-restore") {
		t.Errorf("another iptables was written to:\n%s", calls)
	}
}

func TestAFirewallThatCannotBeLaidIsAnError(t *testing.T) {
	f, _ := firewall(map[string]string{"iptables": savedWithoutDocker})
	if err := f.Lay(t.Context()); !errors.Is(err, ErrNoTool) {
		t.Errorf("without the engine's chain: %v, want ErrNoTool", err)
	}
	f, _ = firewall(nil)
	if err := f.Check(t.Context()); !errors.Is(err, ErrNoTool) {
		t.Errorf("without iptables: %v, want ErrNoTool", err)
	}
	f, m := firewall(map[string]string{"iptables": savedBare})
	f.root = false
	if err := f.Lay(t.Context()); !errors.Is(err, ErrNotRoot) || len(m.calls) > 0 {
		t.Errorf("not as root: %v, want ErrNotRoot; calls %v", err, m.calls)
	}
	f, _ = firewall(map[string]string{"iptables": savedBare})
	if err := f.Lay(t.Context()); err == nil {
		t.Error("IPv6 stays open in silence where ip6tables is missing")
	}
	f.ipv6 = false
	if err := f.Lay(t.Context()); err != nil {
		t.Errorf("a kernel without IPv6: %v", err)
	}
	if err := f.Check(t.Context()); !errors.Is(err, ErrRules) {
		t.Errorf("rules that are not there: %v, want ErrRules", err)
	}
}

func TestAnInvalidConfigurationIsRefused(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"prefix must":         func(c *Config) { c.Prefix = "Boomerang" },
		"not \"elevenchars\"": func(c *Config) { c.Prefix = "elevenchars" },
		"dns must name":       func(c *Config) { c.DNS = nil },
		"dns: 10.0.0.53 is a private network": func(c *Config) {
			c.DNS = []netip.Addr{netip.MustParseAddr("10.0.0.53")}
		},
		"dns: 127.0.0.53 is loopback": func(c *Config) {
			c.DNS = []netip.Addr{netip.MustParseAddr("127.0.0.53")}
		},
		"dns: 169.254.169.253 is cloud": func(c *Config) {
			c.DNS = []netip.Addr{netip.MustParseAddr("169.254.169.253")}
		},
		"dns: 2606:4700:4700::1111 must be": func(c *Config) {
			c.DNS = []netip.Addr{netip.MustParseAddr("2606:4700:4700::1111")}
		},
		"egress_subnet must be a private": func(c *Config) { c.EgressSubnet = netip.MustParsePrefix("8.8.0.0/20") },
		"like 10.213.0.0/20, not 10.213.0.7/20": func(c *Config) {
			c.EgressSubnet = netip.MustParsePrefix("10.213.0.7/20")
		},
		"proxy_subnet must be":          func(c *Config) { c.ProxySubnet = netip.MustParsePrefix("fd00::/64") },
		"not 10.0.0.0/8":                func(c *Config) { c.ProxySubnet = netip.MustParsePrefix("10.0.0.0/8") },
		"not invalid Prefix":            func(c *Config) { c.ProxySubnet = netip.Prefix{} },
		"proxy_subnet must not overlap": func(c *Config) { c.ProxySubnet = netip.MustParsePrefix("10.213.0.0/24") },
		"proxy_port must":               func(c *Config) { c.ProxyPort = 0 },
	} {
		c := Defaults()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNamesOfInterfacesAreShortEnough(t *testing.T) {
	c := Defaults()
	c.Prefix = "tenletters"
	for _, b := range c.Bridges() {
		const longest = 15 // IFNAMSIZ without its NUL
		if len(b.Interface) > longest {
			t.Errorf("%s has %d characters", b.Interface, len(b.Interface))
		}
		if again, ok := c.Bridge(b.Network); !ok || again != b {
			t.Errorf("Bridge(%q) = %v, %t", b.Network, again, ok)
		}
	}
	for _, network := range []string{None, "", "host", "bridge", "container:x"} {
		if b, ok := c.Bridge(network); ok {
			t.Errorf("Bridge(%q) = %v", network, b)
		}
	}
}
