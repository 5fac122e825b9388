package workspace

import (
	"strings"
	"testing"
	"time"

	"boomerang/internal/fault"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "0": true, "data-2025_x.y": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, "A": false, ".a": false, "-a": false, "a/b": false, "a\n": false,
		"ä": false,
	} {
		if err := CheckName("workspace", name); (err == nil) != good ||
			err != nil && fault.Of(err).Details["field"] != "workspace" {
			t.Errorf("%q: got %v, want it good: %t", name, err, good)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for path, good := range map[string]bool{
		"a": true, "a/b c/ü\n": true, "...": true, strings.Repeat("a", 255): true, strings.Repeat("a/", 59) + "a": true,
		"": false, ".": false, "..": false, "/a": false, "a/": false, "a//b": false, "a/./b": false, "a/../b": false,
		"a\x00": false, "\xff": false,
		strings.Repeat("a", 256): false, strings.Repeat("a/", 60) + "a": false,
		strings.Repeat(strings.Repeat("a", 200)+"/", 6) + "a": false,
	} {
		if err := CheckPath("path", path); (err == nil) != good {
			t.Errorf("%q: got %v, want it good: %t", path, err, good)
		}
	}
}

func TestWithinRefusesLinksOutOfTheWorkspace(t *testing.T) {
	for _, c := range []struct {
		path, target string
		within       bool
	}{
		{"a", "b", true},
		{"d/a", "../b", true},
		{"d/a", ".", true},
		{"a", "d/../b", true},
		{"a", "../b", false},
		{"d/a", "../../workspace/b", false},
		{"a", "/etc/passwd", false},
		{"a", "/workspace/b", false},
		{"a", "", false},
		{"a", "d/../../b", false},
		{"a", "\xff", false},
	} {
		if got := Within(c.path, c.target); got != c.within {
			t.Errorf("%s -> %s: got %t, want %t", c.path, c.target, got, c.within)
		}
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatal(err)
	}
	for key, spoil := range map[string]func(*Config){
		"size":              func(c *Config) { c.Size = 1 },
		"entries":           func(c *Config) { c.Entries = 20_000 },
		"per_subject.size":  func(c *Config) { c.PerSubject.Size = c.Size - 1 },
		"per_subject.count": func(c *Config) { c.PerSubject.Count = 0 },
		"keep":              func(c *Config) { c.Keep = time.Second },
	} {
		c := Defaults()
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s: got %v", key, err)
		}
	}
}
