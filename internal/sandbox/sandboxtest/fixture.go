package sandboxtest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// contractTest is the test of one obligation, with a handle of the process that prepares the containers.
type contractTest struct {
	*testing.T
	Harness
	sandbox sandbox.Sandbox
}

// spec returns a spec with limits that no test reaches by accident.
func (t contractTest) spec(execution, image string) sandbox.Spec {
	return sandbox.Spec{
		Execution: execution, Language: "test", Image: image, Slot: 1, Network: "none", Runtime: t.Runtime,
		Limits: sandbox.Limits{
			Memory: 256 << 20, CPUs: 1, PIDs: 64, Files: 256,
			Workspace: 64 << 20, Tmp: 16 << 20, Output: 1 << 20, Tail: 64 << 10, Artifacts: 4 << 20,
		},
	}
}

func (t contractTest) prepare(execution string) *testContainer {
	t.Helper()
	container, err := t.sandbox.Prepare(t.Context(), t.spec(execution, t.Image))
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	t.Cleanup(func() {
		if err := container.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return &testContainer{contractTest: t, container: container}
}

func (t contractTest) assign(job journal.Job) *testContainer {
	t.Helper()
	b := t.prepare("")
	if err := b.container.Assign(t.Context(), job); err != nil {
		t.Fatalf("assign: %v", err)
	}
	b.nonce = job.Nonce
	return b
}

// run runs a job in a container of its own.
func (t contractTest) run(job journal.Job) *followResult {
	t.Helper()
	return t.assign(job).follow(t.Context(), nil, nil).wait()
}

// runBeyond runs a job beyond its deadline, which comes after the program's first output.
func (t contractTest) runBeyond(job journal.Job) (r *followResult) {
	t.Helper()
	retryWithMoreTime(func(d time.Duration) bool {
		job.Timeout = d
		r = t.run(job)
		return r.stdout.Len()+r.stderr.Len() > 0
	})
	return r
}

// retryWithMoreTime calls try with doubled times until a slow machine succeeds.
func retryWithMoreTime(try func(time.Duration) bool) {
	for d := 500 * time.Millisecond; !try(d) && d < 20*time.Second; {
		d *= 2
	}
}

// containers returns the containers that a new process finds.
func (t contractTest) containers() []sandbox.Found {
	t.Helper()
	found, err := t.Open(t.T).Containers(t.Context())
	if err != nil {
		t.Fatalf("containers: %v", err)
	}
	return found
}

// found returns b as a new process finds it.
func (t contractTest) found(b *testContainer) sandbox.Found {
	t.Helper()
	for _, f := range t.containers() {
		if f.Container.ID() == b.container.ID() {
			return f
		}
	}
	t.Fatalf("container %s is not listed", b.container.ID())
	return sandbox.Found{}
}

// testContainer is one container of a test; the test removes it at its end.
type testContainer struct {
	contractTest
	container sandbox.Container
	nonce     string
}

func (b *testContainer) stop() {
	b.Helper()
	if err := b.container.Stop(b.Context()); err != nil {
		b.Errorf("stop: %v", err)
	}
}

func (b *testContainer) remove() {
	b.Helper()
	if err := b.container.Remove(b.Context()); err != nil {
		b.Errorf("remove: %v", err)
	}
}

// followResult is a running Follow. Its results are valid after done is closed.
type followResult struct {
	contractTest
	done           chan struct{}
	outcome        sandbox.Outcome
	err            error
	stdout, stderr bytes.Buffer
	files          fileRecorder
}

// follow starts a Follow. A nil writer keeps the output for wantOutput. The test waits for the end of the Follow.
func (b *testContainer) follow(ctx context.Context, stdout, stderr io.Writer) *followResult {
	f := &followResult{contractTest: b.contractTest, done: make(chan struct{})}
	if stdout == nil {
		stdout = &f.stdout
	}
	if stderr == nil {
		stderr = &f.stderr
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	go func() {
		defer close(f.done)
		f.outcome, f.err = b.container.Follow(ctx, b.nonce, stdout, stderr, &f.files)
	}()
	b.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func (f *followResult) wait() *followResult {
	f.Helper()
	if <-f.done; f.err != nil {
		f.Fatalf("follow: %v", f.err)
	}
	return f
}

func (f *followResult) end() journal.End {
	f.Helper()
	if !f.outcome.Proven() {
		f.Fatalf("outcome = %+v, want both ends proven", f.outcome)
	}
	return *f.outcome.Stderr
}

func (f *followResult) wantOutput(stdout, stderr string) {
	f.Helper()
	for _, s := range []struct{ name, got, want string }{
		{"stdout", f.stdout.String(), stdout}, {"stderr", f.stderr.String(), stderr},
	} {
		if s.got != s.want {
			f.Errorf("%s: got %d bytes, want %d; they differ at byte %d", s.name, len(s.got), len(s.want),
				differAt(s.got, s.want))
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

// recorder is a writer whose output a test can wait for.
type recorder struct {
	mu   sync.Mutex // guards text
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

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

// await waits until text was written.
func (t contractTest) await(r *recorder, text string) {
	t.Helper()
	late := time.After(time.Minute)
	for !strings.Contains(r.String(), text) {
		select {
		case <-r.more:
		case <-late:
			t.Fatalf("output = %q, want %q in it", r, text)
		}
	}
}
