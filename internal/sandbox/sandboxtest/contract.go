// Package sandboxtest holds the tests that every sandbox must pass, the programs that they run, and a fake sandbox
// that passes them too.
//
// It refuses to know Docker.
package sandboxtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// Harness is a sandbox to be tested.
type Harness struct {
	// Open returns a handle on the one engine, as a fresh process of the node has it, and closes it at the end of t.
	Open  func(t *testing.T) sandbox.Sandbox
	Image string // holds the Player
}

// suite is a harness with the handle of the process that prepares the berths.
type suite struct {
	Harness
	sandbox sandbox.Sandbox
}

// Contract tests a sandbox: each subtest is one obligation of the comments in package sandbox.
func Contract(t *testing.T, h Harness) {
	s := suite{h, h.Open(t)}
	for name, obligation := range map[string]func(*testing.T, suite){
		"OutputIsCompleteAndExactOnBothStreams":  outputIsExact,
		"BytesComeWhileTheProgramRuns":           bytesComeLive,
		"AnExitCodeIsReported":                   exitCode,
		"ASignalIsReported":                      signalled,
		"AProgramThatCannotBeStartedIsReported":  startError,
		"TheDeadlineEndsAProgram":                deadline,
		"TheDeadlineEndsAProgramThatIgnoresTERM": deadlineForTheDeaf,
		"LargeOutputKeepsHeadAndTailAndCounts":   largeOutput,
		"StopEndsAProgram":                       stop,
		"StopEndsAProgramThatIgnoresTERM":        stopForTheDeaf,
		"StopAfterTheEndIsNoError":               stopAfterTheEnd,
		"StopBeforeAssignProvesThatNothingRan":   stopBeforeAssign,
		"FollowBeginsAnew":                       followTwice,
		"AFreshHandleFollowsARunningBerth":       freshHandleWhileRunning,
		"AFreshHandleFollowsAnEndedBerth":        freshHandleAfterTheEnd,
		"AFoundBerthTakesNoJob":                  foundBerthTakesNoJob,
		"ACancelledFollowLeavesTheProgramAlone":  cancelledFollow,
		"AWriteErrorIsIgnored":                   writeError,
		"TwoBerthsDoNotMix":                      twoAtOnce,
		"RemoveEndsFollow":                       removeWhileFollowing,
		"RemoveIsIdempotent":                     removeTwice,
		"WhatIsRemovedIsGone":                    removedIsGone,
		"BerthsListsWhatIsThere":                 berthsLists,
		"AnUnknownImageIsTold":                   unknownImage,
		"ACancelledPrepareLeavesNothing":         cancelledPrepare,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // as all methods may be called at the same time
			obligation(t, s)
		})
	}
}

func outputIsExact(t *testing.T, s suite) {
	const page = 16 << 10 // Docker's log copies lines in pieces of this size
	binary := string([]byte{0, 1, 2, 0x1e, '\r', '\n', 0xff, 0xfe, '\n', '\n'})
	stdout := strings.Join([]string{
		binary, "line\n", strings.Repeat("a", page) + "\n", strings.Repeat("b", page-1) + "\n",
		strings.Repeat("c", 3*page+1) + "\n", "\x1eboomerang", "no newline at the end",
	}, "")
	stderr := "first\n" + binary + strings.Repeat("d", 2*page) + "\n"
	r := s.run(t, Program{Out(stdout), Err(stderr)}.Job())
	r.wantOutput(t, stdout, stderr)
	if end := r.end(t); end.ExitCode != 0 || end.Signal != 0 || end.TimedOut || end.Stopped || end.StartError != "" {
		t.Errorf("end = %+v, want one of its own accord", end)
	}
	if r.outcome.Start == nil {
		t.Error("start = nil, want a frame")
	}
	if got, want := r.outcome.Stdout.Bytes, int64(len(stdout)); got != want {
		t.Errorf("stdout: bytes = %d, want %d", got, want)
	}
	if got, want := r.outcome.Stderr.Bytes, int64(len(stderr)); got != want {
		t.Errorf("stderr: bytes = %d, want %d", got, want)
	}
}

func bytesComeLive(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("progress: 1 %"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), t, stdout, io.Discard)
	stdout.await(t, "progress: 1 %")
	b.stop(t)
	f.wait(t)
}

func exitCode(t *testing.T, s suite) {
	if end := s.run(t, Program{Exit(42)}.Job()).end(t); end.ExitCode != 42 || end.Signal != 0 {
		t.Errorf("end = %+v, want exit code 42", end)
	}
}

func signalled(t *testing.T, s suite) {
	r := s.run(t, Program{Out("last words"), Die(int(syscall.SIGKILL))}.Job())
	if end := r.end(t); end.Signal != int(syscall.SIGKILL) || end.ExitCode != 0 || end.Stopped || end.TimedOut {
		t.Errorf("end = %+v, want signal 9", end)
	}
	r.wantOutput(t, "last words", "")
}

func startError(t *testing.T, s suite) {
	job := Program{}.Job()
	job.Argv = []string{Missing}
	r := s.run(t, job)
	if end := r.end(t); end.StartError == "" {
		t.Errorf("end = %+v, want a start error", end)
	}
	r.wantOutput(t, "", "")
}

func deadline(t *testing.T, s suite) {
	job := Program{Out("until then"), Hang()}.Job()
	job.Timeout = 500 * time.Millisecond
	r := s.run(t, job)
	if end := r.end(t); !end.TimedOut || end.Stopped || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want timed out by signal 15", end)
	}
	r.wantOutput(t, "until then", "")
}

func deadlineForTheDeaf(t *testing.T, s suite) {
	job := Program{IgnoreTerm(), Err("deaf"), Hang()}.Job()
	job.Timeout, job.Grace = 500*time.Millisecond, 100*time.Millisecond
	r := s.run(t, job)
	if end := r.end(t); !end.TimedOut || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want timed out by signal 9", end)
	}
	r.wantOutput(t, "", "deaf")
}

func largeOutput(t *testing.T, s suite) {
	job := Program{Times(100_000, Out("0123456789abcde\n")), Out("the last"), Err("short")}.Job()
	job.Head, job.Tail = 64<<10, 1<<10
	all := strings.Repeat("0123456789abcde\n", 100_000) + "the last"
	r := s.run(t, job)
	r.wantOutput(t, all[:job.Head]+all[int64(len(all))-job.Tail:], "short")
	got, want := *r.outcome.Stdout, int64(len(all))
	if got.Bytes != want || got.LeftOut != want-job.Head-job.Tail || got.Tail != job.Tail {
		t.Errorf("stdout: %d bytes, %d left out, tail %d, want %d, %d, %d",
			got.Bytes, got.LeftOut, got.Tail, want, want-job.Head-job.Tail, job.Tail)
	}
	if got := *r.outcome.Stderr; got.Bytes != 5 || got.LeftOut != 0 || got.Tail != 0 {
		t.Errorf("stderr: %d bytes, %d left out, tail %d, want 5, 0, 0", got.Bytes, got.LeftOut, got.Tail)
	}
}

func stop(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("running"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), t, stdout, io.Discard)
	stdout.await(t, "running")
	b.stop(t)
	if end := f.wait(t).end(t); !end.Stopped || end.TimedOut || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want stopped by signal 15", end)
	}
	b.stop(t)
}

func stopForTheDeaf(t *testing.T, s suite) {
	job := Program{IgnoreTerm(), Out("deaf"), Hang()}.Job()
	job.Grace = 100 * time.Millisecond
	b := s.assigned(t, job)
	stdout := newRecorder()
	f := b.follow(t.Context(), t, stdout, io.Discard)
	stdout.await(t, "deaf")
	b.stop(t)
	if end := f.wait(t).end(t); !end.Stopped || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want stopped by signal 9", end)
	}
}

func stopAfterTheEnd(t *testing.T, s suite) {
	b := s.assigned(t, Program{Exit(3)}.Job())
	b.follow(t.Context(), t, io.Discard, io.Discard).wait(t)
	b.stop(t)
	if end := b.follow(t.Context(), t, io.Discard, io.Discard).wait(t).end(t); end.ExitCode != 3 || end.Stopped {
		t.Errorf("end = %+v, want exit code 3 as before", end)
	}
}

func stopBeforeAssign(t *testing.T, s suite) {
	b := s.prepared(t, "")
	b.stop(t)
	job := Program{Out("must not run")}.Job()
	_ = b.berth.Assign(t.Context(), job) // may or may not notice
	b.nonce = job.Nonce
	r := b.follow(t.Context(), t, io.Discard, io.Discard).wait(t)
	if r.outcome.Start != nil || r.outcome.Proven() || r.outcome.ExitCode != journal.ExitNoJob {
		t.Errorf("outcome = %+v, want no start, no ends and exit code %d", r.outcome, journal.ExitNoJob)
	}
}

func followTwice(t *testing.T, s suite) {
	b := s.assigned(t, Program{Times(1000, Out("line\n")), Err("x"), Exit(7)}.Job())
	for range 2 {
		r := b.follow(t.Context(), t, nil, nil).wait(t)
		r.wantOutput(t, strings.Repeat("line\n", 1000), "x")
		if end := r.end(t); end.ExitCode != 7 {
			t.Errorf("end = %+v, want exit code 7", end)
		}
	}
}

func freshHandleWhileRunning(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("before\n"), Sleep(500 * time.Millisecond), Out("after\n"), Exit(5)}.Job())
	f := s.found(t, b)
	if !f.Running {
		t.Error("running = false, want true")
	}
	r := (&attempt{berth: f.Berth, nonce: b.nonce}).follow(t.Context(), t, nil, nil).wait(t)
	r.wantOutput(t, "before\nafter\n", "")
	if end := r.end(t); end.ExitCode != 5 {
		t.Errorf("end = %+v, want exit code 5", end)
	}
}

func freshHandleAfterTheEnd(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("whole"), Exit(6)}.Job())
	b.follow(t.Context(), t, io.Discard, io.Discard).wait(t)
	b.stop(t) // returns when the engine knows of the end
	f := s.found(t, b)
	if f.Running {
		t.Error("running = true, want false")
	}
	r := (&attempt{berth: f.Berth, nonce: b.nonce}).follow(t.Context(), t, nil, nil).wait(t)
	r.wantOutput(t, "whole", "")
	if end := r.end(t); end.ExitCode != 6 {
		t.Errorf("end = %+v, want exit code 6", end)
	}
}

func foundBerthTakesNoJob(t *testing.T, s suite) {
	b := s.assigned(t, Program{Hang()}.Job())
	if err := s.found(t, b).Berth.Assign(t.Context(), Program{}.Job()); err == nil {
		t.Error("assign = nil, want an error: the berth has its job")
	}
}

func cancelledFollow(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("before\n"), Sleep(500 * time.Millisecond), Out("after\n")}.Job())
	ctx, cancel := context.WithCancelCause(t.Context())
	stdout := newRecorder()
	f := b.follow(ctx, t, stdout, io.Discard)
	stdout.await(t, "before\n")
	cause := errors.New("enough seen")
	cancel(cause)
	if err := f.err(t); !errors.Is(err, cause) {
		t.Errorf("follow = %v, want the cause of its context", err)
	}
	r := b.follow(t.Context(), t, nil, nil).wait(t)
	r.wantOutput(t, "before\nafter\n", "")
	if end := r.end(t); end.Stopped || end.Signal != 0 || end.ExitCode != 0 {
		t.Errorf("end = %+v, want one of its own accord", end)
	}
}

func writeError(t *testing.T, s suite) {
	b := s.assigned(t, Program{Times(1000, Out("line\n")), Err("x")}.Job())
	closed, w := io.Pipe()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	r := b.follow(t.Context(), t, w, w).wait(t)
	if got := r.outcome.Stdout; got == nil || got.Bytes != 5000 {
		t.Errorf("stdout end = %+v, want 5000 bytes", got)
	}
}

func twoAtOnce(t *testing.T, s suite) {
	first := s.assigned(t, Program{Times(2000, Out("first\n")), Err("1"), Exit(1)}.Job())
	second := s.assigned(t, Program{Times(2000, Out("second\n")), Err("2"), Exit(2)}.Job())
	one := first.follow(t.Context(), t, nil, nil)
	two := second.follow(t.Context(), t, nil, nil)
	one.wait(t).wantOutput(t, strings.Repeat("first\n", 2000), "1")
	two.wait(t).wantOutput(t, strings.Repeat("second\n", 2000), "2")
}

func removeWhileFollowing(t *testing.T, s suite) {
	b := s.assigned(t, Program{Out("running"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), t, stdout, io.Discard)
	stdout.await(t, "running")
	b.remove(t)
	<-f.done
	if f.failure == nil && f.outcome.Proven() {
		t.Errorf("follow = %+v, want an end without proof", f.outcome)
	}
	if f.failure != nil && !errors.Is(f.failure, sandbox.ErrGone) {
		t.Errorf("follow = %v, want %v", f.failure, sandbox.ErrGone)
	}
}

func removeTwice(t *testing.T, s suite) {
	b := s.prepared(t, "")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { b.remove(t) })
	}
	both.Wait()
	b.remove(t)
	b.stop(t)
}

func removedIsGone(t *testing.T, s suite) {
	b := s.assigned(t, Program{}.Job())
	b.follow(t.Context(), t, io.Discard, io.Discard).wait(t)
	b.remove(t)
	if err := b.follow(t.Context(), t, io.Discard, io.Discard).err(t); !errors.Is(err, sandbox.ErrGone) {
		t.Errorf("follow = %v, want %v", err, sandbox.ErrGone)
	}
}

func berthsLists(t *testing.T, s suite) {
	b := s.prepared(t, "exec_listed")
	f := s.found(t, b)
	if f.Execution != "exec_listed" || f.Slot != 1 || !f.Running {
		t.Errorf("found = %+v, want execution exec_listed in slot 1, running", f)
	}
	b.remove(t)
	for _, f := range s.berths(t) {
		if f.Berth.ID() == b.berth.ID() {
			t.Error("a removed berth is still listed")
		}
	}
}

func unknownImage(t *testing.T, s suite) {
	_, err := s.sandbox.Prepare(t.Context(), s.spec("", "boomerang.invalid/no/such:image"))
	if !errors.Is(err, sandbox.ErrImageUnavailable) {
		t.Errorf("prepare = %v, want %v", err, sandbox.ErrImageUnavailable)
	}
}

func cancelledPrepare(t *testing.T, s suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.sandbox.Prepare(ctx, s.spec("exec_cancelled", s.Image))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("prepare = %v, want %v", err, context.Canceled)
	}
	for _, f := range s.berths(t) {
		if f.Execution == "exec_cancelled" {
			t.Error("a berth was left behind")
		}
	}
}

// spec is one with limits that no test runs into by chance.
func (s suite) spec(execution, image string) sandbox.Spec {
	return sandbox.Spec{
		Execution: execution, Language: "test", Image: image, Slot: 1, Network: "none",
		Limits: sandbox.Limits{
			Memory: 256 << 20, CPUs: 1, PIDs: 64, Files: 256,
			Workspace: 64 << 20, Tmp: 16 << 20, Output: 1 << 20, Tail: 64 << 10,
		},
	}
}

// attempt is one berth of a test, removed at its end.
type attempt struct {
	berth sandbox.Berth
	nonce string
}

func (s suite) prepared(t *testing.T, execution string) *attempt {
	t.Helper()
	berth, err := s.sandbox.Prepare(t.Context(), s.spec(execution, s.Image))
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	b := &attempt{berth: berth}
	t.Cleanup(func() {
		if err := berth.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return b
}

func (s suite) assigned(t *testing.T, job journal.Job) *attempt {
	t.Helper()
	b := s.prepared(t, "")
	if err := b.berth.Assign(t.Context(), job); err != nil {
		t.Fatalf("assign: %v", err)
	}
	b.nonce = job.Nonce
	return b
}

func (s suite) run(t *testing.T, job journal.Job) *following {
	t.Helper()
	return s.assigned(t, job).follow(t.Context(), t, nil, nil).wait(t)
}

func (s suite) berths(t *testing.T) []sandbox.Found {
	t.Helper()
	found, err := s.Open(t).Berths(t.Context())
	if err != nil {
		t.Fatalf("berths: %v", err)
	}
	return found
}

// found is b as a fresh process finds it.
func (s suite) found(t *testing.T, b *attempt) sandbox.Found {
	t.Helper()
	for _, f := range s.berths(t) {
		if f.Berth.ID() == b.berth.ID() {
			return f
		}
	}
	t.Fatalf("berth %s is not listed", b.berth.ID())
	return sandbox.Found{}
}

func (b *attempt) stop(t *testing.T) {
	t.Helper()
	if err := b.berth.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func (b *attempt) remove(t *testing.T) {
	t.Helper()
	if err := b.berth.Remove(t.Context()); err != nil {
		t.Errorf("remove: %v", err)
	}
}

// following is a Follow under way. Its results may be read once done is closed.
type following struct {
	done           chan struct{}
	outcome        sandbox.Outcome
	failure        error
	stdout, stderr bytes.Buffer
}

// follow begins to follow; a nil writer keeps what comes for wantOutput. The test waits for its end.
func (b *attempt) follow(ctx context.Context, t *testing.T, stdout, stderr io.Writer) *following {
	t.Helper()
	f := &following{done: make(chan struct{})}
	if stdout == nil {
		stdout = &f.stdout
	}
	if stderr == nil {
		stderr = &f.stderr
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	go func() {
		defer close(f.done)
		defer cancel()
		f.outcome, f.failure = b.berth.Follow(ctx, b.nonce, stdout, stderr)
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func (f *following) err(t *testing.T) error {
	t.Helper()
	<-f.done
	return f.failure
}

func (f *following) wait(t *testing.T) *following {
	t.Helper()
	if err := f.err(t); err != nil {
		t.Fatalf("follow: %v", err)
	}
	return f
}

func (f *following) end(t *testing.T) journal.End {
	t.Helper()
	if !f.outcome.Proven() {
		t.Fatalf("outcome = %+v, want both ends proven", f.outcome)
	}
	return *f.outcome.Stderr
}

func (f *following) wantOutput(t *testing.T, stdout, stderr string) {
	t.Helper()
	for _, c := range []struct{ name, got, want string }{
		{"stdout", f.stdout.String(), stdout}, {"stderr", f.stderr.String(), stderr},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d bytes, want %d; they differ at byte %d", c.name, len(c.got), len(c.want), differAt(c.got, c.want))
		}
	}
}

func differAt(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// recorder is a writer that can be waited for.
type recorder struct {
	mu   sync.Mutex
	text []byte
	more chan struct{} // cap 1
}

func newRecorder() *recorder { return &recorder{more: make(chan struct{}, 1)} }

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.text = append(r.text, p...)
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// await waits until text has been written, or fails the test.
func (r *recorder) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		r.mu.Lock()
		got := string(r.text)
		r.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-r.more:
		case <-late:
			t.Fatalf("output = %q, want %q in it", got, text)
		}
	}
}
