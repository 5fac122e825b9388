package receiver

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestPrettyPrintMatchesTheGoldenFiles(t *testing.T) {
	start := time.Date(2025, 1, 28, 0, 0, 0, 0, time.UTC)
	good := Callback{Checked: true, Status: 200, Attempt: 1, Payload: wire.Result{
		ExecutionID: "exec_0dhk5m8t1c0pr9v2j6n4b8a3fg", Status: execution.Completed, Success: true, ExitCode: new(0),
		Stdout: "Progress: 0 minutes\nProgress: 1 minutes\n\nComplete!", StdoutBytes: 51,
		ExecutionTime: wire.Seconds(3600500 * time.Millisecond), StartedAt: &start, CompletedAt: start.Add(time.Hour),
		Reason: execution.Exited, OutputComplete: true,
	}}
	bad := Callback{
		Checked: true, Signature: callback.ErrMismatch, Standard: callback.ErrStale, Status: 401, Attempt: 3,
		Payload: wire.Result{
			ExecutionID: "exec_0dhk5m8t1c0pr9v2j6n4b8a3fg", Status: execution.Failed, Reason: execution.Lost,
			Error: new("The container was lost."), CompletedAt: start,
			Stdout: "\x1b[2J\x1b]0;owned\x07\r\tkept\u009b31m\x7f\n", StdoutBytes: 1 << 30, StdoutTruncated: true,
		},
	}
	for name, c := range map[string]Callback{
		"completed": good,
		"failed":    bad,
		"unchecked": {Status: 200, Payload: wire.Result{
			ExecutionID: "exec_1", Status: "evil\x1b[0m", OutputComplete: true,
		}},
		"batch": {Status: 200, Batch: &wire.BatchResult{
			BatchID: "batch_1", Count: 2, CompletedAt: start,
			Executions: []wire.BatchMember{
				{ExecutionID: "exec_1", Status: execution.Completed, Success: true, Name: "evil\x1b[0m"},
				{ExecutionID: "exec_2", Status: execution.Failed, Error: new("The program exited with code 1.")},
			},
		}},
		"malformed": {Status: 400, Malformed: errors.New("invalid character '\x1b'")},
	} {
		for suffix, color := range map[string]bool{".txt": false, ".color.txt": true} {
			var w counter
			if err := PrettyPrint(&w, c, color); err != nil || w.writes != 1 {
				t.Errorf("%v, %d writes", err, w.writes)
			}
			path := filepath.Join("testdata", name+suffix)
			if *update {
				if err := os.WriteFile(path, w.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.String(); got != string(want) {
				t.Errorf("%s\n got %q\nwant %q", path, got, want)
			}
			if !color && strings.ContainsAny(w.String(), "\x1b\x07\r\x7f\u009b") {
				t.Errorf("%s: control characters reach the terminal: %q", path, w.String())
			}
		}
	}
}

// counter counts calls of Write: with one call per callback, the lines of two callbacks never mix.
type counter struct {
	bytes.Buffer
	writes int
}

func (c *counter) Write(p []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(p)
}

func TestPrettyPrintReturnsTheErrorOfTheWriter(t *testing.T) {
	broken := errors.New("broken pipe")
	if err := PrettyPrint(brokenWriter{broken}, Callback{}, false); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{ err error }

func (r brokenWriter) Write([]byte) (int, error) { return 0, r.err }
