//go:build linux

package main

import (
	"os"
	"testing"
	"time"

	"boomerang/internal/journal"
)

func TestMeasureReadsBothVersionsOfControlGroups(t *testing.T) {
	for root, want := range map[string]usage{
		"testdata/v2":      {cpu: 1500250 * time.Microsecond, memory: 73400320, oomKills: 1},
		"testdata/v1":      {cpu: 1500250123, memory: 12722176, oomKills: 3},
		"testdata/no-such": {cpu: -1, memory: -1, oomKills: -1},
	} {
		got := readUsage(root)
		if got.reaped = want.reaped; got != want { // the usage of the test's own children is in no file
			t.Errorf("%s: got %+v, want %+v", root, got, want)
		}
	}
}

func TestReportPrefersTheControlGroup(t *testing.T) {
	unknown := usage{cpu: -1, memory: -1, oomKills: -1}
	var reaped journal.End
	addUsage(&reaped, unknown, unknown)
	for name, c := range map[string]struct {
		before, after usage
		want          journal.End
	}{
		"counted": {usage{cpu: 10}, usage{cpu: 30, memory: 5, oomKills: 0}, journal.End{
			CPUTime:   20,
			MaxMemory: 5,
		}},
		"killed for memory":   {usage{}, usage{oomKills: 1}, journal.End{OutOfMem: true}},
		"not counted":         {unknown, unknown, reaped},
		"counted only behind": {unknown, usage{cpu: 30, memory: 5}, journal.End{CPUTime: reaped.CPUTime, MaxMemory: 5}},
	} {
		var got journal.End
		addUsage(&got, c.before, c.after)
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestVictimIsPreferredAndRestored(t *testing.T) {
	score := func() string {
		text, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := score()
	v := openOOMScore()
	v.raise()
	if got := score(); got != "1000\n" {
		t.Errorf("preferred: got %q, want %q", got, "1000\n")
	}
	v.restore()
	if got := score(); got != before {
		t.Errorf("restored: got %q, want %q", got, before)
	}
	(&oomScore{}).raise() // a machine without /proc
}
