// Command seccomp generates configs/seccomp.json, the profile in Docker's JSON, from configs/seccomp.yaml, the list of
// system calls with a reason for each group. `go generate ./configs` runs it.
//
// The command knows the format of the two files, but not which program loads the profile.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

func main() {
	if err := generate("seccomp.yaml", "seccomp.json"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func generate(from, to string) error {
	text, err := os.ReadFile(from) //nolint:gosec // the maker names it
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	l, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, l.profile(), 0o644) //nolint:gosec // it is a source file
}

// list is seccomp.yaml.
type list struct {
	Architectures []string `yaml:"architectures"`
	Allow         []group  `yaml:"allow"`
	Absent        []group  `yaml:"absent"`  // answered with ENOSYS
	Refused       []group  `yaml:"refused"` // answered with EPERM, like every call that is not in the list
}

// group is a set of system calls with the reason for their place.
type group struct {
	Reason string      `yaml:"reason"`
	Calls  []string    `yaml:"calls"`
	When   []condition `yaml:"when"` // all conditions must hold
	// Any lists alternatives to When: all conditions of one alternative must hold.
	Any [][]condition `yaml:"any"`
}

// alternatives returns the sets of conditions of which one must hold; one empty set for a group without conditions.
func (g group) alternatives() [][]condition {
	if len(g.Any) > 0 {
		return g.Any
	}
	return [][]condition{g.When}
}

// conditional reports whether the group holds for some arguments only.
func (g group) conditional() bool { return len(g.When) > 0 || len(g.Any) > 0 }

// check refuses a group without a reason or calls, and conditions that the container's runtime would read as
// alternatives: those of one rule that compare the same argument twice.
func (g group) check() error {
	if g.Reason == "" || len(g.Calls) == 0 {
		return fmt.Errorf("a group needs a reason and calls: %+v", g)
	}
	if len(g.When) > 0 && len(g.Any) > 0 {
		return fmt.Errorf("a group has either when or any: %+v", g)
	}
	for _, all := range g.alternatives() {
		if len(g.Any) > 0 && len(all) == 0 {
			return fmt.Errorf("an alternative needs conditions: %+v", g)
		}
		compared := map[uint]bool{}
		for _, c := range all {
			if compared[c.Argument] {
				return fmt.Errorf("two conditions on the argument %d: %+v", c.Argument, g)
			}
			compared[c.Argument] = true
		}
	}
	return nil
}

// condition compares an argument of a call, or its masked bits, with a number.
type condition struct {
	Argument uint   `yaml:"argument"` // 0 to 5
	Mask     uint64 `yaml:"mask"`     // 0 means all bits
	Is       uint64 `yaml:"is"`
}

// parse reads a list and checks it for mistakes: a missing reason, an empty group, a call in two places that exclude
// each other.
func parse(text []byte) (list, error) {
	var l list
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&l); err != nil {
		return l, fmt.Errorf("parse: %w", err)
	}
	if len(l.Architectures) == 0 || len(l.Allow) == 0 {
		return l, errors.New("a profile needs architectures and allowed calls")
	}
	unconditional := map[string]bool{} // true for a call that must not appear again
	for _, groups := range [][]group{l.Allow, l.Absent, l.Refused} {
		for _, g := range groups {
			if err := g.check(); err != nil {
				return l, err
			}
			for _, call := range g.Calls {
				if before, seen := unconditional[call]; seen && (before || !g.conditional()) {
					return l, fmt.Errorf("%s is in two groups", call)
				}
				unconditional[call] = !g.conditional()
			}
		}
	}
	return l, nil
}

// The types of Docker's JSON. Their field names come from libseccomp.
type (
	profile struct {
		DefaultAction string         `json:"defaultAction"`
		ArchMap       []architecture `json:"archMap"`
		Syscalls      []rule         `json:"syscalls"`
	}
	architecture struct {
		Architecture     string   `json:"architecture"`
		SubArchitectures []string `json:"subArchitectures"`
	}
	rule struct {
		Comment  string     `json:"comment"`
		Action   string     `json:"action"`
		ErrnoRet uint       `json:"errnoRet,omitempty"`
		Names    []string   `json:"names"`
		Args     []argument `json:"args,omitempty"`
	}
	argument struct {
		Index    uint   `json:"index"`
		Value    uint64 `json:"value"`
		ValueTwo uint64 `json:"valueTwo"`
		Op       string `json:"op"`
	}
)

const (
	allow  = "SCMP_ACT_ALLOW"
	refuse = "SCMP_ACT_ERRNO" // answers EPERM unless the rule names another error
	enosys = 38
)

// profile returns the JSON. Refused calls need no rule, because refusal is the default.
func (l list) profile() []byte {
	p := profile{DefaultAction: refuse}
	for _, a := range l.Architectures {
		p.ArchMap = append(p.ArchMap, architecture{Architecture: a, SubArchitectures: []string{}})
	}
	for _, g := range l.Allow {
		p.Syscalls = append(p.Syscalls, g.rules(allow, 0)...)
	}
	for _, g := range l.Absent {
		p.Syscalls = append(p.Syscalls, g.rules(refuse, enosys)...)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return b.Bytes()
}

// rules returns one rule for each alternative: the arguments of one rule must all match, and one rule of a call
// suffices.
func (g group) rules(action string, errno uint) (all []rule) {
	for _, conditions := range g.alternatives() {
		r := rule{
			Comment: strings.TrimSpace(g.Reason), Action: action, ErrnoRet: errno,
			Names: slices.Sorted(slices.Values(g.Calls)),
		}
		for _, c := range conditions {
			a := argument{Index: c.Argument, Value: c.Is, Op: "SCMP_CMP_EQ"}
			if c.Mask != 0 {
				a = argument{Index: c.Argument, Value: c.Mask, ValueTwo: c.Is, Op: "SCMP_CMP_MASKED_EQ"}
			}
			r.Args = append(r.Args, a)
		}
		all = append(all, r)
	}
	return all
}
