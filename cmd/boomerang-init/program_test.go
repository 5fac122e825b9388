//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestEnvironmentLaysTheJobsOverTheImages(t *testing.T) {
	got := environment(
		[]string{"PATH=/bin", "A=image", "AB=kept", "EMPTY="},
		map[string]string{"A": "job", "B": "x=y", "EMPTY": ""},
	)
	want := []string{"A=job", "AB=kept", "B=x=y", "EMPTY=", "PATH=/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLookUpUsesTheJobsPathFromItsDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, mode := range map[string]os.FileMode{
		"first/plain": 0o644, "second/plain": 0o755, "second/tool": 0o755,
		"first/locked": 0o644, "here": 0o755,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir("first/tool", 0o755); err != nil { // a directory is not a program
		t.Fatal(err)
	}
	abs := filepath.Join(dir, "second")
	for name, c := range map[string]struct {
		program, path, want string
		err                 error
	}{
		"in a relative directory":      {"tool", "PATH=first:second", "second/tool", nil},
		"in an absolute directory":     {"tool", "PATH=" + abs, abs + "/tool", nil},
		"in the present directory":     {"here", "PATH=first::second", "./here", nil},
		"behind one that is no use":    {"plain", "PATH=first:second", "second/plain", nil},
		"by its relative path":         {"./here", "PATH=", "./here", nil},
		"by its absolute path":         {abs + "/tool", "X=1", abs + "/tool", nil},
		"nowhere":                      {"none", "PATH=first:second", "", errNotInPath},
		"without a PATH":               {"here", "X=PATH=.", "", errNotInPath},
		"not executable":               {"locked", "PATH=first:second", "", syscall.EACCES},
		"not executable, by its path":  {"first/locked", "", "first/locked", syscall.EACCES},
		"no such file, by its path":    {"./none", "", "./none", syscall.ENOENT},
		"a directory, by its own path": {"./first", "", "./first", syscall.EISDIR},
	} {
		got, err := lookUp(c.program, []string{c.path})
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %q, %v, want %q, %v", name, got, err, c.want, c.err)
		}
	}
}
