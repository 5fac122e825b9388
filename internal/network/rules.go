package network

import (
	"fmt"
	"slices"
	"strings"

	"boomerang/internal/address"
)

// family is IPv4 or IPv6 in the firewall.
type family struct {
	tool    string // iptables or ip6tables
	forward string // chain that every forwarded packet passes
	rules   func(Config) []chain
}

// chain is one of our chains, with its rules in the format that iptables prints.
type chain struct {
	name  string
	rules []string
}

// jump is a rule in a chain of the system or of the engine that leads into one of our chains. It must be the first rule
// there.
type jump struct{ from, to string }

// families lists IPv4 and IPv6. Docker evaluates DOCKER-USER before its own rules and never changes it. Engines before
// version 27 have this chain only for IPv4.
var families = []family{
	{"iptables", dockerUser, rules4},
	{"ip6tables", "FORWARD", rules6},
}

const dockerUser = "DOCKER-USER"

func (f family) jumps(c Config) []jump {
	return []jump{{f.forward, c.chain("FORWARD")}, {"INPUT", c.chain("INPUT")}}
}

// rules4 returns the rules that close all addresses except public ones, and the machine itself.
//
// INPUT handles packets to the machine, at any of its addresses. FORWARD handles packets through it. Packets from the
// network are checked one by one, without regard to connections; packets to the network must belong to an established
// connection. A connection with a rewritten destination (DNAT) goes to a port that the machine publishes for other
// users, and is closed.
func rules4(c Config) []chain {
	egress, proxy := c.egress(), c.proxy()
	input := []string{
		fmt.Sprintf("-d %s/32 -i %s -p tcp -m tcp --dport %d -j ACCEPT", proxy.Gateway, proxy.Interface, c.ProxyPort),
		fmt.Sprintf("-i %s -j DROP", proxy.Interface),
		fmt.Sprintf("-i %s -j DROP", egress.Interface),
	}
	forward := []string{
		fmt.Sprintf("-o %s -j DROP", proxy.Interface),
		fmt.Sprintf("-d %s/32 -i %s -p tcp -m tcp --dport %d -j REJECT --reject-with tcp-reset",
			Sentinel().Addr(), proxy.Interface, Sentinel().Port()),
		fmt.Sprintf("-i %s -j REJECT --reject-with icmp-admin-prohibited", proxy.Interface),
		fmt.Sprintf("-i %s -j %s", egress.Interface, c.chain("EGRESS")),
		fmt.Sprintf("-o %s -m conntrack --ctstate ESTABLISHED -j RETURN", egress.Interface),
		fmt.Sprintf("-o %s -p icmp -m conntrack --ctstate RELATED -j RETURN", egress.Interface),
		fmt.Sprintf("-o %s -j DROP", egress.Interface),
	}
	out := []string{
		fmt.Sprintf("! -s %s -j DROP", egress.Subnet),
		fmt.Sprintf("-o %s -j DROP", egress.Interface), // neighbours
		"-m conntrack --ctstate DNAT -j DROP",
		fmt.Sprintf("-d %s/32 -p tcp -m tcp --dport %d -j REJECT --reject-with tcp-reset",
			Sentinel().Addr(), Sentinel().Port()),
	}
	for _, b := range address.Closed4() {
		out = append(out, fmt.Sprintf("-d %s -j REJECT --reject-with icmp-admin-prohibited", b.Prefix))
	}
	return []chain{{c.chain("FORWARD"), forward}, {c.chain("EGRESS"), out}, {c.chain("INPUT"), input}}
}

// rules6 returns the rules that close IPv6, which the networks do not have.
func rules6(c Config) []chain {
	var input, forward []string
	for _, b := range c.Bridges() {
		input = append(input, fmt.Sprintf("-i %s -j DROP", b.Interface))
		forward = append(forward, fmt.Sprintf("-i %s -j DROP", b.Interface), fmt.Sprintf("-o %s -j DROP", b.Interface))
	}
	return []chain{{c.chain("FORWARD"), forward}, {c.chain("INPUT"), input}}
}

// layScript returns the input of iptables-restore --noflush that replaces our rules in saved, the output of
// iptables-save. The input is applied completely or not at all.
func (f family) layScript(c Config, saved string) string {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, chain := range f.rules(c) {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chain.name) // makes or empties the chain
	}
	for _, chain := range f.rules(c) {
		for _, rule := range chain.rules {
			fmt.Fprintf(&b, "-A %s %s\n", chain.name, rule)
		}
	}
	for _, j := range f.jumps(c) {
		b.WriteString(j.deletions(saved))
		fmt.Fprintf(&b, "-I %s 1 -j %s\n", j.from, j.to)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// removeScript returns the input of iptables-restore --noflush that removes our rules from saved, or "" if saved has
// none.
func (f family) removeScript(c Config, saved string) string {
	var undone, chains strings.Builder
	for _, j := range f.jumps(c) {
		undone.WriteString(j.deletions(saved))
	}
	for _, chain := range f.rules(c) {
		if hasChain(saved, chain.name) {
			fmt.Fprintf(&undone, "-F %s\n", chain.name)
			fmt.Fprintf(&chains, "-X %s\n", chain.name)
		}
	}
	if undone.Len() == 0 {
		return ""
	}
	return "*filter\n" + undone.String() + chains.String() + "COMMIT\n"
}

// deletions returns one deletion for each occurrence of the jump in saved.
func (j jump) deletions(saved string) string {
	rule := fmt.Sprintf("-A %s -j %s", j.from, j.to)
	deletion := fmt.Sprintf("-D %s -j %s\n", j.from, j.to)
	var script strings.Builder
	for line := range strings.SplitSeq(saved, "\n") {
		if strings.TrimSpace(line) == rule {
			script.WriteString(deletion)
		}
	}
	return script.String()
}

// hasChain reports whether saved has a chain of this name.
func hasChain(saved, chain string) bool { return strings.Contains("\n"+saved, "\n:"+chain+" ") }

// firstDifference describes the first missing or different rule of a family in saved, or returns "" if there is none.
func (f family) firstDifference(c Config, saved string) string {
	inOrder := make(map[string][]string)
	for line := range strings.SplitSeq(saved, "\n") {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "-A "); ok {
			chain, rest, _ := strings.Cut(rule, " ")
			inOrder[chain] = append(inOrder[chain], rest)
		}
	}
	for _, j := range f.jumps(c) {
		if first := inOrder[j.from]; len(first) == 0 || first[0] != "-j "+j.to {
			return fmt.Sprintf("%s does not begin with a jump to %s", j.from, j.to)
		}
	}
	for _, chain := range f.rules(c) {
		if got := inOrder[chain.name]; !slices.Equal(got, chain.rules) {
			return chain.name + " has missing or different rules"
		}
	}
	return ""
}
