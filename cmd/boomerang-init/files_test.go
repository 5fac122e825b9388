//go:build linux

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"boomerang/internal/journal"
)

// The directory may be older than the program, so its links must not redirect files.
func TestFilesGoNowhereElse(t *testing.T) {
	outside := t.TempDir()
	t.Chdir(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(outside, "link"))
	must(os.Symlink(filepath.Join(outside, "leaf"), "leaf"))
	must(os.Symlink(filepath.Join(outside, "code"), "main.txt"))
	must(syscall.Mkfifo("pipe", 0o600)) // opening it would block, because it has no reader
	must(os.WriteFile("old", []byte("longer than the new"), 0o400))
	job := journal.Job{File: "main.txt", Code: "code", Dir: "/workspace"}
	for _, name := range []string{"leaf", "pipe", "old"} {
		job.Files = append(job.Files, journal.File{Path: name, Mode: 0o640, Content: []byte("new")})
	}
	must(writeFiles(&job))
	for name, want := range map[string]string{"leaf": "new", "pipe": "new", "old": "new", "main.txt": "code"} {
		info, err := os.Lstat(name)
		must(err)
		text, err := os.ReadFile(name)
		if err != nil || string(text) != want || !info.Mode().IsRegular() {
			t.Errorf("%s: got %q, %v, %v; want a file with %q", name, text, info.Mode(), err, want)
		}
	}
	for _, through := range []string{"link/file", "link/deeper/file", "link"} {
		job.Files = []journal.File{{Path: through, Content: []byte("new")}}
		err := writeFiles(&job)
		if through == "link" {
			must(err) // replaced
		} else if err == nil {
			t.Errorf("%s was written", through)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside there are %v, %v; want nothing", left, err)
	}
}
