package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/journal"
)

func validJob() journal.Job {
	return journal.Job{
		Nonce:   strings.Repeat("0f", 16),
		Code:    "print('<ü>')\n",
		File:    "main.py",
		Argv:    []string{"python3", "main.py"},
		Env:     map[string]string{"A": "1", "EMPTY": ""},
		Dir:     "/workspace",
		Stdin:   []byte("in\n"),
		Timeout: time.Minute,
		Grace:   2 * time.Second,
		Head:    1 << 20,
		Tail:    64 << 10,
	}
}

func sent(t *testing.T, j journal.Job) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := journal.WriteJob(&b, j); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadJobReturnsWhatWriteJobSent(t *testing.T) {
	want := validJob()
	got, err := journal.ReadJob(iotest.OneByteReader(bytes.NewReader(sent(t, want))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadJobLeavesTheFollowingBytes(t *testing.T) {
	r := strings.NewReader(string(sent(t, validJob())) + "rest")
	if _, err := journal.ReadJob(r); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("left %q, want %q", rest, "rest")
	}
}

func TestReadJobDistinguishesNoJobFromHalfAJob(t *testing.T) {
	whole := sent(t, validJob())
	// the contract says io.EOF itself
	if _, err := journal.ReadJob(bytes.NewReader(nil)); err != io.EOF { //nolint:errorlint
		t.Errorf("nothing: got %v, want io.EOF", err)
	}
	for n := 1; n < len(whole); n++ {
		_, err := journal.ReadJob(bytes.NewReader(whole[:n]))
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			t.Fatalf("%d of %d bytes: got %v, want io.ErrUnexpectedEOF", n, len(whole), err)
		}
	}
}

func TestReadJobRefusesInvalidJobs(t *testing.T) {
	framed := func(body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for name, raw := range map[string][]byte{
		"too large":   binary.BigEndian.AppendUint32(nil, 64<<20+1),
		"not JSON":    framed("argv"),
		"not a job":   framed("[]"),
		"not valid":   framed("{}"),
		"two in one":  framed("{}{}"),
		"empty frame": framed(""),
	} {
		_, err := journal.ReadJob(bytes.NewReader(raw))
		if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v, want an error of its own", name, err)
		}
	}
}

func TestReadJobReturnsTheReadError(t *testing.T) {
	broken := errors.New("broken")
	for n := range 2 {
		r := io.MultiReader(bytes.NewReader(sent(t, validJob())[:4*n]), iotest.ErrReader(broken))
		if _, err := journal.ReadJob(r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v, want %v", 4*n, err, broken)
		}
	}
}

func TestWriteJobSendsInOneWrite(t *testing.T) {
	var w countingWriter
	if err := journal.WriteJob(&w, validJob()); err != nil {
		t.Fatal(err)
	}
	if w != 1 {
		t.Errorf("got %d writes, want 1", w)
	}
}

func TestWriteJobRefusesInvalidJobs(t *testing.T) {
	for name, spoil := range map[string]func(*journal.Job){
		"nonce":                  func(j *journal.Job) { j.Nonce = "" },
		"nonce of other letters": func(j *journal.Job) { j.Nonce = strings.Repeat("x", 32) },
		"long nonce":             func(j *journal.Job) { j.Nonce += "00" },
		"no argv":                func(j *journal.Job) { j.Argv = nil },
		"empty program":          func(j *journal.Job) { j.Argv = []string{""} },
		"NUL in argv":            func(j *journal.Job) { j.Argv = []string{"sh", "\x00"} },
		"no file":                func(j *journal.Job) { j.File = "" },
		"file with a path":       func(j *journal.Job) { j.File = "../main.py" },
		"file is the directory":  func(j *journal.Job) { j.File = "." },
		"file is the parent":     func(j *journal.Job) { j.File = ".." },
		"NUL in file":            func(j *journal.Job) { j.File = "a\x00" },
		"relative dir":           func(j *journal.Job) { j.Dir = "workspace" },
		"NUL in dir":             func(j *journal.Job) { j.Dir = "/a\x00" },
		"no timeout":             func(j *journal.Job) { j.Timeout = 0 },
		"negative grace":         func(j *journal.Job) { j.Grace = -1 },
		"negative head":          func(j *journal.Job) { j.Head = -1 },
		"negative tail":          func(j *journal.Job) { j.Tail = -1 },
		"large tail":             func(j *journal.Job) { j.Tail = 16<<20 + 1 },
		"nameless variable":      func(j *journal.Job) { j.Env[""] = "1" },
		"variable with =":        func(j *journal.Job) { j.Env["A=B"] = "1" },
		"NUL in a name":          func(j *journal.Job) { j.Env["A\x00"] = "1" },
		"NUL in a value":         func(j *journal.Job) { j.Env["A"] = "\x00" },
		"a file outside":         func(j *journal.Job) { j.Files = []journal.File{{Path: "../a"}} },
		"an absolute file":       func(j *journal.Job) { j.Files = []journal.File{{Path: "/a"}} },
		"a file that is the dir": func(j *journal.Job) { j.Files = []journal.File{{Path: "."}} },
		"NUL in a file's path":   func(j *journal.Job) { j.Files = []journal.File{{Path: "a\x00"}} },
		"a file with setuid":     func(j *journal.Job) { j.Files = []journal.File{{Path: "a", Mode: 0o4755}} },
		"too large":              func(j *journal.Job) { j.Code = strings.Repeat("x", 64<<20) },
	} {
		j := validJob()
		spoil(&j)
		var w countingWriter
		if err := journal.WriteJob(&w, j); err == nil || w != 0 {
			t.Errorf("%s: got error %v and %d writes, want an error and none", name, err, w)
		}
	}
}

func TestWriteJobAcceptsTheBounds(t *testing.T) {
	j := validJob()
	j.Code, j.Stdin, j.Env = "", nil, nil
	j.Timeout, j.Grace, j.Head, j.Tail = 1, 0, 0, 16<<20
	if err := journal.WriteJob(io.Discard, j); err != nil {
		t.Error(err)
	}
}

func TestWriteJobReturnsTheWriteError(t *testing.T) {
	r, w := io.Pipe()
	broken := errors.New("broken")
	_ = r.CloseWithError(broken)
	if err := journal.WriteJob(w, validJob()); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// countingWriter counts writes.
type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w++
	return len(p), nil
}
