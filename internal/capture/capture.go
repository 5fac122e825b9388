// Package capture holds what a stream has carried so far: bounded, counted, readable while it grows.
//
// It refuses to know where the bytes come from and who reads them.
package capture

import (
	"slices"
	"sync"

	"boomerang/internal/execution"
)

// Buffer collects one stream. It keeps the first limit bytes and counts all. One goroutine writes, any number read.
type Buffer struct {
	usual, limit int

	mu    sync.Mutex    // guards all below; readers hold it only to look, never while they use the bytes
	kept  []byte        // only ever appended to, so a slice of it that was handed out stays true
	bytes int64         // seen in all
	again int64         // of what comes next, the bytes that were seen before
	grown chan struct{} // closed and replaced when something new has come
}

// New makes a buffer that keeps at most limit bytes. It takes room as they come, in few steps up to usual, the most that is
// expected.
func New(usual, limit int64) *Buffer {
	return &Buffer{usual: int(usual), limit: int(limit), grown: make(chan struct{})}
}

// Write keeps what fits and counts p. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := min(b.again, int64(len(p)))
	b.again -= seen
	fresh := p[seen:]
	if len(fresh) == 0 {
		return len(p), nil
	}
	b.keep(fresh[:min(len(fresh), b.limit-len(b.kept))])
	b.bytes += int64(len(fresh))
	close(b.grown)
	b.grown = make(chan struct{})
	return len(p), nil
}

// keep appends p. Twice the room at each step leaves less behind than append would.
func (b *Buffer) keep(p []byte) {
	if need := len(b.kept) + len(p); cap(b.kept) < need && need <= b.usual {
		b.kept = append(make([]byte, 0, min(2*need, b.usual)), b.kept...)
	}
	b.kept = append(b.kept, p...)
}

// Rewind announces that the stream will be written again from its beginning: what was seen already is passed over,
// so that a reader notices nothing.
func (b *Buffer) Rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = b.bytes
}

// Bytes returns what is kept so far, and a channel that is closed when more has come. The caller must not write to
// the slice.
func (b *Buffer) Bytes() (kept []byte, grown <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clip(b.kept), b.grown
}

// Output divides what is kept into head and tail, as the proof of the stream's end says: written is what the program
// wrote in all, tail the number of kept bytes that stand behind the gap.
func (b *Buffer) Output(written, tail int64) execution.Output {
	kept, _ := b.Bytes()
	cut := max(len(kept)-int(tail), 0)
	return execution.Output{Head: kept[:cut:cut], Tail: kept[cut:], Bytes: written}
}

// Unproven returns what has come, for a stream whose end nobody vouches for.
func (b *Buffer) Unproven() execution.Output {
	b.mu.Lock()
	defer b.mu.Unlock()
	return execution.Output{Head: slices.Clip(b.kept), Bytes: b.bytes}
}
