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

// attachment is the connection to the three streams of an init. It is there before the container is started, so it carries the
// whole journal, at once and without the engine's reading it back from the log. The log is for whoever comes later, and
// for a attachment that broke.
type attachment struct {
	engine    types.HijackedResponse
	assigned  atomic.Bool   // a job is or was sent
	firstByte chan struct{} // closed when the first byte has come, or none will
	gone      chan struct{} // closed when none will, or one came before there was a job
	close     func()        // lets go of the streams; without a job the init leaves
}

// attach takes hold of the init's streams. It comes before the start: the first to attach owns stdin, and its going away
// closes it.
func (d *Docker) attach(ctx context.Context, id string) (*attachment, error) {
	engine, err := callEngine(ctx, d, "attach container", func(ctx context.Context) (types.HijackedResponse, error) {
		return d.client.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	})
	if err != nil {
		return nil, err
	}
	return newAttachment(engine), nil
}

func newAttachment(engine types.HijackedResponse) *attachment {
	l := &attachment{engine: engine, firstByte: make(chan struct{}), gone: make(chan struct{}), close: sync.OnceFunc(engine.Close)}
	go l.awaitFirstByte()
	return l
}

// listen waits for the first byte. An init says nothing before it has a job; what comes then are its last words.
func (l *attachment) awaitFirstByte() {
	defer close(l.firstByte)
	if _, err := l.engine.Reader.Peek(1); err != nil || !l.assigned.Load() {
		close(l.gone)
	}
}

// send sends the job; then nothing more can be sent.
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
		l.close() // half a job is none: the init leaves
	}
	return err
}

// Read gives the multiplexed streams, as a log would.
func (l *attachment) Read(p []byte) (int, error) {
	<-l.firstByte
	return l.engine.Reader.Read(p) //nolint:wrapcheck // io.EOF must stay what it is
}

// connReader is a reading of a line, which is over for good when its ctx ends before it was closed.
type connReader struct {
	*attachment
	unhook func() bool
}

func (l *attachment) reader(ctx context.Context) connReader {
	return connReader{l, context.AfterFunc(ctx, l.close)}
}

// Close ends the reading and leaves the line.
func (h connReader) Close() error {
	h.unhook()
	return nil
}

// drain waits until the container lets go of its streams, as it does when it ends, or d has passed.
func (l *attachment) drain(d time.Duration) {
	if l.engine.Conn.SetReadDeadline(time.Now().Add(d)) == nil {
		_, _ = io.Copy(io.Discard, l.engine.Reader)
	}
}
