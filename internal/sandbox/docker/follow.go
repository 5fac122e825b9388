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

// followTimings says how a silent log is dealt with. A follower can hang although its container is dead (the engine loses the
// end of a log now and then). An inspect after some silence is cheaper than a wait beside each follower: a short
// execution needs none, and one that prints needs none as long as it does.
type followTimings struct {
	firstCheck  time.Duration // silence before the first look at the container; each further one takes twice as long
	maxInterval time.Duration // …up to this
	drainTime   time.Duration // what a follower of a dead container gets to come to its end
	retryPause  time.Duration // pause before a log that broke off is followed again; doubles as well
}

func defaultTimings() followTimings {
	return followTimings{firstCheck: 5 * time.Second, maxInterval: time.Minute, drainTime: time.Second, retryPause: 100 * time.Millisecond}
}

// journalReader is the one reading of a journal: it may take several passes over the log, and takes each byte once.
type journalReader struct {
	stdout, stderr *journal.Splitter
	active         atomic.Bool // something came since somebody last looked
	writing        atomic.Bool // who takes it has not done so yet: that silence is not the engine's
}

// errProven ends a pass: there is nothing more to come.
var errProven = errors.New("both ends are proven")

// pass returns a sink for a reading of the log from its beginning. It skips what earlier passes have consumed: the
// bytes of one stream are the same in each, whatever the chunks.
func (t *journalReader) sink() func(stream byte, chunk []byte) error {
	at := map[byte]int64{}
	return func(stream byte, chunk []byte) error {
		t.active.Store(true)
		splitter := t.stdout
		if stream == streamStderr {
			splitter = t.stderr
		}
		from := at[stream]
		at[stream] += int64(len(chunk))
		if known := splitter.Consumed() - from; known < int64(len(chunk)) {
			t.writing.Store(true)
			_, _ = splitter.Write(chunk[max(known, 0):]) // never fails
			t.writing.Store(false)
		}
		if t.proven() {
			return errProven
		}
		return nil
	}
}

func (t *journalReader) proven() bool { return t.stdout.End() != nil && t.stderr.End() != nil }

func (t *journalReader) outcome() sandbox.Outcome {
	return sandbox.Outcome{Start: t.stderr.Start(), Stdout: t.stdout.End(), Stderr: t.stderr.End()}
}

// Follow implements sandbox.Container. It returns on the proof, which is there long before the engine has done its own
// bookkeeping. A follow that ends before proves nothing: engines cut off the tail, and all logs when they restart.
func (b *handle) Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.FileSink) (sandbox.Outcome, error) {
	t := &journalReader{stdout: journal.NewFilesSplitter(nonce, stdout, files), stderr: journal.NewSplitter(nonce, stderr)}
	state, err := b.followUntilEnd(ctx, t)
	if err != nil || t.proven() {
		b.proven.Store(t.proven())
		return t.outcome(), err
	}
	// The container has ended, and with it the log: one pass over all of it.
	if err := b.readOnce(ctx, t, b.openLog(false), false); err != nil && !errors.Is(err, errLog) {
		return t.outcome(), err
	}
	outcome := t.outcome()
	outcome.ExitCode, outcome.OOMKilled = state.ExitCode, state.OOMKilled
	return outcome, nil
}

// followToItsEnd follows the line and, when it breaks, the log until both ends are proven or the container has ended, and
// returns its state then.
func (b *handle) followUntilEnd(ctx context.Context, t *journalReader) (container.State, error) {
	open := b.openLog(true)
	if b.streams != nil && b.streamsRead.CompareAndSwap(false, true) {
		open = b.openStreams
	}
	for again := b.timings.retryPause; ; again = min(2*again, b.timings.maxInterval) {
		err := b.readOnce(ctx, t, open, true)
		open = b.openLog(true)
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

func (b *handle) state(ctx context.Context) (container.State, error) {
	found, err := callEngine(ctx, b.Docker, "inspect container", func(ctx context.Context) (container.InspectResponse, error) {
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
func (b *handle) readOnce(ctx context.Context, t *journalReader, open source, follow bool) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := open(bounded, cancel)
	if err != nil {
		return gone(b.wrap(ctx, "open log", err))
	}
	done := make(chan error, 1)
	go func() { done <- errors.Join(demux(stream, t.sink()), stream.Close()) }()
	if err := b.superviseRead(bounded, cancel, t, follow, done); !errors.Is(err, errProven) {
		return b.wrap(ctx, "read log", err)
	}
	return nil
}

// listen is the source of the line.
func (b *handle) openStreams(ctx context.Context, _ context.CancelFunc) (io.ReadCloser, error) {
	return b.streams.reader(ctx), nil
}

// journal is the source of the log. The answer's head must come within the call timeout, its body takes as long as it takes.
func (b *handle) openLog(follow bool) source {
	return func(ctx context.Context, off context.CancelFunc) (io.ReadCloser, error) {
		late := time.AfterFunc(b.config.CallTimeout, off)
		defer late.Stop()
		return b.client.ContainerLogs(ctx, b.id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow})
	}
}

// attend waits for the end of a pass and breaks it off by cancel when it will not come to one.
func (b *handle) superviseRead(ctx context.Context, cancel context.CancelFunc, t *journalReader, follow bool, done <-chan error) error {
	silence := b.config.CallTimeout
	if follow {
		silence = b.timings.firstCheck
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
		case t.active.Swap(false), t.writing.Load():
			// It is not silent.
		case dead:
			cancel()
		default:
			state, err := b.state(ctx)
			dead = err != nil || !alive(state.Status)
			silence = min(2*silence, b.timings.maxInterval)
		}
		if dead {
			silence = b.timings.drainTime
		}
	}
}
