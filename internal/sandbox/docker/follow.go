package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// watch says how a silent log is dealt with. A follower can hang although its container is dead (the engine loses the
// end of a log now and then). An inspect after some silence is cheaper than a wait beside each follower: a short
// execution needs none, and one that prints needs none as long as it does.
type watch struct {
	first   time.Duration // silence before the first look at the container; each further one takes twice as long
	longest time.Duration // …up to this
	settle  time.Duration // what a follower of a dead container gets to come to its end
	again   time.Duration // pause before a log that broke off is followed again; doubles as well
}

func defaultWatch() watch {
	return watch{first: 5 * time.Second, longest: time.Minute, settle: time.Second, again: 100 * time.Millisecond}
}

// tape is the one reading of a journal: it may take several passes over the log, and takes each byte once.
type tape struct {
	stdout, stderr *journal.Splitter
	heard          atomic.Bool // something came since somebody last looked
	busy           atomic.Bool // who takes it has not done so yet: that silence is not the engine's
}

// errProven ends a pass: there is nothing more to come.
var errProven = errors.New("both ends are proven")

// pass returns a sink for a reading of the log from its beginning. It skips what earlier passes have consumed: the
// bytes of one stream are the same in each, whatever the chunks.
func (t *tape) pass() func(stream byte, chunk []byte) error {
	at := map[byte]int64{}
	return func(stream byte, chunk []byte) error {
		t.heard.Store(true)
		splitter := t.stdout
		if stream == streamStderr {
			splitter = t.stderr
		}
		from := at[stream]
		at[stream] += int64(len(chunk))
		if known := splitter.Consumed() - from; known < int64(len(chunk)) {
			t.busy.Store(true)
			_, _ = splitter.Write(chunk[max(known, 0):]) // never fails
			t.busy.Store(false)
		}
		if t.proven() {
			return errProven
		}
		return nil
	}
}

func (t *tape) proven() bool { return t.stdout.End() != nil && t.stderr.End() != nil }

func (t *tape) outcome() sandbox.Outcome {
	return sandbox.Outcome{Start: t.stderr.Start(), Stdout: t.stdout.End(), Stderr: t.stderr.End()}
}

// Follow implements sandbox.Berth. It returns on the proof, which is there long before the engine has done its own
// bookkeeping. A follow that ends before proves nothing: engines cut off the tail, and all logs when they restart.
func (b *berth) Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.Files) (sandbox.Outcome, error) {
	t := &tape{stdout: journal.NewFilesSplitter(nonce, stdout, files), stderr: journal.NewSplitter(nonce, stderr)}
	state, err := b.followToItsEnd(ctx, t)
	if err != nil || t.proven() {
		b.proven.Store(t.proven())
		return t.outcome(), err
	}
	// The container has ended, and with it the log: one pass over all of it.
	if err := b.pass(ctx, t, b.journal(false), false); err != nil && !errors.Is(err, errLog) {
		return t.outcome(), err
	}
	outcome := t.outcome()
	outcome.ExitCode, outcome.OOMKilled = state.ExitCode, state.OOMKilled
	return outcome, nil
}

// followToItsEnd follows the line and, when it breaks, the log until both ends are proven or the container has ended, and
// returns its state then.
func (b *berth) followToItsEnd(ctx context.Context, t *tape) (container.State, error) {
	open := b.journal(true)
	if b.line != nil && b.listened.CompareAndSwap(false, true) {
		open = b.listen
	}
	for again := b.watch.again; ; again = min(2*again, b.watch.longest) {
		err := b.pass(ctx, t, open, true)
		open = b.journal(true)
		if t.proven() {
			return container.State{}, nil
		}
		if err != nil {
			b.log.WithError(err).WithField("container", b.id).Debug("follow broke off")
		}
		if errors.Is(err, sandbox.ErrGone) {
			return container.State{}, err
		}
		state, err := b.state(ctx)
		if err != nil || !alive(state.Status) {
			return state, err
		}
		if err := pause(ctx, again); err != nil {
			return state, fmt.Errorf("follow: %w", err)
		}
	}
}

func (b *berth) state(ctx context.Context) (container.State, error) {
	found, err := ask(ctx, b.Docker, "inspect container", func(ctx context.Context) (container.InspectResponse, error) {
		return b.client.ContainerInspect(ctx, b.id)
	})
	if err != nil {
		return container.State{}, gone(err)
	}
	return *found.State, nil
}

// gone tells sandbox.ErrGone from other errors: there is no such container, or it is being destroyed.
func gone(err error) error {
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return fmt.Errorf("%w: %w", sandbox.ErrGone, err)
	}
	return err
}

// source begins a pass over what the container wrote. It ends with ctx, and calls off what it cannot have soon.
type source func(ctx context.Context, off context.CancelFunc) (io.ReadCloser, error)

// pass reads a source once. It returns nil at its end and when both ends are proven, and in any case within bounds: a
// pass that stays silent although its container has ended is broken off.
func (b *berth) pass(ctx context.Context, t *tape, open source, follow bool) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(bounded, cancel)
	if err != nil {
		return gone(b.told(ctx, "open log", err))
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(demux(stream, t.pass()), stream.Close()) }()
	if err := b.attend(bounded, cancel, t, follow, done); !errors.Is(err, errProven) {
		return b.told(ctx, "read log", err)
	}
	return nil
}

// listen is the source of the line.
func (b *berth) listen(ctx context.Context, _ context.CancelFunc) (io.ReadCloser, error) {
	return b.line.hear(ctx), nil
}

// journal is the source of the log. The answer's head must come within the call timeout, its body takes as long as it takes.
func (b *berth) journal(follow bool) source {
	return func(ctx context.Context, off context.CancelFunc) (io.ReadCloser, error) {
		late := time.AfterFunc(b.config.CallTimeout, off)
		defer late.Stop()
		return b.client.ContainerLogs(ctx, b.id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow})
	}
}

// attend waits for the end of a pass and breaks it off by cancel when it will not come to one.
func (b *berth) attend(ctx context.Context, cancel context.CancelFunc, t *tape, follow bool, done <-chan error) error {
	silence := b.config.CallTimeout
	if follow {
		silence = b.watch.first
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for dead := false; ; timer.Reset(silence) {
		select {
		case err := <-done:
			return err
		case <-timer.C:
		}
		switch {
		case t.heard.Swap(false), t.busy.Load():
			// It is not silent.
		case dead:
			cancel()
		default:
			state, err := b.state(ctx)
			dead = err != nil || !alive(state.Status)
			silence = min(2*silence, b.watch.longest)
		}
		if dead {
			silence = b.watch.settle
		}
	}
}
