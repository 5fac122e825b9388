package sandboxtest

import (
	"io"
	"syscall"
	"time"
)

func stopEndsAProgram(t contractTest) {
	b := t.assign(Program{Out("running"), Hang()}.Job())
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "running")
	b.stop()
	if end := f.wait().end(); !end.Stopped || end.TimedOut || end.Signal != int(syscall.SIGTERM) {
		t.Errorf("end = %+v, want stopped by signal 15", end)
	}
	b.stop()
}

func stopEndsAProgramThatIgnoresTERM(t contractTest) {
	job := Program{IgnoreTerm(), Out("deaf"), Hang()}.Job()
	job.Grace = 100 * time.Millisecond
	b := t.assign(job)
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, io.Discard)
	t.await(stdout, "deaf")
	b.stop()
	if end := f.wait().end(); !end.Stopped || end.Signal != int(syscall.SIGKILL) {
		t.Errorf("end = %+v, want stopped by signal 9", end)
	}
}

func stopAfterTheEndIsNoError(t contractTest) {
	b := t.assign(Program{Exit(3)}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.stop()
	if end := b.follow(t.Context(), io.Discard, io.Discard).wait().end(); end.ExitCode != 3 || end.Stopped {
		t.Errorf("end = %+v, want exit code 3 as before", end)
	}
}

// stopBeforeAssignRunsNothing checks no exit code: a container that ends before its init listens has the engine's own
// code.
func stopBeforeAssignRunsNothing(t contractTest) {
	b := t.prepare("")
	b.stop()
	job := Program{Out("must not run")}.Job()
	_ = b.container.Assign(t.Context(), job) // Assign may or may not notice
	b.nonce = job.Nonce
	f := b.follow(t.Context(), nil, nil).wait()
	f.wantOutput("", "")
	if f.outcome.Start != nil || f.outcome.Proven() {
		t.Errorf("outcome = %+v, want no start and no ends", f.outcome)
	}
}

func goneIsClosedWhenAWaitingContainerEnds(t contractTest) {
	for _, end := range []func(*testContainer){(*testContainer).stop, (*testContainer).remove} {
		b := t.prepare("")
		select {
		case <-b.container.Gone():
			t.Error("a container that waits is fileRecorder to be gone")
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

func aResizedContainerRunsItsJob(t contractTest) {
	b := t.prepare("")
	limits := t.spec("", t.Image).Limits
	limits.Memory, limits.CPUs, limits.PIDs = limits.Memory/2, limits.CPUs/2, limits.PIDs/2
	switch err := b.container.Resize(t.Context(), limits); {
	case err != nil && t.Runtime != "":
		t.Skipf("this runtime cannot: %v", err) // gVisor's runtime has no update; the pool then makes a new container
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
