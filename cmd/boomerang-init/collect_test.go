//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/journal"
)

// found records the files in a journal.
type found struct {
	lines []string // in order: whole files with size and mode, incomplete files, omitted files, the end
	whole map[string][]byte
	file  journal.Collected
	text  bytes.Buffer
}

func (f *found) Begin(c journal.Collected)   { f.file = c; f.text.Reset() }
func (f *found) Write(p []byte) (int, error) { return f.text.Write(p) }
func (f *found) Omit(o journal.Omitted)      { f.say("%s %s", o.Reason, o.Path) }

func (f *found) Present(p journal.Present) {
	f.say("%s %o %s %.4x %s", p.Kind, p.Mode, p.Path, p.Sum, p.Target)
}

func (f *found) Complete(c journal.Collection) {
	f.say("%s: %d files, %d bytes, %d omitted %s", c.Of, c.Files, c.Bytes, c.Omitted, c.Cut)
}

func (f *found) say(format string, args ...any) {
	f.lines = append(f.lines, fmt.Sprintf(format, args...))
}

func (f *found) Done(whole bool) {
	if !whole {
		f.say("not whole %s", f.file.Path)
		return
	}
	f.say("%d %o %s", f.file.Size, f.file.Mode, f.file.Path)
	if f.whole == nil {
		f.whole = make(map[string][]byte)
	}
	f.whole[f.file.Path] = bytes.Clone(f.text.Bytes())
}

func wanting(globs ...string) journal.Collect {
	return journal.Collect{Name: "files", Globs: globs, Files: 10, Bytes: 1 << 20, Timeout: time.Minute}
}

// collected runs a collection in the working directory.
func collected(t *testing.T, asked ...journal.Collect) *found {
	t.Helper()
	var raw bytes.Buffer
	c := newCollector(&journal.Job{Nonce: testNonce, Collect: asked}, &received{}, newLog(&raw), nil)
	c.open()
	c.collect(false)
	return read(raw.Bytes())
}

func read(raw []byte) *found {
	var f found
	_, _ = journal.NewFilesSplitter(testNonce, io.Discard, &f).Write(raw)
	return &f
}

// makeFiles makes files below the working directory; a path with a final slash is a directory.
func makeFiles(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range files {
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		if !strings.HasSuffix(name, "/") {
			must(t, os.WriteFile(name, []byte(content), 0o640))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantLines(t *testing.T, got *found, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestChosenFilesAreCollectedInOrder(t *testing.T) {
	makeFiles(t, map[string]string{
		"b": "x\ny\x1e\n", "a.txt": "", "out/2.png": "22", "out/10.png": "1", "out/deep/er/3.png": "333",
		"other/4.png": "4", "empty/": "", ".hidden.txt": "h",
		"new\nline.txt": "n", "...txt": "d",
	})
	must(t, os.Chmod("out/2.png", 0o4755))
	got := collected(t, wanting("*.txt", "b", "out/**/*.png", "nothing", "empty"), wanting("other/**"))
	wantLines(t, got,
		"1 640 ...txt", "1 640 .hidden.txt", "0 640 a.txt", "5 640 b", "1 640 new\nline.txt", "1 640 out/10.png",
		"2 755 out/2.png", "3 640 out/deep/er/3.png",
		"files: 8 files, 14 bytes, 0 omitted ", "1 640 other/4.png", "files: 1 files, 1 bytes, 0 omitted ")
	if want := "x\ny\x1e\n"; string(got.whole["b"]) != want {
		t.Errorf("got %q, want %q", got.whole["b"], want)
	}
}

func TestContentIsByteExact(t *testing.T) {
	content := bytes.Join([][]byte{
		bytes.Repeat([]byte{'\n'}, 70_000), bytes.Repeat([]byte{0x1e}, 70_000),
		noise(300_000),
	}, nil)
	makeFiles(t, map[string]string{"a": string(content)})
	if got := collected(t, wanting("a")); !bytes.Equal(got.whole["a"], content) {
		t.Errorf("got %v, want the %d bytes as they are", got.lines, len(content))
	}
}

func TestOnlyPlainFilesAreCollected(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	makeFiles(t, map[string]string{"z": "z", "dir/file": "f", "bad\xffname": "b"})
	must(t, os.Symlink(secret, "link"))
	must(t, os.Symlink("/proc/self", "proc"))
	must(t, os.Symlink("z", "short"))
	must(t, syscall.Mkfifo("pipe", 0o600)) // opening it would block, because it has no writer
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	must(t, syscall.Bind(socket, &syscall.SockaddrUnix{Name: "socket"}))
	must(t, syscall.Close(socket))
	must(t, os.Link("z", "twin"))
	sparse, err := os.Create("sparse")
	must(t, err)
	must(t, sparse.Truncate(1<<40))
	must(t, sparse.Close())
	got := collected(t, wanting("*", "proc/environ", "*/file"))
	wantLines(t, got,
		"name bad\uFFFDname", "1 640 dir/file", "symlink link", "not_regular pipe", "symlink proc", "symlink short",
		"not_regular socket", "size sparse", "1 640 twin", "1 640 z",
		"files: 3 files, 3 bytes, 7 omitted ")
}

// The input is wiped when the execution ends, so it must not stay as an artifact.
func TestTheCodeAndUnchangedFilesAreNoArtifacts(t *testing.T) {
	makeFiles(t, nil)
	job := &journal.Job{
		Nonce: testNonce, File: "main.sh", Code: "the code", Dir: ".", Collect: []journal.Collect{wanting("**")},
		Files: []journal.File{
			{Path: "main.sh", Mode: 0o600, Content: []byte("replaced by the code")},
			{Path: "in/same", Mode: 0o600, Content: []byte("secret")},
			{Path: "empty", Mode: 0o600},
			{Path: "in/changed", Mode: 0o600, Content: []byte("12345")},
			{Path: "in/longer", Mode: 0o600, Content: []byte("1")},
		},
	}
	var raw bytes.Buffer
	c := newCollector(job, &received{}, newLog(&raw), nil)
	must(t, writeFiles(job))
	releaseJob(job)
	c.open()
	must(t, os.WriteFile("in/changed", []byte("54321"), 0o600))
	must(t, os.WriteFile("in/longer", []byte("12"), 0o600))
	must(t, os.Chmod("in/same", 0o755))
	must(t, os.WriteFile("other", nil, 0o600))
	c.collect(false)
	wantLines(t, read(raw.Bytes()), "unchanged empty", "5 600 in/changed", "2 600 in/longer", "unchanged in/same",
		"unchanged main.sh", "0 600 other", "files: 3 files, 7 bytes, 3 omitted ")
}

func TestFilesAboveTheLimitAreLeftOutWhole(t *testing.T) {
	makeFiles(t, map[string]string{"a": "12345", "b": "123456", "c": "12345", "d": "", "e": "", "f": ""})
	asked := wanting("*")
	asked.Bytes, asked.Files = 10, 4
	wantLines(t, collected(t, asked), "5 640 a", "size b", "5 640 c", "0 640 d", "0 640 e", "count f",
		"files: 4 files, 10 bytes, 2 omitted ")
}

func TestUnreadableFilesAreReported(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root can read every file. The tests in a container run as another user and check unreadable files.
		t.Chdir(t.TempDir())
		asked := wanting("*")
		asked.Dir = "/does/not/exist"
		wantLines(t, collected(t, asked), "files: 0 files, 0 bytes, 0 omitted unreadable")
		return
	}
	makeFiles(t, map[string]string{"dir/a": "", "file": ""})
	must(t, os.Chmod("dir", 0))
	must(t, os.Chmod("file", 0))
	wantLines(t, collected(t, wanting("**")), "unreadable dir", "unreadable file",
		"files: 0 files, 0 bytes, 2 omitted ")
	must(t, os.Chmod("dir", 0o700))
}

func TestRefusalsAreCountedWhenTheyAreMany(t *testing.T) {
	makeFiles(t, nil)
	for i := range 100 {
		must(t, os.Symlink("x", fmt.Sprintf("link%02d", i)))
	}
	got := collected(t, wanting("*"))
	if len(got.lines) != journal.MaxOmitted+1 ||
		got.lines[journal.MaxOmitted] != "files: 0 files, 0 bytes, 100 omitted " {
		t.Errorf("got %d lines %q, want %d and all counted", len(got.lines), got.lines, journal.MaxOmitted+1)
	}
}

func TestDepthAndPathsAreBounded(t *testing.T) {
	makeFiles(t, map[string]string{strings.Repeat("d/", maxDepth-1) + "f": "f", strings.Repeat("e/", maxDepth) +
		"f": ""})
	long := strings.Repeat("n", 250)
	lay2 := filepath.Join(long, long, long, long)
	must(t, os.MkdirAll(lay2, 0o700))
	must(t, os.WriteFile(filepath.Join(lay2, "exactly-20-bytes-xxx"), nil, 0o600))  // 1 024
	must(t, os.WriteFile(filepath.Join(lay2, "exactly-21-bytes-xxxx"), nil, 0o600)) // 1 025
	asked := wanting("**/f", "n*/**")
	wantLines(t, collected(t, asked),
		"1 640 "+strings.Repeat("d/", maxDepth-1)+"f", "deep "+strings.Repeat("e/", maxDepth)[:2*maxDepth-1],
		"0 600 "+lay2+"/exactly-20-bytes-xxx", "name "+(lay2 + "/exactly-21-bytes-xxxx")[:journal.MaxCollectedPath],
		"files: 2 files, 1 bytes, 2 omitted ")
}

func TestCollectionEndsWhenItsTimeIsOver(t *testing.T) {
	makeFiles(t, map[string]string{"a": "a"})
	asked := wanting("a")
	asked.Timeout = 1
	got := collected(t, asked, wanting("a"))
	wantLines(t, got, "files: 0 files, 0 bytes, 0 omitted time", "1 640 a", "files: 1 files, 1 bytes, 0 omitted ")
}

func TestCollectionEndsWhenTheInitIsStopped(t *testing.T) {
	makeFiles(t, map[string]string{"a": "a", "b": strings.Repeat("b", 200_000)})
	stop := make(chan os.Signal, 1)
	var raw bytes.Buffer
	out := &notifyingWriter{Buffer: &raw, when: 100_000, tell: func() { stop <- syscall.SIGTERM }}
	c := newCollector(&journal.Job{Nonce: testNonce, Collect: []journal.Collect{wanting("*"), wanting("*")}},
		&received{}, newLog(out), stop)
	c.open()
	stop <- syscall.SIGTERM // from the program, while it ran
	c.collect(false)
	wantLines(t, read(raw.Bytes()), "1 640 a", "not whole b", "files: 1 files, 1 bytes, 0 omitted stopped",
		"files: 0 files, 0 bytes, 0 omitted stopped")
}

// notifyingWriter calls a function once it has received a number of bytes.
type notifyingWriter struct {
	*bytes.Buffer
	when int
	tell func()
}

func (w *notifyingWriter) Write(p []byte) (int, error) {
	if w.tell != nil && w.Len() > w.when {
		w.tell()
		w.tell = nil
	}
	return w.Buffer.Write(p)
}

func TestAStoppedProgramLeavesNoFiles(t *testing.T) {
	makeFiles(t, map[string]string{"a": "a"})
	var raw bytes.Buffer
	c := newCollector(&journal.Job{Nonce: testNonce, Collect: []journal.Collect{wanting("*")}}, &received{},
		newLog(&raw), nil)
	c.open()
	c.collect(true)
	wantLines(t, read(raw.Bytes()), "files: 0 files, 0 bytes, 0 omitted stopped")
}

func TestLookingIsBounded(t *testing.T) {
	makeFiles(t, nil)
	for i := range maxKept + 10 {
		fd, err := syscall.Open(fmt.Sprintf("f%05d", i), syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
		must(t, err)
		must(t, syscall.Close(fd))
	}
	asked := wanting("f0*")
	asked.Files = 3
	got := collected(t, asked)
	if want := fmt.Sprintf("files: 3 files, 0 bytes, %d omitted ", 9_997); got.lines[len(got.lines)-1] != want ||
		!slices.Contains(got.lines, "0 600 f00000") {
		t.Errorf("some are chosen: got %q, want %q", got.lines, want)
	}
	got = collected(t, wanting("*"))
	if last := got.lines[len(got.lines)-1]; !strings.HasSuffix(last, " "+journal.CutEntries) {
		t.Errorf("all are chosen: got %q, want it cut", last)
	}
}

// A program can leave the init without memory and files: TestInitNeedsNothingMoreOnceTheProgramRuns.
func TestCollectorAllocatesNothingOnceTheProgramRuns(t *testing.T) {
	files := make(map[string]string)
	for i := range 50 {
		files[fmt.Sprintf("dir%d/file%d", i%7, i)] = strings.Repeat("x\n", 10_000)
	}
	makeFiles(t, files)
	must(t, os.Symlink("x", "link"))
	asked := wanting("**")
	asked.Files = 40
	c := newCollector(&journal.Job{Nonce: testNonce, Collect: []journal.Collect{asked}}, &received{},
		newLog(io.Discard), nil)
	var err error
	if got := testing.AllocsPerRun(5, func() {
		c.asked[0].done = journal.Collection{}
		if c.asked[0].root, err = syscall.Open(".", directory, 0); err == nil {
			c.collect(false)
		}
	}); got > 1 || err != nil { // one allocation is the test's own: package syscall copies a name
		t.Errorf("got %v allocations, %v, want none", got, err)
	}
	if c.asked[0].done.Files != 40 {
		t.Errorf("got %+v, want 40 files", c.asked[0].done)
	}
}

// A foreign file system may return any kind for a name.
func TestADirectoryWithFalseKindsIsHarmless(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	makeFiles(t, map[string]string{"file": "f", "dir/": ""})
	must(t, os.Symlink(filepath.Join(outside, "secret"), "link"))
	must(t, os.Symlink(outside, "linkdir"))
	must(t, syscall.Mkfifo("pipe", 0o600))
	for kind, want := range map[byte][]string{
		syscall.DT_REG:     {"not_regular dir", "1 640 file", "symlink link", "symlink linkdir", "not_regular pipe"},
		syscall.DT_UNKNOWN: {"1 640 file", "symlink link", "symlink linkdir", "not_regular pipe"},
		syscall.DT_DIR:     {"unreadable file", "unreadable link", "unreadable linkdir", "unreadable pipe"},
	} {
		var raw bytes.Buffer
		c := newCollector(&journal.Job{Nonce: testNonce, Collect: []journal.Collect{wanting("**")}}, &received{},
			newLog(&raw), nil)
		c.open()
		of := &c.asked[0]
		of.until = time.Now().Add(time.Minute)
		c.reset()
		if !c.listDir(of, of.root, 0) {
			t.Fatal("the directory cannot be read")
		}
		for i := range c.entries {
			c.entries[i].kind, c.entries[i].chosen = kind, true
		}
		for c.depth > 0 {
			if e, ok := c.next(); ok {
				c.visit(of, e)
			} else {
				c.popDir()
			}
		}
		wantLines(t, read(append(raw.Bytes(), journal.AppendCollection(nil, testNonce, of.done)...)),
			append(want, fmt.Sprintf("files: %d files, %d bytes, %d omitted ", of.done.Files, of.done.Bytes,
				of.done.Omitted))...)
	}
}
