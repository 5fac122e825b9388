// Package sandboxtest holds the tests that every sandbox must pass, the programs that they run, and a fake sandbox that
// passes them too.
//
// The package does not know Docker.
package sandboxtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boomerang/internal/sandbox"
)

// Harness describes the sandbox under test.
type Harness struct {
	// Open returns a new handle on the engine, like a restarted process of the node, and closes it at the end of t.
	Open    func(t *testing.T) sandbox.Sandbox
	Image   string // an image with the Player
	Runtime string // of the engine; empty means the engine's default
	Pooled  bool   // containers may have waited, without an execution's name, in slots that the sandbox chose
}

// Contract tests a sandbox: each subtest is one obligation from the comments of package sandbox.
func Contract(t *testing.T, h Harness) {
	t.Helper()
	preparing := h.Open(t)
	for _, c := range []struct {
		name string
		test func(contractTest)
	}{
		{"OutputIsCompleteAndExactOnBothStreams", outputIsCompleteAndExactOnBothStreams},
		{"BytesArriveWhileTheProgramRuns", bytesArriveWhileTheProgramRuns},
		{"AnExitCodeIsReported", anExitCodeIsReported},
		{"ASignalIsReported", aSignalIsReported},
		{"AProgramThatCannotBeStartedIsReported", aProgramThatCannotBeStartedIsReported},
		{"TheDeadlineEndsAProgram", theDeadlineEndsAProgram},
		{"TheDeadlineEndsAProgramThatIgnoresTERM", theDeadlineEndsAProgramThatIgnoresTERM},
		{"LargeOutputKeepsHeadAndTailAndCounts", largeOutputKeepsHeadAndTailAndCounts},
		{"StopEndsAProgram", stopEndsAProgram},
		{"StopEndsAProgramThatIgnoresTERM", stopEndsAProgramThatIgnoresTERM},
		{"StopAfterTheEndIsNoError", stopAfterTheEndIsNoError},
		{"StopBeforeAssignRunsNothing", stopBeforeAssignRunsNothing},
		{"GoneIsClosedWhenAWaitingContainerEnds", goneIsClosedWhenAWaitingContainerEnds},
		{"AResizedContainerRunsItsJob", aResizedContainerRunsItsJob},
		{"ASecondFollowStartsAtTheBeginning", aSecondFollowStartsAtTheBeginning},
		{"FilesAreCollectedAtTheEnd", filesAreCollectedAtTheEnd},
		{"AFreshHandleFollowsARunningContainer", aFreshHandleFollowsARunningContainer},
		{"AFreshHandleFollowsAnEndedContainer", aFreshHandleFollowsAnEndedContainer},
		{"AFoundContainerAcceptsNoJob", aFoundContainerAcceptsNoJob},
		{"ACancelledFollowLeavesTheProgramRunning", aCancelledFollowLeavesTheProgramRunning},
		{"AWriteErrorIsIgnored", aWriteErrorIsIgnored},
		{"TwoContainersDoNotMix", twoContainersDoNotMix},
		{"RemoveEndsFollow", removeEndsFollow},
		{"RemoveIsIdempotent", removeIsIdempotent},
		{"FollowOfARemovedContainerReportsErrGone", followOfARemovedContainerReportsErrGone},
		{"ContainersListsExistingContainers", containersListsExistingContainers},
		{"AnUnknownImageIsReported", anUnknownImageIsReported},
		{"ACancelledPrepareLeavesNothing", aCancelledPrepareLeavesNothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // all methods may be called at the same time
			c.test(contractTest{t, h, preparing})
		})
	}
}

func outputIsCompleteAndExactOnBothStreams(t contractTest) {
	const page = 16 << 10 // size of the pieces in which Docker's log copies lines
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

func bytesArriveWhileTheProgramRuns(t contractTest) {
	b := t.assign(Program{Out("progress: 1 %"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "progress: 1 %")
	b.stop()
	f.wait()
}

func anExitCodeIsReported(t contractTest) {
	if end := t.run(Program{Exit(42)}.Job()).end(); end.ExitCode != 42 || end.Signal != 0 {
		t.Errorf("end = %+v, want exit code 42", end)
	}
}

func aSignalIsReported(t contractTest) {
	r := t.run(Program{Out("last words"), Die(int(syscall.SIGKILL))}.Job())
	if end := r.end(); end.Signal != int(syscall.SIGKILL) || end.ExitCode != 0 || end.Stopped || end.TimedOut {
		t.Errorf("end = %+v, want signal 9", end)
	}
	r.wantOutput("last words", "")
}

func aProgramThatCannotBeStartedIsReported(t contractTest) {
	job := Program{}.Job()
	job.Argv = []string{Missing}
	r := t.run(job)
	if end := r.end(); end.StartError == "" {
		t.Errorf("end = %+v, want a start error", end)
	}
	r.wantOutput("", "")
}

func theDeadlineEndsAProgram(t contractTest) {
	r := t.runBeyond(Program{Out("until then"), Hang()}.Job())
	if end := r.end(); !end.TimedOut || end.Stopped || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want timed out by signal 15", end)
	}
	r.wantOutput("until then", "")
}

func theDeadlineEndsAProgramThatIgnoresTERM(t contractTest) {
	job := Program{IgnoreTerm(), Err("deaf"), Hang()}.Job()
	job.Grace = 100 * time.Millisecond
	r := t.runBeyond(job)
	if end := r.end(); !end.TimedOut || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want timed out by signal 9", end)
	}
	r.wantOutput("", "deaf")
}

func largeOutputKeepsHeadAndTailAndCounts(t contractTest) {
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

func removeEndsFollow(t contractTest) {
	b := t.assign(Program{Out("running"), Hang()}.Job())
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

func removeIsIdempotent(t contractTest) {
	b := t.prepare("")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { b.remove() })
	}
	both.Wait()
	b.remove()
	b.stop()
}

func followOfARemovedContainerReportsErrGone(t contractTest) {
	b := t.assign(Program{}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.remove()
	f := b.follow(t.Context(), io.Discard, io.Discard)
	if <-f.done; !errors.Is(f.err, sandbox.ErrGone) {
		t.Errorf("follow = %v, want %v", f.err, sandbox.ErrGone)
	}
}

func containersListsExistingContainers(t contractTest) {
	b := t.prepare("exec_listed")
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

func anUnknownImageIsReported(t contractTest) {
	_, err := t.sandbox.Prepare(t.Context(), t.spec("", "boomerang.invalid/no/such:image"))
	if !errors.Is(err, sandbox.ErrImageUnavailable) {
		t.Errorf("prepare = %v, want %v", err, sandbox.ErrImageUnavailable)
	}
}

func aCancelledPrepareLeavesNothing(t contractTest) {
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
