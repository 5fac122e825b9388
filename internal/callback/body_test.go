package callback

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s\n got %s\nwant %s", path, got, want)
	}
}

const testID execution.ID = "exec_0dhk5m8t1c0pr9v2j6n4b8a3fg"

var (
	aStart = time.Date(2025, 1, 28, 1, 0, 0, 0, time.FixedZone("CET", 3600)) // 00:00 UTC
	anEnd  = aStart.Add(3600*time.Second + 500*time.Millisecond)
)

func text(s string) execution.Output {
	return execution.Output{Head: []byte(s), Bytes: int64(len(s))}
}

func completed() execution.Result {
	return execution.Result{
		State: execution.Completed, Reason: execution.Exited, ExitCode: new(0),
		StartedAt: aStart, CompletedAt: anEnd, Duration: 3600*time.Second + 500*time.Millisecond,
		Stdout: text("Progress: 0 minutes\n<b>&amp;</b>\u2028\nComplete!\n"), OutputComplete: true,
		CPUTime: 12345678 * time.Nanosecond, MaxMemory: 9_437_184,
	}
}

func TestBodyReturnsTheCallersOwnData(t *testing.T) {
	e := execution.Execution{ID: testID, Language: "python"}
	bare := Body(e, completed(), 1<<20)
	e.Name, e.Options.Metadata = "<nightly>", map[string]string{"b": "2", "a": "1"}
	got := Body(e, completed(), 1<<20)
	want := strings.TrimSuffix(string(bare), "}") + `,"name":"<nightly>","metadata":{"a":"1","b":"2"}}`
	if string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestBodyIsTheWireByteForByte(t *testing.T) {
	lost := execution.Result{
		State: execution.Failed, Reason: execution.Lost, Error: "The container was lost.",
		StartedAt: aStart, CompletedAt: anEnd, Duration: 3600*time.Second + 500*time.Millisecond, Stdout: text("begun"),
	}
	left := completed()
	left.Artifacts = &execution.Artifacts{
		Files: []execution.Artifact{
			{
				Path: "a\n<b>.txt",
				Mode: 0o644,
				Blob: execution.Blob{Size: 5, Sum: [32]byte{0xab, 31: 0x01}},
			}, {Path: "out/empty", Mode: 0o70},
		},
		Omissions: execution.Omissions{Omitted: []execution.Omission{{Path: "link", Reason: "symlink"}}, Count: 1},
	}
	for name, r := range map[string]execution.Result{
		"completed.json": completed(),
		"failed.json": {
			State: execution.Failed, Reason: execution.Exited, ExitCode: new(3),
			Error:     "The program exited with code 3.",
			StartedAt: aStart.Add(123456789 * time.Nanosecond), CompletedAt: aStart.Add(4158456789 * time.Nanosecond),
			Duration: 4035 * time.Millisecond, Stderr: text("Traceback\n"), OutputComplete: true,
		},
		"timeout.json": {
			State: execution.Timeout, Reason: execution.TimedOut, ExitCode: new(124),
			Error:     "The program ran longer than 7200 s.",
			StartedAt: aStart, CompletedAt: anEnd, Duration: 7200 * time.Second, Stdout: text("printed until then"),
			OutputComplete: true,
		},
		"cancelled.json": {
			State: execution.Cancelled, Reason: execution.WasCancelled,
			Error:       "The execution was cancelled before it started.",
			CompletedAt: anEnd, OutputComplete: true,
		},
		"truncated.json": {
			State: execution.Completed, Reason: execution.Exited, ExitCode: new(0),
			StartedAt: aStart, CompletedAt: anEnd, Duration: time.Microsecond, OutputComplete: true,
			Stdout: execution.Output{
				Head: []byte(strings.Repeat("é", 600)), Tail: []byte("the end\n"), Bytes: 10 << 30,
			},
			Stderr: text(strings.Repeat("0123456789abcdef", 65)),
		},
		"invalid_utf8.json": {
			State: execution.Completed, Reason: execution.Exited, ExitCode: new(0),
			StartedAt: aStart, CompletedAt: anEnd, Duration: 999 * time.Nanosecond, OutputComplete: true,
			Stdout: text("a\xff\xfeb\x00\x1b[31m"),
		},
		"lost.json":      lost,
		"artifacts.json": left,
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, Body(execution.Execution{ID: testID, Language: "python"}, r, 1024))
		})
	}
}

func TestBodyIsReadBackAsItWasMade(t *testing.T) {
	r := completed()
	var p wire.Result
	if err := json.Unmarshal(Body(execution.Execution{ID: testID}, r, 1<<20), &p); err != nil {
		t.Fatal(err)
	}
	if got := time.Duration(p.ExecutionTime); got != r.Duration {
		t.Errorf("execution_time = %v, want %v", got, r.Duration)
	}
	if p.Stdout != string(r.Stdout.Head) || !p.CompletedAt.Equal(r.CompletedAt) || p.Error != nil || !p.Success {
		t.Errorf("got %+v", p)
	}
}

// BenchmarkBody makes the body of a program that printed more than is kept. The body needs little more memory than its
// length.
func BenchmarkBody(b *testing.B) {
	r := completed()
	r.Stdout = execution.Output{
		Head:  bytes.Repeat([]byte("0123456789abcde\n"), 1<<16),
		Tail:  []byte("the end"),
		Bytes: 1 << 30,
	}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(Body(execution.Execution{ID: testID}, r, 1<<20))))
	}
}
