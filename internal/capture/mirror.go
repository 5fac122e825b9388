package capture

import (
	"context"
	"sync"
	"time"

	"boomerang/internal/execution"
)

// mirrorPause is how much later than at its source what is mirrored is seen.
const mirrorPause = 100 * time.Millisecond

// Source reads what lies behind an offset of a stream; nothing is no error.
type Source func(ctx context.Context, stream execution.Stream, from int64) ([]byte, error)

// Mirror keeps two buffers like those of a program that runs elsewhere. Any number read; what is there is read once.
type Mirror struct {
	buffers map[execution.Stream]*Buffer
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewMirror reads from the source until Close. Of each stream it keeps at most limit bytes. A source that fails is read
// again.
func NewMirror(ctx context.Context, source Source, limit int64) *Mirror {
	m := &Mirror{buffers: map[execution.Stream]*Buffer{execution.Stdout: New(limit, limit), execution.Stderr: New(limit, limit)}}
	ctx, m.stop = context.WithCancel(ctx)
	m.done.Go(func() {
		tick := time.NewTicker(mirrorPause)
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

// Bytes is Buffer.Bytes of one stream.
func (m *Mirror) Bytes(stream execution.Stream) (kept []byte, grown <-chan struct{}) {
	return m.buffers[stream].Bytes()
}

// Close ends the reading and waits for it. What was handed out stays true.
func (m *Mirror) Close() {
	m.stop()
	m.done.Wait()
}
