package journal_test

import (
	"strings"
	"testing"
	"time"

	"boomerang/internal/journal"
)

func TestGlobChoosesPaths(t *testing.T) {
	for _, c := range []struct {
		glob    string
		matches []string
		others  []string
	}{
		{"a.txt", []string{"a.txt"}, []string{"b.txt", "d/a.txt", "a.txt/b"}},
		{"*.txt", []string{"a.txt", ".txt"}, []string{"a", "d/a.txt"}},
		{"?[a-c]", []string{"xa", "üb"}, []string{"a", "xd"}},
		{`\*`, []string{"*"}, []string{"a"}},
		{"out/*", []string{"out/a"}, []string{"out", "out/a/b"}},
		{"out/**", []string{"out/a", "out/a/b"}, []string{"out", "a/out/b"}},
		{"**", []string{"a", "a/b", "a/b/c"}, nil},
		{"**/**/a", []string{"a", "b/a", "b/c/a"}, []string{"b", "a/b"}},
		{
			"a/**/b/**/*.c",
			[]string{"a/b/x.c", "a/x/b/y/z.c", "a/b/b/b/b.c", "a/x/b/x/b/x.c"},
			[]string{"a/x.c", "a/x/x.c", "b/x.c"},
		},
		{"**/a/b", []string{"a/b", "a/a/b", "x/a/b", "a/b/a/b"}, []string{"a/b/x", "a/x/b"}},
		{"**.go", []string{"x.go"}, []string{"d/x.go"}},
	} {
		g, err := journal.ParseGlob(c.glob)
		if err != nil {
			t.Errorf("%s: %v", c.glob, err)
			continue
		}
		for _, name := range c.matches {
			if !g.Match(name) {
				t.Errorf("%s does not choose %q", c.glob, name)
			}
		}
		for _, name := range c.others {
			if g.Match(name) {
				t.Errorf("%s chooses %q", c.glob, name)
			}
		}
	}
}

func TestBelowIsTrueForEveryParentOfAMatch(t *testing.T) {
	for _, c := range []struct {
		glob, dir string
		want      bool
	}{
		{"a", "", true},
		{"a", "a", false},
		{"a/b", "a", true},
		{"a/b", "b", false},
		{"a/b", "a/b", false},
		{"*/b/c", "x/b", true},
		{"*/b/c", "x/c", false},
		{"**/a", "x/y/z", true},
		{"x/**/a", "x", true},
		{"x/**/a", "y", false},
		{"x/**", "x/y", true},
	} {
		g, err := journal.ParseGlob(c.glob)
		if got := g.Below(c.dir); err != nil || got != c.want {
			t.Errorf("%s below %q: got %v, %v, want %v", c.glob, c.dir, got, err, c.want)
		}
	}
}

func TestParseGlobRefusesPathsOutside(t *testing.T) {
	for _, text := range []string{
		"", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\x00",
		"[", "a/[b", `a\`, strings.Repeat("a", journal.MaxGlob+1),
	} {
		if _, err := journal.ParseGlob(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if _, err := journal.ParseGlob(strings.Repeat("a", journal.MaxGlob)); err != nil {
		t.Errorf("the longest: %v", err)
	}
}

func TestMatchIsFastForHostileGlobs(t *testing.T) {
	g, err := journal.ParseGlob(strings.Repeat("**/a/", journal.MaxGlob/5-1) + "b")
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("a/", 511) + "c"
	done := make(chan bool, 1)
	go func() { done <- g.Match(name) }()
	select {
	case got := <-done:
		if got {
			t.Error("it was chosen")
		}
	case <-time.After(time.Minute): // trying all ways would take longer than the age of the universe
		t.Fatal("it is still looking")
	}
	if got := testing.AllocsPerRun(10, func() { g.Match(name); g.Below(name) }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

// FuzzGlob checks that Below is true for every parent directory of a path that a glob matches.
func FuzzGlob(f *testing.F) {
	f.Add("a/**/b*/c", "a/x/b/c")
	f.Add("**", "a/b")
	f.Fuzz(func(t *testing.T, text, name string) {
		g, err := journal.ParseGlob(text)
		if err != nil || !g.Match(name) {
			return
		}
		for i := range len(name) {
			if name[i] == '/' && !g.Below(name[:i]) {
				t.Errorf("%q chooses %q, and sees nothing below %q", text, name, name[:i])
			}
		}
	})
}
