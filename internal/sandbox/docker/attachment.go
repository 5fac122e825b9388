package docker

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"boomerang/internal/journal"
)

// attachment is the connection to the three streams of an init. It opens before the container starts, so it carries the
// whole journal without a detour through the engine's log. The log serves later followers and broken attachments.
type attachment struct {
	engine    types.HijackedResponse
	assigned  atomic.Bool   // a job is being sent, or was sent
	firstByte chan struct{} // closed when the first byte has arrived, or none will arrive
	gone      chan struct{} // closed when no byte will arrive, or when one arrived before there was a job
	close     func()        // closes the streams; an init without a job then exits
}

// attach opens the init's streams. It must precede the start: the first client that attaches owns stdin, and stdin
// closes with it.
func (d *Docker) attach(ctx context.Context, id string) (*attachment, error) {
	engine, err := callEngine(ctx, d, "attach container", func(ctx context.Context) (types.HijackedResponse, error) {
		return d.client.ContainerAttach(ctx, id, container.AttachOptions{
			Stream: true, Stdin: true, Stdout: true,
			Stderr: true,
		})
	})
	if err != nil {
		return nil, err
	}
	return newAttachment(engine), nil
}

func newAttachment(engine types.HijackedResponse) *attachment {
	l := &attachment{
		engine: engine, firstByte: make(chan struct{}), gone: make(chan struct{}),
		close: sync.OnceFunc(engine.Close),
	}
	go l.awaitFirstByte()
	return l
}

// awaitFirstByte waits for the first byte. An init without a job writes nothing but its last words before it exits.
func (l *attachment) awaitFirstByte() {
	defer close(l.firstByte)
	if _, err := l.engine.Reader.Peek(1); err != nil || !l.assigned.Load() {
		close(l.gone)
	}
}

// send sends the job and closes the sending side.
func (l *attachment) send(ctx context.Context, job journal.Job, patience time.Duration) error {
	l.assigned.Store(true)
	unhook := context.AfterFunc(ctx, func() { _ = l.engine.Conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer unhook()
	err := ctx.Err()
	if err == nil {
		err = journal.WriteJob(deadlineWriter{ctx, l.engine.Conn, patience}, job)
	}
	if err == nil {
		err = l.engine.CloseWrite()
	}
	if err != nil {
		l.close() // the init exits without a whole job
	}
	return err
}

// Read returns the multiplexed streams in the format of a log.
func (l *attachment) Read(p []byte) (int, error) {
	<-l.firstByte
	return l.engine.Reader.Read(p) //nolint:wrapcheck // io.EOF must stay unwrapped
}

// connReader is one read of the streams. If its ctx ends before Close, the streams close for good.
type connReader struct {
	*attachment
	unhook func() bool
}

func (l *attachment) reader(ctx context.Context) connReader {
	return connReader{l, context.AfterFunc(ctx, l.close)}
}

// Close ends the read and leaves the streams open.
func (h connReader) Close() error {
	h.unhook()
	return nil
}

// drain waits for the container to close its streams, which it does when it ends, for at most d.
func (l *attachment) drain(d time.Duration) {
	if l.engine.Conn.SetReadDeadline(time.Now().Add(d)) == nil {
		_, _ = io.Copy(io.Discard, l.engine.Reader)
	}
}
