//go:build linux && integration

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/journal"
)

func TestJournalHoldsTheProgramsOutputAndEnd(t *testing.T) {
	res := box{}.run(t, printer("out\n", "err\n"))
	end := res.proven(t)
	if res.out != "out\n" || res.err != "err\n" {
		t.Errorf("got %q and %q, want %q and %q", res.out, res.err, "out\n", "err\n")
	}
	if end.ExitCode != 0 || end.Signal != 0 || end.TimedOut || end.Stopped || end.OutOfMem || end.StartError != "" {
		t.Errorf("got %+v, want a plain end", end)
	}
	if !bytes.HasPrefix(res.rawErr, journal.AppendStart(nil, testNonce, *res.start)) ||
		!res.start.At.Equal(end.StartedAt) {
		t.Errorf("stderr does not begin with the start frame: %.200q", res.rawErr)
	}
	if end.StartedAt.Location() != time.UTC || end.EndedAt.Location() != time.UTC {
		t.Errorf("the times are not UTC: %v, %v", end.StartedAt, end.EndedAt)
	}
}

func TestJournalHoldsHowTheProgramEnded(t *testing.T) {
	for script, want := range map[string]journal.End{
		"exit 0":                  {},
		"exit 255":                {ExitCode: 255},
		"kill -9 $$":              {Signal: 9},
		"kill -TERM $$":           {Signal: 15},
		"kill -SEGV $$; sleep 60": {Signal: 11},
	} {
		end := box{}.run(t, command("sh", "-c", script)).proven(t)
		if got := (journal.End{ExitCode: end.ExitCode, Signal: end.Signal}); got != want {
			t.Errorf("%s: got %+v, want %+v", script, got, want)
		}
	}
}

func TestProgramGetsTheJobsArgumentsAndEnvironment(t *testing.T) {
	j := attacker("describe")
	j.Dir = "/workspace/a/b"
	j.Stdin = []byte("in\x00\xff\n")
	j.Env["A"] = "job"
	j.Env["LD_PRELOAD"] = ""
	got := box{Env: []string{"A=image", "B=image"}}.run(t, j)
	got.proven(t)
	want := `args [describe]
env [A=job B=image BOOMERANG_INIT_TEST=program LD_PRELOAD= PATH=/usr/bin:/bin]
dir /workspace/a/b, code "the code\n"
files [main.txt] []
stdin "in\x00\xff\n"
group true
oom scores "1000\n", init "0\n"
`
	if got.out != want {
		t.Errorf("got\n%s\nwant\n%s", got.out, want)
	}
}

func TestProgramStartsWithDefaultSignals(t *testing.T) {
	res := box{}.run(t, command("cat", "/proc/self/status"))
	res.proven(t)
	if want := "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n"; !strings.Contains(
		res.out, want) {
		t.Errorf("got\n%s\nwant in it\n%s", res.out, want)
	}
}

func TestProgramGetsItsThreeFilesAlone(t *testing.T) {
	res := box{}.run(t, command("ls", "/proc/self/fd"))
	res.proven(t)
	if want := "0\n1\n2\n3\n"; res.out != want { // ls opens the directory as 3
		t.Errorf("got %q, want %q", res.out, want)
	}
}

func TestProgramWithoutStdinReadsNothing(t *testing.T) {
	res := box{}.run(t, command("sh", "-c", "cat; readlink /proc/self/fd/0"))
	res.proven(t)
	if res.out != "/dev/null\n" {
		t.Errorf("got %q, want %q", res.out, "/dev/null\n")
	}
}

func TestProgramThatCannotBeStartedIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*journal.Job)
		want  string
	}{
		"not found": {
			func(j *journal.Job) { j.Argv = []string{"pyton"} },
			"the program pyton cannot be run: it is not in PATH",
		},
		"not in the job's": {
			func(j *journal.Job) { j.Env = map[string]string{"PATH": "/none"} },
			"the program true cannot be run: it is not in PATH",
		},
		"not executable": {
			func(j *journal.Job) { j.Argv = []string{"./main.txt"} },
			"the program ./main.txt cannot be run: permission denied",
		},
		"no program": {
			func(j *journal.Job) { j.Argv = []string{"/workspace"} },
			"the program /workspace cannot be run: is a directory",
		},
		"directory refused": {
			func(j *journal.Job) { j.Dir = "/etc/x" },
			"the working directory /etc/x cannot be made: permission denied",
		},
		"directory is a file": {
			func(j *journal.Job) { j.Dir = "/init" },
			"the working directory /init cannot be made: not a directory",
		},
		"directory read-only": {
			func(j *journal.Job) { j.Dir = "/usr" },
			"the code cannot be written to /usr/main.txt: permission denied",
		},
		"name too long": {
			func(j *journal.Job) { j.File = strings.Repeat("x", 256) },
			"the code cannot be written to /workspace/" + strings.Repeat("x", 256) + ": file name too long",
		},
		"arguments too long": {
			func(j *journal.Job) { j.Argv = []string{"true", strings.Repeat("x", 1<<20)} },
			"the program true cannot be run: argument list too long",
		},
	} {
		j := command("true")
		c.spoil(&j)
		res := box{}.run(t, j)
		end := res.proven(t)
		if end.StartError != c.want || res.endErr.StartError != c.want {
			t.Errorf("%s: got %q and %q, want %q", name, end.StartError, res.endErr.StartError, c.want)
		}
		if res.out != "" || res.err != "" || end.ExitCode != 0 || end.Signal != 0 || end.TimedOut {
			t.Errorf("%s: something ran: %q, %q, %+v", name, res.out, res.err, end)
		}
	}
}

func TestInitWithoutAJobLeavesNothing(t *testing.T) {
	half := func() []byte {
		var b bytes.Buffer
		_ = journal.WriteJob(&b, command("true"))
		return b.Bytes()[:b.Len()-1]
	}
	for name, c := range map[string]struct {
		feed func(*running)
		code int
	}{
		"EOF": {func(*running) {}, journal.ExitNoJob},
		"SIGTERM": {
			func(r *running) { awaitIgnoredSignals(r); r.stop(); _, _ = io.Copy(io.Discard, r.stdout) },
			journal.ExitNoJob,
		},
		"half a job":     {func(r *running) { _, _ = r.job.Write(half()) }, journal.ExitNoJob},
		"half a length":  {func(r *running) { _, _ = r.job.Write(half()[:3]) }, journal.ExitNoJob},
		"no job at all":  {func(r *running) { _, _ = r.job.WriteString("\x00\x00\x00\x02{}") }, 1},
		"far too long":   {func(r *running) { _, _ = r.job.WriteString("\xff\xff\xff\xff") }, 1},
		"a job for HTTP": {func(r *running) { _, _ = r.job.WriteString("GET / HTTP/1.1\r\n\r\n") }, 1},
	} {
		r := box{}.start(t)
		c.feed(r)
		res := r.wait()
		if len(res.rawOut) != 0 || len(res.rawErr) != 0 || res.code != c.code {
			t.Errorf("%s: got %q, %q and exit code %d, want nothing and %d", name, res.rawOut, res.rawErr, res.code,
				c.code)
		}
	}
}

// awaitIgnoredSignals waits until the init has started, which it shows by ignoring SIGINT.
func awaitIgnoredSignals(r *running) {
	r.t.Helper()
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
		if err != nil {
			r.t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(string(text), "Name:\t"), "\n")
		_, ignored, _ := strings.Cut(string(text), "SigIgn:\t")
		if name == "init" && strings.HasPrefix(ignored, "fffffff") {
			return
		}
	}
}

func TestInitRefusesToRunUnlessItIsPID1(t *testing.T) {
	out, err := exec.Command(initBinary).CombinedOutput()
	if err == nil || string(out) != "boomerang-init must be PID 1 of a container\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestForgedFramesArePayload(t *testing.T) {
	res := box{}.run(t, attacker("forge"))
	end := res.proven(t)
	want := forgery()
	if res.out != want || res.err != want {
		t.Errorf("got %q and %q, want twice %q", res.out, res.err, want)
	}
	if end.Bytes != int64(len(want)) {
		t.Errorf("got %d bytes, want %d", end.Bytes, len(want))
	}
}

func TestInitsMemoryAndFilesAreClosed(t *testing.T) {
	res := box{}.run(t, attacker("spy"))
	res.proven(t)
	want := `mem: permission denied
environ: permission denied
maps: permission denied
auxv: permission denied
syscall: permission denied
stack: permission denied
io: permission denied
fd/0: permission denied
task/1/mem: permission denied
map_files: permission denied
cwd/: permission denied
root/: permission denied
exe: permission denied
fd: permission denied
oom_score_adj: permission denied
ptrace: operation not permitted
process_vm_readv: operation not permitted
pidfd_getfd: operation not permitted
cmdline shows the nonce: false
status shows the nonce: false
stat shows the nonce: false
comm shows the nonce: false
limits shows the nonce: false
mountinfo shows the nonce: false
`
	if res.out != want {
		t.Errorf("got\n%s\nwant\n%s", res.out, want)
	}
}

func TestNoSignalFromInsideEndsTheInit(t *testing.T) {
	res := box{}.run(t, attacker("signal init"))
	end := res.proven(t)
	if want := "sent to true threads\n"; res.out != want || end.ExitCode != 7 || end.Stopped {
		t.Errorf("got %q and %+v, want %q and exit code 7", res.out, end, want)
	}
}

func TestInitNeedsNothingMoreOnceTheProgramRuns(t *testing.T) {
	j := attacker("starve init")
	res := box{}.run(t, j)
	end := res.proven(t)
	if all := flooded("out", 8<<20); end.ExitCode != 0 || end.Bytes != 8<<20 ||
		res.out != all[:j.Head]+all[8<<20-j.Tail:] {
		t.Errorf("got %+v and %d bytes, want exit code 0 and the flood's head and tail", end, len(res.out))
	}
}

func TestSIGTERMFromInsideEndsTheProgram(t *testing.T) {
	end := box{}.run(t, attacker("terminate init")).proven(t)
	if end.Signal != 15 || !end.Stopped || end.TimedOut {
		t.Errorf("got %+v, want it stopped by signal 15", end)
	}
}

func TestSIGTERMEndsTheProgramOnce(t *testing.T) {
	r := box{}.start(t)
	r.send(attacker("obey"))
	awaitOutput(r, "waiting\x1en\n")
	r.stop()
	r.stop()
	res := r.wait()
	end := res.proven(t)
	if res.out != "bye\n" || end.ExitCode != 3 || !end.Stopped || end.TimedOut {
		t.Errorf("got %q and %+v, want it stopped, with its last word and exit code 3", res.out, end)
	}
}

func awaitOutput(r *running, want string) {
	r.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.stdout, got); err != nil || string(got) != want {
		r.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestProgramMayCloseItsStreamsAndGoOn(t *testing.T) {
	end := box{}.run(t, attacker("close streams")).proven(t)
	if end.ExitCode != 5 {
		t.Errorf("got %+v, want exit code 5", end)
	}
}

func TestNothingOutlivesTheProgram(t *testing.T) {
	for _, name := range []string{"daemon", "hide pipe"} {
		res := box{}.run(t, attacker(name))
		end := res.proven(t)
		if end.ExitCode != 0 || end.TimedOut || strings.Contains(res.out, "error") {
			t.Errorf("%s: got %q and %+v, want its own end", name, res.out, end)
		}
	}
}

func TestDeadlineEndsTheProgram(t *testing.T) {
	for name, want := range map[string]struct {
		grace  time.Duration
		out    string
		code   int
		signal int
	}{
		"obey":        {grace: time.Minute, out: "waiting\nbye\n", code: 3},
		"ignore":      {grace: 200 * time.Millisecond, out: "ignoring\n", signal: 9},
		"insist":      {grace: 200 * time.Millisecond, out: "insisting\n", signal: 9},
		"stop itself": {grace: 200 * time.Millisecond, out: "stopping\n", signal: 9},
	} {
		j := attacker(name)
		j.Grace = want.grace
		res := runBeyond(t, &j)
		end := res.proven(t)
		if res.out != want.out || end.ExitCode != want.code || end.Signal != want.signal || !end.TimedOut ||
			end.Stopped {
			t.Errorf("%s: got %q and %+v, want it timed out with %+v", name, res.out, end, want)
		}
		if end.Elapsed < j.Timeout {
			t.Errorf("%s: ended after %v, before its deadline", name, end.Elapsed)
		}
	}
}

// runBeyond runs a job beyond its deadline. The deadline leaves a slow machine time for the program's first output.
func runBeyond(t *testing.T, j *journal.Job) result {
	t.Helper()
	for j.Timeout = 500 * time.Millisecond; ; j.Timeout *= 2 {
		if res := (box{}).run(t, *j); res.out != "" || j.Timeout > 30*time.Second {
			return res
		}
	}
}

func TestStoppedProcessesDoNotDelayTheEnd(t *testing.T) {
	traced := attacker("be traced")
	traced.Timeout, traced.Grace = 500*time.Millisecond, 200*time.Millisecond
	if end := (box{}).run(t, traced).proven(t); !end.TimedOut || end.Signal == 0 {
		t.Errorf("got %+v, want it timed out and killed", end)
	}
	end := box{}.run(t, attacker("stop others")).proven(t)
	if end.ExitCode != 4 || end.TimedOut {
		t.Errorf("got %+v, want exit code 4", end)
	}
}

func TestDeadlineHoldsWhileTheLogIsBlocked(t *testing.T) {
	j := attacker("flood", strconv.Itoa(64<<20))
	j.Timeout, j.Grace = 500*time.Millisecond, 100*time.Millisecond
	j.Head = 2 * largestPipe // more than the pipe and the init's buffer hold
	r := box{}.start(t)
	r.send(j)
	_, _ = io.ReadFull(r.stderr,
		make([]byte, len(journal.AppendStart(nil, testNonce, journal.Start{At: time.Unix(1, 1)}))))
	awaitNoChildren(r)
	res := r.wait()
	end := res.endOut
	if res.code != 0 || end == nil || res.endErr == nil {
		t.Fatalf("the journal is not whole: exit code %d, %v, %v", res.code, end, res.endErr)
	}
	if !end.TimedOut || end.Signal != 15 || end.LeftOut != 0 {
		t.Errorf("got %+v, want it timed out by signal 15 with all its output", end)
	}
	if int64(len(res.out)) != end.Bytes || res.out != flooded("out", 2*largestPipe)[:end.Bytes] {
		t.Errorf("got %d bytes, want the first %d of the flood", len(res.out), end.Bytes)
	}
}

// awaitNoChildren waits until the init has had a child and has none any more.
func awaitNoChildren(r *running) {
	r.t.Helper()
	had := false
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		pids, err := childrenOf(r.cmd.Process.Pid)
		if err != nil {
			r.t.Fatal(err)
		}
		if had && pids == "" {
			return
		}
		had = had || pids != ""
	}
}

// childrenOf returns the children of all threads of a process, because any thread may have started one.
func childrenOf(pid int) (string, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return "", err
	}
	var all []byte
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		if err != nil {
			return "", err
		}
		all = append(all, text...)
	}
	return string(all), nil
}

func flooded(stream string, size int) string {
	var b strings.Builder
	for i := range size / lineSize {
		b.WriteString(line(stream, i))
	}
	return b.String()
}

func TestFloodIsCountedExactlyAndKeptInPart(t *testing.T) {
	const size = 64 << 20
	j := attacker("flood", strconv.Itoa(size))
	res := box{}.run(t, j)
	res.proven(t)
	for name, got := range map[string]struct {
		payload string
		end     journal.End
	}{"out": {res.out, *res.endOut}, "err": {res.err, *res.endErr}} {
		if got.end.Bytes != size || got.end.LeftOut != size-j.Head-j.Tail || got.end.Tail != j.Tail {
			t.Errorf("%s: got %+v, want %d bytes", name, got.end, size)
		}
		all := flooded(name, size)
		if want := all[:j.Head] + all[int64(size)-j.Tail:]; got.payload != want {
			t.Errorf("%s: got %d bytes of payload, want %d, or they differ", name, len(got.payload), len(want))
		}
	}
}

// printer returns a job that writes these bytes.
func printer(out, err string) journal.Job {
	return attacker("print", hex.EncodeToString([]byte(out)), hex.EncodeToString([]byte(err)))
}

func TestOutputIsByteExact(t *testing.T) {
	for _, out := range []string{
		"", "no newline", "\n", "\xff\xfe\x80\n", "\x1e\x1eboomerang",
		strings.Repeat("x", 20_000) + "\n", "ü", "a\x00b\x00",
	} {
		res := box{}.run(t, printer(out, out+"!"))
		end := res.proven(t)
		if res.out != out || res.err != out+"!" || end.Bytes != int64(len(out)) {
			t.Errorf("got %q, %q and %d bytes, want %q", res.out, res.err, end.Bytes, out)
		}
	}
}

func TestForkBombCostsTheProgramOnly(t *testing.T) {
	for range 3 {
		j := attacker("fork bomb")
		j.Timeout, j.Grace = time.Second, 100*time.Millisecond
		end := box{PIDs: 32 + journal.Threads}.run(t, j).proven(t)
		const noThreads = 2 // exit code of a Go program that cannot start a thread
		if !end.TimedOut && end.ExitCode != noThreads {
			t.Errorf("got %+v, want it timed out, or ended by its own bomb", end)
		}
	}
}

func TestNoThreadIsStartedOnceTheProgramRuns(t *testing.T) {
	res := box{}.run(t, attacker("count threads"))
	res.proven(t)
	var before, after int
	if _, err := fmt.Sscanf(res.out[:strings.IndexByte(res.out, '\n')], "%d", &before); err != nil {
		t.Fatal(err)
	}
	last := strings.TrimSpace(res.out[strings.LastIndexByte(strings.TrimSpace(res.out), '\n')+1:])
	if _, err := fmt.Sscanf(last, "%d", &after); err != nil {
		t.Fatal(err)
	}
	if before != after || after > journal.Threads {
		t.Errorf("got %d threads, then %d, want as many and at most %d", before, after, journal.Threads)
	}
}

func TestOrphansAreReapedAllTheTime(t *testing.T) {
	if end := (box{}).run(t, attacker("orphans", "20")).proven(t); end.ExitCode != 0 || end.TimedOut {
		t.Errorf("got %+v, want its own end", end)
	}
}

func TestMemoryThatRunsOutIsReported(t *testing.T) {
	small := box{Memory: 64 << 20}
	end := small.run(t, attacker("allocate", strconv.Itoa(256<<20))).proven(t)
	if end.Signal != int(syscall.SIGKILL) || !end.OutOfMem {
		t.Errorf("the program: got %+v, want it killed for memory", end)
	}
	res := small.run(t, attacker("lose a child", strconv.Itoa(256<<20)))
	end = res.proven(t)
	if res.out != "signal: killed\n" || end.ExitCode != 0 || end.Signal != 0 || !end.OutOfMem {
		t.Errorf("a child: got %q and %+v, want it killed for memory and the program's own end", res.out, end)
	}
	end = small.run(t, attacker("allocate", strconv.Itoa(16<<20))).proven(t)
	if end.OutOfMem || end.MaxMemory < 16<<20 || end.MaxMemory > 64<<20 {
		t.Errorf("enough: got %+v, want between 16 and 64 MiB", end)
	}
}

func TestProcessorTimeIsTheProgramsOwn(t *testing.T) {
	if end := (box{}).run(t, attacker("burn", "100ms")).proven(t); end.CPUTime < 100*time.Millisecond {
		t.Errorf("got %v, want at least 100 ms", end.CPUTime)
	}
}
