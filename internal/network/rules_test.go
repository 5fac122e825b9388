package network

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// TestTheRulesAreAsWritten compares with reviewed files: after a change, run with -update and review them again.
func TestTheRulesAreAsWritten(t *testing.T) {
	for _, f := range families {
		golden := filepath.Join("testdata", f.tool+".rules")
		got := f.layScript(Defaults(), "")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; got:\n%s", golden, got)
		}
	}
}

// applied returns the output of iptables-save after a script was applied to saved. It implements the subset of iptables
// that these tests need.
func applied(t *testing.T, saved, script string) string {
	t.Helper()
	var chains []string
	rules := map[string][]string{}
	read := func(text string) {
		for line := range strings.SplitSeq(text, "\n") {
			verb, rest, _ := strings.Cut(line, " ")
			chain, rule, _ := strings.Cut(rest, " ")
			switch {
			case strings.HasPrefix(line, ":"):
				name := verb[1:]
				if _, there := rules[name]; !there {
					chains = append(chains, name)
				}
				rules[name] = []string{}
			case verb == "-A":
				rules[chain] = append(rules[chain], rule)
			case verb == "-I":
				rules[chain] = append([]string{strings.TrimPrefix(rule, "1 ")}, rules[chain]...)
			case verb == "-F":
				rules[chain] = nil
			case verb == "-X":
				if len(rules[chain]) > 0 {
					t.Errorf("%s is deleted and not empty", chain)
				}
				delete(rules, chain)
			case verb == "-D":
				for i, r := range rules[chain] {
					if r == rule {
						rules[chain] = append(rules[chain][:i:i], rules[chain][i+1:]...)
						rule = ""
						break
					}
				}
				if rule != "" {
					t.Errorf("nothing to delete: %s", line)
				}
			}
		}
	}
	read(saved)
	read(script)
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, c := range chains {
		if _, there := rules[c]; there {
			b.WriteString(":" + c + " ACCEPT [7:420]\n")
		}
	}
	for _, c := range chains {
		for _, r := range rules[c] {
			b.WriteString("-A " + c + " " + r + "\n")
		}
	}
	return b.String() + "COMMIT\n"
}

// savedBare is a machine with an engine and one other rule.
const savedBare = `*filter
:INPUT ACCEPT [7:420]
:FORWARD ACCEPT [7:420]
:DOCKER-USER ACCEPT [7:420]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
`

func TestLayingAgainChangesNothingAndRemovingLeavesNothing(t *testing.T) {
	for _, f := range families {
		c := Defaults()
		if f.firstDifference(c, savedBare) == "" || f.removeScript(c, savedBare) != "" {
			t.Errorf("%s: a bare machine has rules of ours", f.tool)
		}
		once := applied(t, savedBare, f.layScript(c, savedBare))
		if missing := f.firstDifference(c, once); missing != "" {
			t.Errorf("%s: after laying: %s\n%s", f.tool, missing, once)
		}
		if twice := applied(t, once, f.layScript(c, once)); twice != once {
			t.Errorf("%s: laid twice:\n%s\nwant:\n%s", f.tool, twice, once)
		}
		if gone := applied(t, once, f.removeScript(c, once)); gone != savedBare {
			t.Errorf("%s: removed:\n%s\nwant:\n%s", f.tool, gone, savedBare)
		}
	}
}

func TestAMissingRuleIsReported(t *testing.T) {
	for _, f := range families {
		c := Defaults()
		once := applied(t, savedBare, f.layScript(c, savedBare))
		lines := strings.SplitAfter(once, "\n")
		for i, line := range lines {
			if !strings.Contains(line, "BOOMERANG") || strings.HasPrefix(line, ":") {
				continue
			}
			without := strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "")
			if f.firstDifference(c, without) == "" {
				t.Errorf("%s: Check does not miss %s", f.tool, line)
			}
		}
		late := strings.Replace(once, "-A INPUT -j BOOMERANG-INPUT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n",
			"-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j BOOMERANG-INPUT\n", 1)
		if late == once || f.firstDifference(c, late) == "" {
			t.Errorf("%s: a jump that does not come first is not seen", f.tool)
		}
		if lost := strings.Replace(once, "-j DROP", "-j ACCEPT", 1); f.firstDifference(c, lost) == "" {
			t.Errorf("%s: a rule that was changed is not seen", f.tool)
		}
	}
}

func TestRulesOfAnotherPrefixStay(t *testing.T) {
	mine, other := Defaults(), Defaults()
	other.Prefix = "boomerang2"
	f := families[0]
	both := applied(t, savedBare, f.layScript(other, savedBare))
	both = applied(t, both, f.layScript(mine, both))
	left := applied(t, both, f.removeScript(mine, both))
	if missing := f.firstDifference(other, left); missing != "" {
		t.Error(missing)
	}
}
