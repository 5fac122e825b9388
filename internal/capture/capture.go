// Package capture holds the bytes that a stream has carried so far: bounded, counted, and readable while the stream
// grows.
//
// It does not know where the bytes come from and who reads them.
package capture

import (
	"slices"
	"sync"

	"boomerang/internal/execution"
)

// Buffer collects one stream. It keeps the first limit bytes and counts all. One goroutine writes; any number may read.
type Buffer struct {
	expected, limit int

	mu       sync.Mutex    // guards the fields below; readers hold it only to get a slice, not while they use it
	kept     []byte        // only ever appended to, so a slice of it that a reader holds never changes
	bytes    int64         // received in all
	repeated int64         // number of the next bytes that were received before
	grown    chan struct{} // closed and replaced when new bytes come
}

// New makes a buffer that keeps at most limit bytes. It allocates memory as bytes come, in few steps up to the expected
// number of bytes.
func New(usual, limit int64) *Buffer {
	return &Buffer{expected: int(usual), limit: int(limit), grown: make(chan struct{})}
}

// Write keeps the bytes of p that fit, and counts all. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := min(b.repeated, int64(len(p)))
	b.repeated -= seen
	fresh := p[seen:]
	if len(fresh) == 0 {
		return len(p), nil
	}
	b.grow(fresh[:min(len(fresh), b.limit-len(b.kept))])
	b.bytes += int64(len(fresh))
	close(b.grown)
	b.grown = make(chan struct{})
	return len(p), nil
}

// grow appends p to the kept bytes. Doubling the capacity leaves less garbage behind than append does.
func (b *Buffer) grow(p []byte) {
	if need := len(b.kept) + len(p); cap(b.kept) < need && need <= b.expected {
		b.kept = append(make([]byte, 0, min(2*need, b.expected)), b.kept...)
	}
	b.kept = append(b.kept, p...)
}

// Rewind announces that the stream will be written again from its beginning. The buffer skips the bytes that it
// received before, so readers notice nothing.
func (b *Buffer) Rewind() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.repeated = b.bytes
}

// Bytes returns the bytes kept so far, and a channel that is closed when more have come. The caller must not write to
// the slice.
func (b *Buffer) Bytes() (kept []byte, grown <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clip(b.kept), b.grown
}

// Output splits the kept bytes into head and tail, according to the proof of the stream's end: written is the number of
// bytes that the program wrote, tail the number of kept bytes behind the gap.
func (b *Buffer) Output(written, tail int64) execution.Output {
	kept, _ := b.Bytes()
	cut := max(len(kept)-int(tail), 0)
	return execution.Output{Head: kept[:cut:cut], Tail: kept[cut:], Bytes: written}
}

// Unproven returns the bytes received of a stream without a proof of its end.
func (b *Buffer) Unproven() execution.Output {
	b.mu.Lock()
	defer b.mu.Unlock()
	return execution.Output{Head: slices.Clip(b.kept), Bytes: b.bytes}
}
