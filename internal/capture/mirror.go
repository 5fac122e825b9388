package capture

import (
	"context"
	"sync"
	"time"

	"boomerang/internal/execution"
)

// mirrorInterval is the time between two reads of the source, and so the delay of a mirror.
const mirrorInterval = 100 * time.Millisecond

// Source returns the bytes of a stream from an offset on. It returns no error if there are none yet.
type Source func(ctx context.Context, stream execution.Stream, from int64) ([]byte, error)

// Mirror copies the two streams of a program that runs in another process. Any number of readers share one copy.
type Mirror struct {
	buffers map[execution.Stream]*Buffer
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewMirror reads from source until Close. It keeps at most limit bytes of each stream. After an error of the source it
// tries again.
func NewMirror(ctx context.Context, source Source, limit int64) *Mirror {
	m := &Mirror{buffers: map[execution.Stream]*Buffer{
		execution.Stdout: New(limit, limit),
		execution.Stderr: New(limit, limit),
	}}
	ctx, m.stop = context.WithCancel(ctx)
	m.done.Go(func() {
		tick := time.NewTicker(mirrorInterval)
		defer tick.Stop()
		for {
			m.copy(ctx, source)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return m
}

func (m *Mirror) copy(ctx context.Context, source Source) {
	for stream, b := range m.buffers {
		kept, _ := b.Bytes()
		if fresh, err := source(ctx, stream, int64(len(kept))); err == nil && len(fresh) > 0 {
			_, _ = b.Write(fresh)
		}
	}
}

// Bytes returns the bytes of one stream as Buffer.Bytes does.
func (m *Mirror) Bytes(stream execution.Stream) (kept []byte, grown <-chan struct{}) {
	return m.buffers[stream].Bytes()
}

// Close stops reading and waits for the end of the last read. Slices that readers hold stay valid.
func (m *Mirror) Close() {
	m.stop()
	m.done.Wait()
}
