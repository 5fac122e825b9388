//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/journal"
)

// workspaceJob makes a job with a workspace: content keyed by path, "/" for a directory, "->" for a link.
func workspaceJob(dir string, entries map[string]string) journal.Job {
	return journal.Job{
		Nonce: testNonce, File: "main.sh", Argv: []string{"true"}, Dir: dir, Timeout: time.Minute, Workspace: dir,
		WorkspaceSnapshot: func(yield func(journal.WorkspaceEntry, error) bool) {
			for _, path := range slices.Sorted(maps.Keys(entries)) {
				g := journal.WorkspaceEntry{
					Path: path, Kind: journal.EntryFile, Mode: 0o750,
					Size: int64(len(entries[path])),
				}
				if target, link := strings.CutPrefix(entries[path], "->"); link {
					g = journal.WorkspaceEntry{Path: path, Kind: journal.EntryLink, Target: target}
				}
				if entries[path] == "/" {
					g = journal.WorkspaceEntry{Path: path, Kind: journal.EntryDir}
				}
				sum := sha256.Sum256([]byte(entries[path]))
				g.Sum, g.Content = sum[:], func() io.Reader { return strings.NewReader(entries[path]) }
				if !yield(g, nil) {
					return
				}
			}
		},
	}
}

// receiveJob sends the first limit bytes of a job and receives it.
func receiveJob(t *testing.T, j journal.Job, limit int) (journal.Job, *received, error) {
	t.Helper()
	var wire bytes.Buffer
	must(t, journal.WriteJob(&wire, j))
	wire.Truncate(min(limit, wire.Len()))
	job, err := journal.ReadJob(&wire)
	if err != nil {
		return job, nil, err
	}
	r, err := receiveWorkspace(&wire, &job)
	return job, r, err
}

const whole = 1 << 30

// collectTree collects the tree of a received workspace.
func collectTree(t *testing.T, job journal.Job, r *received, change func(*journal.Collect)) *found {
	t.Helper()
	c := journal.Collect{
		Name: "workspace", Dir: job.Workspace, Tree: true, Files: 100, Bytes: 1 << 20,
		Timeout: time.Minute,
	}
	change(&c)
	job.Collect = []journal.Collect{c}
	var raw bytes.Buffer
	of := newCollector(&job, r, newLog(&raw), nil)
	of.open()
	of.collect(true) // also after a stop
	return read(raw.Bytes())
}

func asItIs(*journal.Collect) {}

func TestAWorkspaceIsWrittenAndReported(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	must(t, err)
	large := strings.Repeat("\x1e\n\x00", 100_000)
	job, r, err := receiveJob(t, workspaceJob(dir, map[string]string{
		"d": "/", "d/same": "same", "d/gone": "gone", "changed": "12345", "large": large, "link": "->d/same",
		"main.sh": "mine", "new\nline": "",
	}), whole)
	if err != nil || r.failed != nil {
		t.Fatalf("%v, %v", err, r.failed)
	}
	if text, err := os.ReadFile("large"); string(text) != large {
		t.Fatalf("%d bytes arrived, %v", len(text), err)
	}
	must(t, os.WriteFile("main.sh", []byte("the code"), 0o600))
	must(t, os.WriteFile("changed", []byte("54321"), 0o600))
	must(t, os.Remove("d/gone"))
	must(t, os.Rename("large", "moved"))
	must(t, os.Chmod("d/same", 0o400))
	must(t, os.Symlink("/etc/passwd", "out"))
	must(t, syscall.Mkfifo("fifo", 0o600))
	must(t, os.WriteFile("bad\xffname", nil, 0o600))
	got := collectTree(t, job, r, asItIs)
	brief := func(text string) string { return fmt.Sprintf("%.4x", sha256.Sum256([]byte(text))) }
	wantLines(t, got,
		"name bad\uFFFDname", "5 750 changed", "dir 0 d  ", "file 400 d/same "+brief("same")+" ", "not_regular fifo",
		"link 0 link  d/same",
		"file 750 moved "+brief(large)+" ", "file 750 new\nline "+brief("")+" ",
		"link 0 out  /etc/passwd", "file 750 main.sh "+brief("mine")+" ",
		"workspace: 8 files, 300009 bytes, 2 omitted ")
	if string(got.whole["changed"]) != "54321" {
		t.Errorf("got %q", got.whole["changed"])
	}
}

func TestTheCodeIsNoPartOfTheWorkspace(t *testing.T) {
	dir := t.TempDir()
	job, r, err := receiveJob(t, workspaceJob(dir, nil), whole)
	must(t, err)
	t.Chdir(dir)
	must(t, os.WriteFile("main.sh", []byte("the code"), 0o600))
	wantLines(t, collectTree(t, job, r, asItIs), "workspace: 0 files, 0 bytes, 0 omitted ")
}

// A program may do anything with its own file: the file of the workspace that the code hid stays.
func TestAFileThatTheCodeHidStays(t *testing.T) {
	mine := fmt.Sprintf("file 750 src/app/main.sh %.4x ", sha256.Sum256([]byte("mine")))
	for name, c := range map[string]struct {
		change func()
		want   []string
	}{
		"nothing": {func() {}, []string{"dir 0 src  ", "dir 0 src/app  ", "4 640 src/app/own"}},
		"removed": {
			func() { _ = os.Remove("src/app/main.sh") },
			[]string{"dir 0 src  ", "dir 0 src/app  ", "4 640 src/app/own"},
		},
		"removed with its directories": {
			func() { _ = os.RemoveAll("src") }, []string{"dir 0 src  ", "dir 0 src/app  "},
		},
		"removed with a directory": {
			func() { _ = os.RemoveAll("src/app") }, []string{"dir 0 src  ", "dir 0 src/app  "},
		},
		"replaced by a directory": {
			func() { _ = os.Remove("src/app/main.sh"); _ = os.MkdirAll("src/app/main.sh/x", 0o700) },
			[]string{"dir 0 src  ", "dir 0 src/app  ", "hidden src/app/main.sh", "4 640 src/app/own"},
		},
		"replaced by a link": {
			func() { _ = os.Remove("src/app/main.sh"); _ = os.Symlink("own", "src/app/main.sh") },
			[]string{"dir 0 src  ", "dir 0 src/app  ", "hidden src/app/main.sh", "4 640 src/app/own"},
		},
		"a file in place of a directory": {
			func() { _ = os.RemoveAll("src/app"); _ = os.WriteFile("src/app", nil, 0o600) },
			[]string{"dir 0 src  ", "hidden src/app", "dir 0 src/app  "},
		},
		"a link in place of a directory": {
			func() { _ = os.Rename("src", "moved"); _ = os.Symlink("moved", "src") },
			[]string{
				"dir 0 moved  ", "dir 0 moved/app  ", "8 600 moved/app/main.sh", "4 640 moved/app/own", "hidden src",
				"dir 0 src  ", "dir 0 src/app  ",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			dir, err := os.Getwd()
			must(t, err)
			j := workspaceJob(dir, map[string]string{"src": "/", "src/app": "/", "src/app/main.sh": "mine"})
			j.Dir = dir + "/src/app"
			job, r, err := receiveJob(t, j, whole)
			must(t, err)
			must(t, os.WriteFile("src/app/own", []byte("1234"), 0o640))
			must(t, os.Remove("src/app/main.sh"))
			must(t, os.WriteFile("src/app/main.sh", []byte("the code"), 0o600))
			c.change()
			got := collectTree(t, job, r, asItIs)
			wantLines(t, &found{lines: got.lines[:len(got.lines)-1]}, append(c.want, mine)...)
		})
	}
}

// Without a hidden file the program's directory or link at the place of its code is an entry like any other.
func TestAnythingButTheCodeMayTakeItsPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	must(t, err)
	job, r, err := receiveJob(t, workspaceJob(dir, nil), whole)
	must(t, err)
	must(t, os.MkdirAll("main.sh/d", 0o700))
	wantLines(t, collectTree(t, job, r, asItIs), "dir 0 main.sh  ", "dir 0 main.sh/d  ",
		"workspace: 2 files, 0 bytes, 0 omitted ")
}

func TestEntriesBelowTheDeepestLevelAreReported(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	must(t, err)
	job, r, err := receiveJob(t, workspaceJob(dir, nil), whole)
	must(t, err)
	deepest := strings.Repeat("d/", journal.MaxTreeDepth-1) + "d"
	must(t, os.MkdirAll(deepest+"/below/it", 0o700))
	must(t, os.WriteFile(deepest+"/file", nil, 0o600))
	must(t, os.Symlink("x", deepest+"/link"))
	got := collectTree(t, job, r, asItIs)
	wantLines(t, &found{lines: got.lines[journal.MaxTreeDepth-1:]}, "dir 0 "+deepest+"  ",
		"deep "+deepest+"/below", "deep "+deepest+"/file", "deep "+deepest+"/link",
		fmt.Sprintf("workspace: %d files, 0 bytes, 3 omitted ", journal.MaxTreeDepth))
}

func TestHalfATreeIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*journal.Collect)
		make   func()
		cut    string
	}{
		"bytes": {
			func(c *journal.Collect) { c.Bytes = 9 }, func() { _ = os.WriteFile("f", make([]byte, 10), 0o600) },
			journal.CutSize,
		},
		"a hole": {asItIs, func() { _, _ = os.Create("f"); _ = os.Truncate("f", 1<<40) }, journal.CutSize},
		"entries": {
			func(c *journal.Collect) { c.Files = 1 }, func() { _ = os.MkdirAll("a/b", 0o700) },
			journal.CutCount,
		},
		"time": {
			func(c *journal.Collect) { c.Timeout = 1 }, func() { _ = os.MkdirAll("a/b", 0o700) },
			journal.CutTime,
		},
	} {
		dir := t.TempDir()
		job, r, err := receiveJob(t, workspaceJob(dir, nil), whole)
		must(t, err)
		t.Chdir(dir)
		c.make()
		got := collectTree(t, job, r, c.change)
		if last := got.lines[len(got.lines)-1]; !strings.HasSuffix(last, " "+c.cut) {
			t.Errorf("%s: got %q, want it cut for %s", name, got.lines, c.cut)
		}
	}
}

func TestAWorkspaceThatArrivesHalfIsNoJob(t *testing.T) {
	entries := map[string]string{"a": "/", "a/b": strings.Repeat("x", 1000), "c": "->a"}
	var wire bytes.Buffer
	must(t, journal.WriteJob(&wire, workspaceJob("/nowhere", entries)))
	size := wire.Len()
	for limit := 0; limit < size; limit += 7 {
		if _, _, err := receiveJob(t, workspaceJob(t.TempDir(), entries), limit); !errors.Is(err, io.EOF) &&
			!errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: got %v, want that there is no job", limit, size, err)
		}
	}
}

// The init does not collect garbage while it runs, and its memory is missing to the program.
func TestMemoryForReadingAWorkspaceIsReturned(t *testing.T) {
	entries := make(map[string]string)
	for i := range 2000 {
		entries[fmt.Sprintf("d%d", i)] = "/"
	}
	var wire bytes.Buffer
	must(t, journal.WriteJob(&wire, workspaceJob(t.TempDir(), entries)))
	job, err := journal.ReadJob(&wire)
	must(t, err)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r, err := receiveWorkspace(&wire, &job)
	runtime.ReadMemStats(&after)
	if err != nil || r.failed != nil {
		t.Fatal(err, r.failed)
	}
	if took, kept := after.TotalAlloc-before.TotalAlloc, int64(after.HeapAlloc)-int64(before.HeapAlloc); kept > int64(
		took/4) {
		t.Errorf("of %d bytes %d are kept", took, kept)
	}
}

func TestAWorkspaceThatCannotBeLaidOutIsASentence(t *testing.T) {
	_, r, err := receiveJob(t, workspaceJob(t.TempDir(), map[string]string{
		"a": "a file", "a/b": "below it",
		"c": "later",
	}),
		whole)
	if err != nil || r.failed == nil || !strings.HasPrefix(r.failed.Error(),
		"a/b of the workspace cannot be laid out: ") {
		t.Errorf("got %v, %v", err, r.failed)
	}
	_, r, err = receiveJob(t, workspaceJob("/nowhere/at/all", map[string]string{"a": "a"}), whole)
	if err != nil || r.failed == nil {
		t.Errorf("got %v, %v", err, r.failed)
	}
}

func TestLinksOutOfAWorkspaceAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	_, r, err := receiveJob(t, workspaceJob(t.TempDir(), map[string]string{"a": "->" + outside, "a/b": "x"}), whole)
	if err != nil || r.failed == nil {
		t.Errorf("got %v, %v, want a refusal", err, r.failed)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 0 {
		t.Errorf("%v was laid outside", entries)
	}
}

func TestUnreadableEntriesAreNotSent(t *testing.T) {
	broken := errors.New("broken")
	j := workspaceJob("/w", nil)
	for name, given := range map[string]iter.Seq2[journal.WorkspaceEntry, error]{
		"the list": func(yield func(journal.WorkspaceEntry, error) bool) { yield(journal.WorkspaceEntry{}, broken) },
		"a file": func(yield func(journal.WorkspaceEntry, error) bool) {
			yield(journal.WorkspaceEntry{
				Path: "a", Kind: journal.EntryFile, Size: 2,
				Content: func() io.Reader { return strings.NewReader("1") },
			}, nil)
		},
	} {
		j.WorkspaceSnapshot = given
		if err := journal.WriteJob(io.Discard, j); !errors.Is(err, journal.ErrSource) {
			t.Errorf("%s: got %v, want ErrSource", name, err)
		}
	}
}
