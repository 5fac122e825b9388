package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

func aSecondFollowStartsAtTheBeginning(t contractTest) {
	b := t.assign(Program{Times(1000, Out("line\n")), Err("x"), Exit(7)}.Job())
	for range 2 {
		r := b.follow(t.Context(), nil, nil).wait()
		r.wantOutput(strings.Repeat("line\n", 1000), "x")
		if end := r.end(); end.ExitCode != 7 {
			t.Errorf("end = %+v, want exit code 7", end)
		}
	}
}

func filesAreCollectedAtTheEnd(t contractTest) {
	large := strings.Repeat("a\x1e\n", 1<<20)
	job := Program{
		Out("out"), Leave("b", large), Leave("a", ""), Leave("c", "left"), Leave("d", "1234567"),
		Leave("not.asked", ""), Exit(3),
	}.Job()
	job.Collect = []journal.Collect{
		{Name: "first", Globs: []string{"?"}, Files: 10, Bytes: int64(len(large)) + 6, Timeout: time.Minute},
		{Name: "second", Globs: []string{"c"}, Files: 1, Bytes: 4, Timeout: time.Minute},
	}
	b := t.assign(job)
	for range 2 {
		r := b.follow(t.Context(), nil, nil).wait()
		r.wantOutput("out", "")
		want := []string{
			"a", "b", "c", "d omitted: size", fmt.Sprintf("first: 3 and 1, %d bytes ", len(large)+4), "c",
			"second: 1 and 0, 4 bytes ",
		}
		if !slices.Equal(r.files.lines, want) || string(r.files.content["b"]) != large ||
			string(r.files.content["c"]) != "left" {
			t.Errorf("files: got %q, %d bytes of b and %q of c; want %q", r.files.lines, len(r.files.content["b"]),
				r.files.content["c"], want)
		}
	}
	job = Program{Leave("a", ""), Out("ready"), Hang()}.Job()
	job.Collect = []journal.Collect{{Name: "first", Globs: []string{"a"}, Files: 1, Timeout: time.Minute}}
	b = t.assign(job)
	stdout := newRecorder()
	f := b.follow(t.Context(), stdout, nil)
	t.await(stdout, "ready")
	b.stop()
	if f.wait(); !slices.Equal(f.files.lines, []string{"first: 0 and 0, 0 bytes stopped"}) {
		t.Errorf("stopped: got %q, want no files", f.files.lines)
	}
}

func aFreshHandleFollowsARunningContainer(t contractTest) {
	var b *testContainer
	var f sandbox.Found
	retryWithMoreTime(func(d time.Duration) bool {
		b = t.assign(Program{Out("before\n"), Sleep(d), Out("after\n"), Exit(5)}.Job())
		f = t.found(b)
		return f.Running
	})
	if !f.Running {
		t.Error("running = false, want true")
	}
	r := (&testContainer{contractTest: t, container: f.Container, nonce: b.nonce}).follow(t.Context(), nil, nil).wait()
	r.wantOutput("before\nafter\n", "")
	if end := r.end(); end.ExitCode != 5 {
		t.Errorf("end = %+v, want exit code 5", end)
	}
}

func aFreshHandleFollowsAnEndedContainer(t contractTest) {
	b := t.assign(Program{Out("whole"), Exit(6)}.Job())
	b.follow(t.Context(), io.Discard, io.Discard).wait()
	b.stop() // returns when the engine has noticed the end
	f := t.found(b)
	if f.Running {
		t.Error("running = true, want false")
	}
	r := (&testContainer{contractTest: t, container: f.Container, nonce: b.nonce}).follow(t.Context(), nil, nil).wait()
	r.wantOutput("whole", "")
	if end := r.end(); end.ExitCode != 6 {
		t.Errorf("end = %+v, want exit code 6", end)
	}
}

func aFoundContainerAcceptsNoJob(t contractTest) {
	b := t.assign(Program{Hang()}.Job())
	if err := t.found(b).Container.Assign(t.Context(), Program{}.Job()); err == nil {
		t.Error("assign = nil, want an error: the container has its job")
	}
}

func aCancelledFollowLeavesTheProgramRunning(t contractTest) {
	cause := errors.New("enough seen")
	var b *testContainer
	var err error
	retryWithMoreTime(func(d time.Duration) bool {
		b = t.assign(Program{Out("before\n"), Sleep(d), Out("after\n")}.Job())
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

func aWriteErrorIsIgnored(t contractTest) {
	b := t.assign(Program{Times(1000, Out("line\n")), Err("x")}.Job())
	closed, w := io.Pipe()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	r := b.follow(t.Context(), w, w).wait()
	if got := r.outcome.Stdout; got == nil || got.Bytes != 5000 {
		t.Errorf("stdout end = %+v, want 5000 bytes", got)
	}
}

func twoContainersDoNotMix(t contractTest) {
	first := t.assign(Program{Times(2000, Out("first\n")), Err("1"), Exit(1)}.Job())
	second := t.assign(Program{Times(2000, Out("second\n")), Err("2"), Exit(2)}.Job())
	one := first.follow(t.Context(), nil, nil)
	two := second.follow(t.Context(), nil, nil)
	one.wait().wantOutput(strings.Repeat("first\n", 2000), "1")
	two.wait().wantOutput(strings.Repeat("second\n", 2000), "2")
}
