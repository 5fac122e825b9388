//go:build linux && integration

package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"boomerang/internal/journal"
)

func TestFilesAreCollectedWhenTheProgramHasEnded(t *testing.T) {
	j := command("sh", "-c", `
		mkdir -p out/secret; echo one >out/a; printf 'x\n\036' >out/b
		chmod 000 out/b; chmod 755 out/a; chmod 000 out/secret
		ln -s /etc/passwd out/c; ln -s /proc/1/environ out/d; mkfifo out/e
		ln /dev/null out/f 2>/dev/null; truncate -s 1T out/g; ln -s / out/h
		printf n >"out/i
j"; printf 'tail without a line'; (sleep 1; echo late >out/a) & exit 3`)
	j.Collect = []journal.Collect{wanting("out/**", "out/h/proc/1/environ", "main.txt")}
	got := box{}.run(t, j)
	if end := got.proven(t); end.ExitCode != 3 || got.out != "tail without a line" || end.Bytes != int64(len(got.out)) {
		t.Errorf("got %+v and %q, want exit code 3 and what was printed", end, got.out)
	}
	files := read(got.rawOut)
	wantLines(t, files, "unchanged main.txt", "4 755 out/a", "unreadable out/b", "symlink out/c", "symlink out/d",
		"not_regular out/e", "size out/g", "symlink out/h", "1 644 out/i\nj",
		"unreadable out/secret", "files: 2 files, 5 bytes, 8 omitted ")
	if string(files.whole["out/a"]) != "one\n" {
		t.Errorf("got %q, want what stood there when the program ended", files.whole["out/a"])
	}
}

func TestDirectoryIsTheOneThatTheProgramWasGiven(t *testing.T) {
	j := command("sh", "-c", `echo mine >a; cd ..; mv dir old; ln -s /etc dir`)
	j.Dir = "/workspace/dir"
	j.Collect = []journal.Collect{wanting("a", "passwd")}
	got := box{}.run(t, j)
	got.proven(t)
	wantLines(t, read(got.rawOut), "5 644 a", "files: 1 files, 5 bytes, 0 omitted ")
}

func TestNothingFromAnotherFileSystemIsCollected(t *testing.T) {
	j := command("sh", "-c", "echo mine >a")
	asked := wanting("workspace/a", "proc/version", "proc/1/environ", "dev/null", "sys/fs/**/memory*", "program")
	asked.Dir = "/"
	j.Collect = []journal.Collect{asked}
	got := box{}.run(t, j)
	got.proven(t)
	lines := read(got.rawOut).lines
	want := []string{"elsewhere dev/null", "elsewhere proc", "elsewhere program"}
	if len(lines) < 5 || !slices.Equal(lines[:3], want) || !slices.Contains(lines, "5 644 workspace/a") ||
		!strings.HasPrefix(lines[len(lines)-1], "files: 1 files, 5 bytes,") {
		t.Errorf("got %q, want %q, the file, and no other", lines, want)
	}
}

func TestFilesAreCollectedHoweverTheProgramEnds(t *testing.T) {
	for name, c := range map[string]struct {
		program string
		spoil   func(*journal.Job)
		stop    bool
		want    []string
	}{
		"timed out": {
			"echo 1 >a; exec sleep 60", func(j *journal.Job) { j.Timeout = time.Second }, false,
			[]string{"2 644 a", "files: 1 files, 2 bytes, 0 omitted "},
		},
		"flooded": {
			"echo 1 >a; exec yes", func(j *journal.Job) { j.Limit = 1 << 20 }, false,
			[]string{"2 644 a", "files: 1 files, 2 bytes, 0 omitted "},
		},
		"killed": {
			"echo 1 >a; kill -9 $$", nil, false,
			[]string{"2 644 a", "files: 1 files, 2 bytes, 0 omitted "},
		},
		"stopped": {
			"echo 1 >a; echo ready; exec sleep 60", nil, true,
			[]string{"files: 0 files, 0 bytes, 0 omitted stopped"},
		},
		"never started": {"", func(j *journal.Job) { j.Argv = []string{"/nowhere"} }, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := command("sh", "-c", c.program)
			j.Collect = []journal.Collect{wanting("a")}
			if c.spoil != nil {
				c.spoil(&j)
			}
			r := box{}.start(t)
			r.send(j)
			if c.stop {
				awaitReady(r)
				r.stop()
			}
			got := r.wait()
			got.proven(t)
			wantLines(t, read(got.rawOut), c.want...)
		})
	}
}

// awaitReady reads the first line of the log of stdout.
func awaitReady(r *running) {
	r.t.Helper()
	if _, err := r.stdout.Read(make([]byte, 1)); err != nil {
		r.t.Fatal(err)
	}
}

func TestMillionFilesAreNotLookedAt(t *testing.T) {
	j := command("sh", "-c", `seq 110000 | xargs touch`)
	j.Collect = []journal.Collect{wanting("**"), wanting("nothing")}
	got := box{}.run(t, j)
	got.proven(t)
	lines := read(got.rawOut).lines
	if n := len(lines); n < 2 || !strings.HasSuffix(lines[n-2], journal.CutEntries) || !strings.HasSuffix(lines[n-1],
		journal.CutEntries) {
		t.Errorf("got %q, want both cut", lines)
	}
}

func TestCollectorNeedsNothingMoreOnceTheProgramRuns(t *testing.T) {
	j := attacker("starve init")
	j.Files = []journal.File{{Path: "a/b", Mode: 0o600, Content: []byte("x")}, {Path: "c", Mode: 0o600}}
	j.Collect = []journal.Collect{wanting("**"), wanting("c")}
	got := box{}.run(t, j)
	got.proven(t)
	// The init cannot open files any more, but can read open ones.
	wantLines(t, read(got.rawOut), "unreadable a", "unreadable c", "unreadable main.txt",
		"files: 0 files, 0 bytes, 3 omitted ",
		"unreadable c", "files: 0 files, 0 bytes, 1 omitted ")
}

// The files of a program lie in the memory of its container, which may leave none for the init.
func TestFilesThatFillTheMemoryAreCollected(t *testing.T) {
	j := command("sh", "-c", `yes xxxxxxx | head -c 8M >a; yes | head -c 200M >b; ls -s b; exit 0`)
	asked := wanting("a", "b")
	asked.Bytes = 16 << 20
	j.Collect = []journal.Collect{asked}
	got := box{Memory: 48 << 20}.run(t, j)
	got.proven(t)
	files := read(got.rawOut)
	if !bytes.Equal(files.whole["a"], bytes.Repeat([]byte("xxxxxxx\n"), 1<<20)) ||
		files.lines[len(files.lines)-1] != "files: 1 files, 8388608 bytes, 1 omitted " {
		t.Errorf("got %q, want the first file and the refusal of the second; it printed %q", files.lines, got.out)
	}
}
