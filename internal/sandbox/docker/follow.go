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

// followTimings bounds the reading of a silent log. A follower can hang although its container is dead: the engine
// sometimes loses the end of a log. Inspecting the container after some silence is cheaper than a wait call beside each
// follower. A short execution needs no inspection, nor does a program that keeps printing.
type followTimings struct {
	firstCheck  time.Duration // silence before the first inspection of the container; doubles with each inspection
	maxInterval time.Duration // upper bound of firstCheck and retryPause after doubling
	drainTime   time.Duration // time in which the follower of a dead container must reach the end of the log
	retryPause  time.Duration // pause before a broken log is followed again; doubles with each retry
}

func defaultTimings() followTimings {
	return followTimings{
		firstCheck: 5 * time.Second, maxInterval: time.Minute, drainTime: time.Second,
		retryPause: 100 * time.Millisecond,
	}
}

// journalReader reads one journal. It may read the log several times, and consumes each byte once.
type journalReader struct {
	stdout, stderr *journal.Splitter
	active         atomic.Bool // bytes arrived since the last check
	writing        atomic.Bool // a writer holds up the reader, so the silence is not the engine's fault
}

// errProven ends a read early: the rest of the log holds nothing new.
var errProven = errors.New("both ends are proven")

// sink returns a sink for reading the log from its beginning. The sink skips bytes that earlier reads consumed: the
// bytes of a stream are equal in each read, however they are cut into chunks.
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

// Follow implements sandbox.Container. It returns on the proof, which arrives long before the engine finishes its own
// bookkeeping. A log that ends without a proof proves nothing: engines cut off the end of a log, and all logs when they
// restart.
func (b *handle) Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.FileSink) (
	sandbox.Outcome, error,
) {
	t := &journalReader{stdout: journal.NewFilesSplitter(nonce, stdout, files), stderr: journal.NewSplitter(nonce,
		stderr)}
	state, err := b.followUntilEnd(ctx, t)
	if err != nil || t.proven() {
		b.proven.Store(t.proven())
		return t.outcome(), err
	}
	// The container has ended, and its log is complete: read all of it once.
	if err := b.readOnce(ctx, t, b.openLog(false), false); err != nil && !errors.Is(err, errLog) {
		return t.outcome(), err
	}
	outcome := t.outcome()
	outcome.ExitCode, outcome.OOMKilled = state.ExitCode, state.OOMKilled
	return outcome, nil
}

// followUntilEnd follows the streams and, when they break, the log, until both ends are proven or the container has
// ended. It returns the container's state at that time.
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
			b.log.WithError(err).WithField("container", b.id).Debug("a follow ended early")
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
	found, err := callEngine(ctx, b.Docker, "inspect container", func(ctx context.Context) (container.InspectResponse,
		error,
	) {
		return b.client.ContainerInspect(ctx, b.id)
	})
	if err != nil {
		return container.State{}, gone(err)
	}
	return *found.State, nil
}

// gone wraps err in sandbox.ErrGone if the container is missing or being destroyed.
func gone(err error) error {
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return fmt.Errorf("%w: %w", sandbox.ErrGone, err)
	}
	return err
}

// source starts a read of the container's output. The read ends with ctx. The source calls off if the output does not
// begin soon.
type source func(ctx context.Context, off context.CancelFunc) (io.ReadCloser, error)

// readOnce reads a source once. It returns nil at the end of the source and when both ends are proven. It stops a read
// that stays silent although the container has ended.
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

// openStreams is the source of the attached streams.
func (b *handle) openStreams(ctx context.Context, _ context.CancelFunc) (io.ReadCloser, error) {
	return b.streams.reader(ctx), nil
}

// openLog returns the source of the log. The header of the answer must arrive within the call timeout; its body may
// take any time.
func (b *handle) openLog(follow bool) source {
	return func(ctx context.Context, off context.CancelFunc) (io.ReadCloser, error) {
		late := time.AfterFunc(b.config.CallTimeout, off)
		defer late.Stop()
		return b.client.ContainerLogs(ctx, b.id, container.LogsOptions{
			ShowStdout: true, ShowStderr: true,
			Follow: follow,
		})
	}
}

// superviseRead waits for the end of a read, and cancels a read that cannot end.
func (b *handle) superviseRead(ctx context.Context, cancel context.CancelFunc, t *journalReader, follow bool,
	done <-chan error,
) error {
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
			// The log is not silent.
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
