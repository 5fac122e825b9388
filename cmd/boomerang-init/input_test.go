//go:build linux && integration

package main

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/journal"
)

func TestProgramFindsItsFiles(t *testing.T) {
	j := command("sh", "-c",
		`umask 0; cat plain a/b/deep; ./a/run
		for f in plain a/b/deep a/run a; do stat -c '%a %n' "$f"; done; wc -c <binary`)
	j.Files = []journal.File{
		{Path: "plain", Mode: 0o600, Content: []byte("plain\n")},
		{Path: "a/b/deep", Mode: 0o444, Content: []byte("deep\n")},
		{Path: "a/run", Mode: 0o777, Content: []byte("#!/bin/sh\necho ran\n")},
		{Path: "binary", Mode: 0o600, Content: bytes.Repeat([]byte{0, 0xff}, 500)},
	}
	got := box{}.run(t, j)
	got.proven(t)
	if want := "plain\ndeep\nran\n600 plain\n444 a/b/deep\n777 a/run\n700 a\n1000\n"; got.out != want {
		t.Errorf("got %q and %q, want %q", got.out, got.err, want)
	}
}

func TestFileThatCannotBeWrittenIsASentence(t *testing.T) {
	j := command("true")
	j.Files = []journal.File{{Path: "a", Content: []byte("x")}, {Path: "a/b", Content: []byte("x")}}
	end := box{}.run(t, j).proven(t)
	if want := "the file /workspace/a/b cannot be written: "; !strings.HasPrefix(end.StartError, want) {
		t.Errorf("got %q, want %q and a cause", end.StartError, want)
	}
}

func TestStdinArrivesWholeAndDelaysNothing(t *testing.T) {
	for program, want := range map[string]string{
		"wc -c":                    "1048576\n",
		"echo never reads":         "never reads\n",
		"head -c 3":                "abc",
		"exec <&-; echo closes it": "closes it\n",
	} {
		j := command("sh", "-c", program)
		j.Stdin = []byte(strings.Repeat("abcd", 1<<18))
		got := box{}.run(t, j)
		if end := got.proven(t); end.ExitCode != 0 || got.out != want {
			t.Errorf("%s: got %q, %+v, want %q", program, got.out, end, want)
		}
	}
}

// The init needs about 6 MiB for itself, and ten times the size of this job while it reads the job.
func TestInputLeavesTheInitsMemory(t *testing.T) {
	j := command("grep", "VmRSS", "/proc/1/status")
	j.Stdin = bytes.Repeat([]byte("x"), 8<<20)
	j.Files = []journal.File{{Path: "large", Content: bytes.Repeat([]byte("y"), 8<<20)}}
	got := box{}.run(t, j)
	got.proven(t)
	kib, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(got.out))
	if err != nil || kib > 16<<10 {
		t.Errorf("got %q, %v, want at most 16 MiB", got.out, err)
	}
}
