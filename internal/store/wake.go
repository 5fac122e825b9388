package store

import (
	"maps"
	"slices"
	"sync"

	"boomerang/internal/execution"
)

// news is what an operation has to tell once it is committed.
type news struct {
	queued     bool         // something became claimable
	cancelling bool         // a running execution was asked to end
	pending    bool         // a delivery became pending
	ended      execution.ID // empty: none
}

// wakes tells those who wait in this process. A signal says "look again", never what there is to see: it may come once
// for many changes, or for one that somebody else has already taken.
type wakes struct {
	queued     chan struct{}
	cancelling chan struct{}
	pending    chan struct{}

	mu    sync.Mutex // guards ended and the counts in it
	ended map[execution.ID]*vigil
}

// vigil is all who wait for the end of one execution.
type vigil struct {
	over    chan struct{}
	holders int
}

// newWakes begins with every signal set: whatever an earlier process left to do is looked at first.
func newWakes() *wakes {
	w := &wakes{
		queued: make(chan struct{}, 1), cancelling: make(chan struct{}, 1), pending: make(chan struct{}, 1),
		ended: make(map[execution.ID]*vigil),
	}
	w.tell(news{queued: true, cancelling: true, pending: true})
	return w
}

// Queued signals that something became claimable. One receiver.
func (w *wakes) Queued() <-chan struct{} { return w.queued }

// Cancelling signals that a running execution was asked to end. One receiver.
func (w *wakes) Cancelling() <-chan struct{} { return w.cancelling }

// Pending signals that a delivery became pending. One receiver.
func (w *wakes) Pending() <-chan struct{} { return w.pending }

// Ended returns a channel that is closed when the execution ends from now on. Look at the execution after calling it:
// one that has already ended, or that does not exist, never closes the channel. Call release when done; it is idempotent.
func (w *wakes) Ended(id execution.ID) (ch <-chan struct{}, release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.ended[id]
	if !ok {
		v = &vigil{over: make(chan struct{})}
		w.ended[id] = v
	}
	v.holders++
	return v.over, sync.OnceFunc(func() { w.leave(id, v) })
}

// awaited lists the executions whose end somebody waits for.
func (w *wakes) awaited() []execution.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.ended))
}

func (w *wakes) leave(id execution.ID, v *vigil) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.holders--
	if v.holders == 0 && w.ended[id] == v {
		delete(w.ended, id)
	}
}

func (w *wakes) tell(n news) {
	signal(w.queued, n.queued)
	signal(w.cancelling, n.cancelling)
	signal(w.pending, n.pending)
	if n.ended == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if v, ok := w.ended[n.ended]; ok {
		close(v.over)
		delete(w.ended, n.ended)
	}
}

func signal(ch chan struct{}, said bool) {
	if !said {
		return
	}
	select {
	case ch <- struct{}{}:
	default: // it is signalled already
	}
}
