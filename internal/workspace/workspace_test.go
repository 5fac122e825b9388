package workspace

import (
	"math/rand/v2"
	"os"
	"path/filepath"
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
		{"a", "./d//b/.", true},
		{"d/e/a", ".././../b", true},
		{"a", "d/../b", false},
		{"d/a", "../e/../b", false},
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

// TestNoLinkLeadsOutThroughOtherLinks resolves all links that Within accepts, in real trees, in which any name
// may be such a link or a directory.
func TestNoLinkLeadsOutThroughOtherLinks(t *testing.T) {
	paths := []string{"a", "b", "d/a", "d/b", "d/e/a", "d/e/b"}
	var targets []string
	parts := []string{"..", ".", "a", "b", "d", "e"}
	for _, one := range parts {
		targets = append(targets, one)
		for _, two := range parts {
			targets = append(targets, one+"/"+two)
			for _, three := range parts {
				targets = append(targets, one+"/"+two+"/"+three)
			}
		}
	}
	base := t.TempDir()
	root := filepath.Join(base, "outside", "workspace")
	if err := os.MkdirAll(filepath.Join(root, "d", "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	source := rand.New(rand.NewPCG(1, 2))
	resolved := 0
	for range 500 {
		for _, path := range paths {
			full := filepath.Join(root, path)
			if err := os.RemoveAll(full); err != nil {
				t.Fatal(err)
			}
			target := targets[source.IntN(len(targets))]
			var err error
			if Within(path, target) {
				err = os.Symlink(target, full)
			} else {
				err = os.Mkdir(full, 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range paths {
			to, err := filepath.EvalSymlinks(filepath.Join(root, path))
			if err != nil {
				continue // the link leads nowhere
			}
			resolved++
			if to != root && !strings.HasPrefix(to, root+"/") {
				t.Fatalf("%s leads to %s", path, to)
			}
		}
	}
	if resolved < 300 {
		t.Errorf("only %d paths were resolved", resolved)
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
