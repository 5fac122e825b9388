package sandboxtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// Script describes the faults of a Fake.
type Script struct {
	Images   []string // the existing images; nil means all images
	Epoch    int64    // epoch of the containers that Prepare makes
	Prepare  []error  // results of the first calls of Prepare, one each; nil lets the call succeed
	Resize   []error  // results of the first calls of Resize
	Assign   []error  // results of the first calls of Assign; the job arrives in any case
	Follow   []error  // results of the first calls of Follow
	Unproven bool     // no journal has end frames, as if PID 1 was killed
	OOM      bool     // with Unproven: the kernel killed PID 1 because memory ran out
}

// Fake is a sandbox that plays the Program in each job's code. It starts no goroutine, and works in the bubbles of
// testing/synctest.
type Fake struct {
	mu         sync.Mutex // guards all fields below and every container
	script     Script
	made       int
	containers map[string]*fakeContainer
}

var _ sandbox.Sandbox = (*Fake)(nil)

// New returns a fake with the faults of script.
func New(script Script) *Fake {
	return &Fake{script: script, containers: make(map[string]*fakeContainer)}
}

// Prepare implements sandbox.Sandbox.
func (f *Fake) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := next(&f.script.Prepare); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare: %w", context.Cause(ctx))
	}
	if f.script.Images != nil && !slices.Contains(f.script.Images, spec.Image) {
		return nil, fmt.Errorf("%w: %s", sandbox.ErrImageUnavailable, spec.Image)
	}
	f.made++
	b := &fakeContainer{
		fake: f, id: "container-" + strconv.Itoa(f.made), spec: spec, epoch: f.script.Epoch,
		stop: forever, changed: make(chan struct{}), gone: make(chan struct{}),
	}
	f.containers[b.id] = b
	return b, nil
}

// Containers implements sandbox.Sandbox.
func (f *Fake) Containers(context.Context) ([]sandbox.Found, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := make([]sandbox.Found, 0, len(f.containers))
	for _, b := range f.containers {
		found = append(found, sandbox.Found{
			Container: b, Execution: b.spec.Execution, Epoch: b.epoch, Slot: b.spec.Slot, Running: b.remaining() > 0,
		})
	}
	return found, nil
}

// next removes and returns the first error of a script.
func next(errs *[]error) error {
	if len(*errs) == 0 {
		return nil
	}
	err := (*errs)[0]
	*errs = (*errs)[1:]
	return err
}

type fakeContainer struct {
	fake  *Fake
	id    string
	spec  sandbox.Spec
	epoch int64

	job       *journal.Job // nil before Assign
	timeline  timeline
	startedAt time.Time
	stop      time.Duration // time of the first Stop, counted from the start of the program
	stopped   bool
	removed   bool
	over      bool          // gone is closed
	changed   chan struct{} // closed and replaced when a field above changes
	gone      chan struct{} // closed when the container ended before it had a job
}

// ID implements sandbox.Container.
func (b *fakeContainer) ID() string { return b.id }

// Gone implements sandbox.Container.
func (b *fakeContainer) Gone() <-chan struct{} { return b.gone }

// Resize implements sandbox.Container.
func (b *fakeContainer) Resize(_ context.Context, l sandbox.Limits) error {
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	b.spec.Limits = l
	return next(&b.fake.script.Resize)
}

// Assign implements sandbox.Container.
func (b *fakeContainer) Assign(_ context.Context, job journal.Job) error {
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	err := next(&b.fake.script.Assign)
	if b.removed || b.stopped || b.job != nil {
		return fmt.Errorf("assign job: %w", io.ErrClosedPipe)
	}
	b.job, b.timeline, b.startedAt = &job, newTimeline(job), time.Now()
	b.change()
	return err
}

// Stop implements sandbox.Container.
func (b *fakeContainer) Stop(ctx context.Context) error {
	b.fake.mu.Lock()
	if !b.stopped {
		b.stopped, b.stop = true, time.Since(b.startedAt)
		b.change()
	}
	b.fake.mu.Unlock()
	for {
		b.fake.mu.Lock()
		remaining, changed := b.remaining(), b.changed
		b.fake.mu.Unlock()
		if remaining <= 0 {
			return nil
		}
		if err := wait(ctx, remaining, changed); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
	}
}

// Remove implements sandbox.Container.
func (b *fakeContainer) Remove(context.Context) error {
	b.fake.mu.Lock()
	defer b.fake.mu.Unlock()
	if !b.removed {
		b.removed = true
		delete(b.fake.containers, b.id)
		b.change()
	}
	return nil
}

// Follow implements sandbox.Container.
func (b *fakeContainer) Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.FileSink) (
	sandbox.Outcome, error,
) {
	b.fake.mu.Lock()
	err := next(&b.fake.script.Follow)
	b.fake.mu.Unlock()
	if err != nil {
		return sandbox.Outcome{}, err
	}
	r := followProgress{outlets: map[execution.Stream]*headAndTail{
		execution.Stdout: {to: stdout},
		execution.Stderr: {to: stderr},
	}, files: files}
	for {
		b.fake.mu.Lock()
		outcome, pause, err := b.advance(&r, nonce)
		changed := b.changed
		b.fake.mu.Unlock()
		if err != nil || pause <= 0 {
			return outcome, err
		}
		if err := wait(ctx, pause, changed); err != nil {
			return sandbox.Outcome{}, fmt.Errorf("follow: %w", err)
		}
	}
}

// followProgress is the position of one Follow.
type followProgress struct {
	event   int
	outlets map[execution.Stream]*headAndTail
	files   journal.FileSink // may be nil
}

// advance writes the output up to now and returns the time until the next output; 0 and the outcome at the end.
func (b *fakeContainer) advance(r *followProgress, nonce string) (outcome sandbox.Outcome, pause time.Duration,
	err error,
) {
	switch {
	case b.removed:
		return outcome, 0, fmt.Errorf("follow: %w", sandbox.ErrGone)
	case b.job == nil:
		return sandbox.Outcome{ExitCode: journal.ExitNoJob}, b.remaining(), nil
	}
	elapsed := time.Since(b.startedAt)
	until, end := b.timeline.ending(*b.job, b.stop)
	for ; r.event < len(b.timeline.events); r.event++ {
		e := b.timeline.events[r.event]
		if e.at > until {
			break
		}
		if e.at > elapsed {
			return outcome, e.at - elapsed, nil
		}
		o := r.outlets[e.stream]
		o.head, o.tail = b.job.Head, b.job.Tail
		o.write(e.text)
	}
	if elapsed < until {
		return outcome, until - elapsed, nil
	}
	if b.job.Nonce == nonce {
		outcome.Start = &journal.Start{At: b.startedAt}
	}
	if b.fake.script.Unproven || b.job.Nonce != nonce {
		outcome.ExitCode, outcome.OOMKilled = 128+int(syscall.SIGKILL), b.fake.script.OOM
		return outcome, 0, nil
	}
	if r.files != nil && end.StartError == "" {
		b.timeline.collect(*b.job, end.Stopped, r.files)
	}
	end.StartedAt, end.EndedAt, end.Elapsed = b.startedAt, b.startedAt.Add(until), until
	outcome.Stdout = r.outlets[execution.Stdout].finish(end)
	outcome.Stderr = r.outlets[execution.Stderr].finish(end)
	return outcome, 0, nil
}

// remaining returns the remaining life of the container if nothing changes; it is not positive after the end.
func (b *fakeContainer) remaining() time.Duration {
	switch {
	case b.removed:
		return 0
	case b.job == nil && b.stopped:
		return 0
	case b.job == nil:
		return forever
	}
	until, _ := b.timeline.ending(*b.job, b.stop)
	return until - time.Since(b.startedAt)
}

func (b *fakeContainer) change() {
	if waited := b.job == nil && !b.over; waited && (b.stopped || b.removed) {
		b.over = true
		close(b.gone)
	}
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait waits for d, for a change, or for the end of ctx, whose cause it returns.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-timer.C:
	}
	return nil
}
