// Package sandboxtest holds the tests that every sandbox must pass, the programs that they run, and a fake sandbox
// that passes them too.
//
// It refuses to know Docker.
package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	Open    func(t *testing.T) sandbox.Sandbox
	Image   string // holds the Player
	Runtime string // of the engine; empty = its default
	Pooled  bool   // containers may have waited, under no name, and have slots that the sandbox chose
}

// Contract tests a sandbox: each subtest is one obligation of the comments in package sandbox.
func Contract(t *testing.T, h Harness) {
	t.Helper()
	prepares := h.Open(t)
	for name, obligation := range map[string]func(suite){
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
		"StopBeforeAssignRunsNothing":            stopBeforeAssign,
		"AWaitingContainerTellsItsEnd":           goneWhileWaiting,
		"AResizedContainerRunsItsJob":            resized,
		"FollowBeginsAnew":                       followTwice,
		"FilesAreCollectedInTheEnd":              filesAreCollected,
		"AFreshHandleFollowsARunningContainer":   freshHandleWhileRunning,
		"AFreshHandleFollowsAnEndedContainer":    freshHandleAfterTheEnd,
		"AFoundContainerTakesNoJob":              foundContainerTakesNoJob,
		"ACancelledFollowLeavesTheProgramAlone":  cancelledFollow,
		"AWriteErrorIsIgnored":                   writeError,
		"TwoContainersDoNotMix":                  twoAtOnce,
		"RemoveEndsFollow":                       removeWhileFollowing,
		"RemoveIsIdempotent":                     removeTwice,
		"WhatIsRemovedIsGone":                    removedIsGone,
		"ContainersListsWhatIsThere":             containersLists,
		"AnUnknownImageIsTold":                   unknownImage,
		"ACancelledPrepareLeavesNothing":         cancelledPrepare,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // as all methods may be called at the same time
			obligation(suite{t, h, prepares})
		})
	}
}

func outputIsExact(t suite) {
	const page = 16 << 10 // Docker's log copies lines in pieces of this size
	binary := string([]byte{0, 1, 2, 0x1e, '\r', '\n', 0xff, 0xfe, '\n', '\n'})
	stdout := strings.Join([]string{
		binary, "line\n", strings.Repeat("a", page) + "\n", strings.Repeat("b", page-1) + "\n",
		strings.Repeat("c", 3*page+1) + "\n", "\x1eboomerang", "no newline at the end",
	}, "")
	stderr := "first\n" + binary + strings.Repeat("d", 2*page) + "\n"
	r := t.run(Program{Out(stdout), Err(stderr)}.Job())
	r.wantOutput(stdout, stderr)
	if end := r.end(); end.ExitCode != 0 || end.Signal != 0 || end.TimedOut || end.Stopped || end.StartError != "" {
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

func bytesComeLive(t suite) {
	b := t.assigned(Program{Out("progress: 1 %"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "progress: 1 %")
	b.stop()
	f.wait()
}

func exitCode(t suite) {
	if end := t.run(Program{Exit(42)}.Job()).end(); end.ExitCode != 42 || end.Signal != 0 {
		t.Errorf("end = %+v, want exit code 42", end)
	}
}

func signalled(t suite) {
	r := t.run(Program{Out("last words"), Die(int(syscall.SIGKILL))}.Job())
	if end := r.end(); end.Signal != int(syscall.SIGKILL) || end.ExitCode != 0 || end.Stopped || end.TimedOut {
		t.Errorf("end = %+v, want signal 9", end)
	}
	r.wantOutput("last words", "")
}

func startError(t suite) {
	job := Program{}.Job()
	job.Argv = []string{Missing}
	r := t.run(job)
	if end := r.end(); end.StartError == "" {
		t.Errorf("end = %+v, want a start error", end)
	}
	r.wantOutput("", "")
}

func deadline(t suite) {
	r := t.runBeyond(Program{Out("until then"), Hang()}.Job())
	if end := r.end(); !end.TimedOut || end.Stopped || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want timed out by signal 15", end)
	}
	r.wantOutput("until then", "")
}

func deadlineForTheDeaf(t suite) {
	job := Program{IgnoreTerm(), Err("deaf"), Hang()}.Job()
	job.Grace = 100 * time.Millisecond
	r := t.runBeyond(job)
	if end := r.end(); !end.TimedOut || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want timed out by signal 9", end)
	}
	r.wantOutput("", "deaf")
}

func largeOutput(t suite) {
	job := Program{Times(100_000, Out("0123456789abcde\n")), Out("the last"), Err("short")}.Job()
	job.Head, job.Tail = 64<<10, 1<<10
	all := strings.Repeat("0123456789abcde\n", 100_000) + "the last"
	r := t.run(job)
	r.wantOutput(all[:job.Head]+all[int64(len(all))-job.Tail:], "short")
	got, want := *r.outcome.Stdout, int64(len(all))
	if got.Bytes != want || got.LeftOut != want-job.Head-job.Tail || got.Tail != job.Tail {
		t.Errorf("stdout: %d bytes, %d left out, tail %d, want %d, %d, %d",
			got.Bytes, got.LeftOut, got.Tail, want, want-job.Head-job.Tail, job.Tail)
	}
	if got := *r.outcome.Stderr; got.Bytes != 5 || got.LeftOut != 0 || got.Tail != 0 {
		t.Errorf("stderr: %d bytes, %d left out, tail %d, want 5, 0, 0", got.Bytes, got.LeftOut, got.Tail)
	}
}

func stop(t suite) {
	b := t.assigned(Program{Out("running"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "running")
	b.stop()
	if end := f.wait().end(); !end.Stopped || end.TimedOut || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want stopped by signal 15", end)
	}
	b.stop()
}

func stopForTheDeaf(t suite) {
	job := Program{IgnoreTerm(), Out("deaf"), Hang()}.Job()
	job.Grace = 100 * time.Millisecond
	b := t.assigned(job)
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "deaf")
	b.stop()
	if end := f.wait().end(); !end.Stopped || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want stopped by signal 9", end)
	}
}

func stopAfterTheEnd(t suite) {
	b := t.assigned(Program{Exit(3)}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.stop()
	if end := b.follow(t.Context(), io.Discard, io.Discard).wait().end(); end.ExitCode != 3 || end.Stopped {
		t.Errorf("end = %+v, want exit code 3 as before", end)
	}
}

// stopBeforeAssign asks for no exit code: a container that was told to end before its init could listen has the engine's.
func stopBeforeAssign(t suite) {
	b := t.prepared("")
	b.stop()
	job := Program{Out("must not run")}.Job()
	_ = b.container.Assign(t.Context(), job) // may or may not notice
	b.nonce = job.Nonce
	f := b.follow(t.Context(), nil, nil).wait()
	f.wantOutput("", "")
	if f.outcome.Start != nil || f.outcome.Proven() {
		t.Errorf("outcome = %+v, want no start and no ends", f.outcome)
	}
}

func goneWhileWaiting(t suite) {
	for _, end := range []func(*attempt){(*attempt).stop, (*attempt).remove} {
		b := t.prepared("")
		select {
		case <-b.container.Gone():
			t.Error("a container that waits is told to be gone")
		default:
		}
		end(b)
		select {
		case <-b.container.Gone():
		case <-time.After(time.Minute):
			t.Error("a container that ended before it had a job does not tell")
		}
	}
}

func resized(t suite) {
	b := t.prepared("")
	limits := t.spec("", t.Image).Limits
	limits.Memory, limits.CPUs, limits.PIDs = limits.Memory/2, limits.CPUs/2, limits.PIDs/2
	switch err := b.container.Resize(t.Context(), limits); {
	case err != nil && t.Runtime != "":
		t.Skipf("this runtime cannot: %v", err) // gVisor's knows no update; a new container is made then
	case err != nil:
		t.Fatalf("resize: %v", err)
	}
	job := Program{Out("in a smaller one"), Exit(8)}.Job()
	if err := b.container.Assign(t.Context(), job); err != nil {
		t.Fatalf("assign: %v", err)
	}
	b.nonce = job.Nonce
	r := b.follow(t.Context(), nil, nil).wait()
	r.wantOutput("in a smaller one", "")
	if end := r.end(); end.ExitCode != 8 {
		t.Errorf("end = %+v, want exit code 8", end)
	}
}

func followTwice(t suite) {
	b := t.assigned(Program{Times(1000, Out("line\n")), Err("x"), Exit(7)}.Job())
	for range 2 {
		r := b.follow(t.Context(), nil, nil).wait()
		r.wantOutput(strings.Repeat("line\n", 1000), "x")
		if end := r.end(); end.ExitCode != 7 {
			t.Errorf("end = %+v, want exit code 7", end)
		}
	}
}

func filesAreCollected(t suite) {
	large := strings.Repeat("a\x1e\n", 1<<20)
	job := Program{Out("out"), Leave("b", large), Leave("a", ""), Leave("c", "left"), Leave("d", "1234567"), Leave("not.asked", ""), Exit(3)}.Job()
	job.Collect = []journal.Collect{
		{Name: "first", Globs: []string{"?"}, Files: 10, Bytes: int64(len(large)) + 6, Timeout: time.Minute},
		{Name: "second", Globs: []string{"c"}, Files: 1, Bytes: 4, Timeout: time.Minute},
	}
	b := t.assigned(job)
	for range 2 {
		r := b.follow(t.Context(), nil, nil).wait()
		r.wantOutput("out", "")
		want := []string{"a", "b", "c", "d omitted: size", fmt.Sprintf("first: 3 and 1, %d bytes ", len(large)+4), "c", "second: 1 and 0, 4 bytes "}
		if !slices.Equal(r.files.lines, want) || string(r.files.content["b"]) != large || string(r.files.content["c"]) != "left" {
			t.Errorf("files: got %q, %d bytes of b and %q of c; want %q", r.files.lines, len(r.files.content["b"]), r.files.content["c"], want)
		}
	}
	job = Program{Leave("a", ""), Out("ready"), Hang()}.Job()
	job.Collect = []journal.Collect{{Name: "first", Globs: []string{"a"}, Files: 1, Timeout: time.Minute}}
	b = t.assigned(job)
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, nil)
	t.await(stdout, "ready")
	b.stop()
	if f.wait(); !slices.Equal(f.files.lines, []string{"first: 0 and 0, 0 bytes stopped"}) {
		t.Errorf("stopped: got %q, want no files", f.files.lines)
	}
}

func freshHandleWhileRunning(t suite) {
	var b *attempt
	var f sandbox.Found
	longEnough(func(d time.Duration) bool {
		b = t.assigned(Program{Out("before\n"), Sleep(d), Out("after\n"), Exit(5)}.Job())
		f = t.found(b)
		return f.Running
	})
	if !f.Running {
		t.Error("running = false, want true")
	}
	r := (&attempt{suite: t, container: f.Container, nonce: b.nonce}).follow(t.Context(), nil, nil).wait()
	r.wantOutput("before\nafter\n", "")
	if end := r.end(); end.ExitCode != 5 {
		t.Errorf("end = %+v, want exit code 5", end)
	}
}

func freshHandleAfterTheEnd(t suite) {
	b := t.assigned(Program{Out("whole"), Exit(6)}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.stop() // returns when the engine knows of the end
	f := t.found(b)
	if f.Running {
		t.Error("running = true, want false")
	}
	r := (&attempt{suite: t, container: f.Container, nonce: b.nonce}).follow(t.Context(), nil, nil).wait()
	r.wantOutput("whole", "")
	if end := r.end(); end.ExitCode != 6 {
		t.Errorf("end = %+v, want exit code 6", end)
	}
}

func foundContainerTakesNoJob(t suite) {
	b := t.assigned(Program{Hang()}.Job())
	if err := t.found(b).Container.Assign(t.Context(), Program{}.Job()); err == nil {
		t.Error("assign = nil, want an error: the container has its job")
	}
}

func cancelledFollow(t suite) {
	cause := errors.New("enough seen")
	var b *attempt
	var err error
	longEnough(func(d time.Duration) bool {
		b = t.assigned(Program{Out("before\n"), Sleep(d), Out("after\n")}.Job())
		ctx, cancel := context.WithCancelCause(t.Context())
		stdout := newRecorder()
		f := b.follow(ctx, stdout, io.Discard)
		t.await(stdout, "before\n")
		cancel(cause)
		<-f.done
		err = f.err
		return err != nil // or the program had ended
	})
	if !errors.Is(err, cause) {
		t.Errorf("follow = %v, want the cause of its context", err)
	}
	r := b.follow(t.Context(), nil, nil).wait()
	r.wantOutput("before\nafter\n", "")
	if end := r.end(); end.Stopped || end.Signal != 0 || end.ExitCode != 0 {
		t.Errorf("end = %+v, want one of its own accord", end)
	}
}

func writeError(t suite) {
	b := t.assigned(Program{Times(1000, Out("line\n")), Err("x")}.Job())
	closed, w := io.Pipe()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	r := b.follow(t.Context(), w, w).wait()
	if got := r.outcome.Stdout; got == nil || got.Bytes != 5000 {
		t.Errorf("stdout end = %+v, want 5000 bytes", got)
	}
}

func twoAtOnce(t suite) {
	first := t.assigned(Program{Times(2000, Out("first\n")), Err("1"), Exit(1)}.Job())
	second := t.assigned(Program{Times(2000, Out("second\n")), Err("2"), Exit(2)}.Job())
	one := first.follow(t.Context(), nil, nil)
	two := second.follow(t.Context(), nil, nil)
	one.wait().wantOutput(strings.Repeat("first\n", 2000), "1")
	two.wait().wantOutput(strings.Repeat("second\n", 2000), "2")
}

func removeWhileFollowing(t suite) {
	b := t.assigned(Program{Out("running"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "running")
	b.remove()
	<-f.done
	if f.err == nil && f.outcome.Proven() {
		t.Errorf("follow = %+v, want an end without proof", f.outcome)
	}
	if f.err != nil && !errors.Is(f.err, sandbox.ErrGone) {
		t.Errorf("follow = %v, want %v", f.err, sandbox.ErrGone)
	}
}

func removeTwice(t suite) {
	b := t.prepared("")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { b.remove() })
	}
	both.Wait()
	b.remove()
	b.stop()
}

func removedIsGone(t suite) {
	b := t.assigned(Program{}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.remove()
	f := b.follow(t.Context(), io.Discard, io.Discard)
	if <-f.done; !errors.Is(f.err, sandbox.ErrGone) {
		t.Errorf("follow = %v, want %v", f.err, sandbox.ErrGone)
	}
}

func containersLists(t suite) {
	b := t.prepared("exec_listed")
	f := t.found(b)
	if !f.Running || !t.Pooled && (f.Execution != "exec_listed" || f.Slot != 1) {
		t.Errorf("found = %+v, want execution exec_listed in slot 1, running", f)
	}
	b.remove()
	for _, f := range t.containers() {
		if f.Container.ID() == b.container.ID() {
			t.Error("a removed container is still listed")
		}
	}
}

func unknownImage(t suite) {
	_, err := t.sandbox.Prepare(t.Context(), t.spec("", "boomerang.invalid/no/such:image"))
	if !errors.Is(err, sandbox.ErrImageUnavailable) {
		t.Errorf("prepare = %v, want %v", err, sandbox.ErrImageUnavailable)
	}
}

func cancelledPrepare(t suite) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := t.sandbox.Prepare(ctx, t.spec("exec_cancelled", t.Image))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("prepare = %v, want %v", err, context.Canceled)
	}
	for _, f := range t.containers() {
		if f.Execution == "exec_cancelled" {
			t.Error("a container was left behind")
		}
	}
}
