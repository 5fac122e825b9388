package main

import (
	"bytes"
	"fmt"
	"go/build"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func shipped(t *testing.T) list {
	t.Helper()
	text, err := os.ReadFile("../seccomp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTheProfileIsMadeFromTheList(t *testing.T) {
	made := filepath.Join(t.TempDir(), "seccomp.json")
	if err := generate("../seccomp.yaml", made); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(made)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("configs/seccomp.json is not what configs/seccomp.yaml says; make it anew: go generate ./configs")
	}
}

// TestEverySystemCallHasItsPlace compares the list with the calls in golang.org/x/sys, which come from the kernel's
// headers. A new kernel's call is refused, and this test asks for a decision when that module is updated.
func TestEverySystemCallHasItsPlace(t *testing.T) {
	l := shipped(t)
	placed := map[string]bool{}
	for _, groups := range [][]group{l.Allow, l.Absent, l.Refused} {
		for _, g := range groups {
			for _, call := range g.Calls {
				placed[call] = true
			}
		}
	}
	// Other names of a call, and a 32-bit call that is refused with a reason.
	known := map[string]bool{"umount": true, "socketcall": true}
	unix, err := build.Import("golang.org/x/sys/unix", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`(?m)^\s+SYS_(\w+)\s+=`)
	for _, architecture := range []string{"amd64", "arm64"} {
		text, err := os.ReadFile(filepath.Join(unix.Dir, "zsysnum_linux_"+architecture+".go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range number.FindAllStringSubmatch(string(text), -1) {
			call := strings.ToLower(found[1])
			known[call] = true
			if !placed[call] {
				t.Errorf("%s of %s is in no group", call, architecture)
			}
		}
	}
	for call := range placed {
		if !known[call] {
			t.Errorf("%s is no system call", call)
		}
	}
}

func TestAListWithAMistakeIsRefused(t *testing.T) {
	const list = "architectures: [SCMP_ARCH_X86_64]\nallow:\n  - {reason: why, calls: [read]}\n"
	if _, err := parse([]byte(list)); err != nil {
		t.Fatal(err)
	}
	for name, more := range map[string]string{
		"no reason":                         "  - {calls: [write]}\n",
		"no calls":                          "  - {reason: why}\n",
		"a key that is unknown":             "  - {reason: why, calls: [write], unless: tuesday}\n",
		"a call twice":                      "  - {reason: why, calls: [read]}\n",
		"a call allowed and refused":        "refused:\n  - {reason: why, calls: [read]}\n",
		"a condition on an allowed call":    "  - {reason: why, calls: [read], when: [{argument: 0, is: 1}]}\n",
		"an alternative on an allowed call": "  - {reason: why, calls: [read], any: [[{argument: 0, is: 1}]]}\n",
		"an empty alternative":              "  - {reason: why, calls: [socket], any: [[]]}\n",
		"when and any": "  - {reason: why, calls: [socket], when: [{argument: 0, is: 1}], any: [[{argument: " +
			"0, is: 2}]]}\n",
		"an argument twice": "  - {reason: why, calls: [socket], when: [{argument: 0, is: 1}, {argument: 0, mask: 2, " +
			"is: 2}]}\n",
		"half allowed, and then refused": "  - {reason: why, calls: [socket], when: [{argument: 0, is: " +
			"1}]}\nrefused:\n  - {reason: why, calls: [socket]}\n",
		"half allowed, and then all of it": "  - {reason: why, calls: [socket], when: [{argument: 0, is: 1}]}\n  - " +
			"{reason: why, calls: [socket]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse([]byte(list + more)); err == nil {
				t.Error("parse = nil, want an error")
			}
		})
	}
	if _, err := parse([]byte(fmt.Sprintln("allow: []"))); err == nil {
		t.Error("a list without calls is taken")
	}
}
