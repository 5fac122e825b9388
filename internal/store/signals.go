package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"boomerang/internal/execution"
)

// events is what an operation has to tell once it is committed.
type events struct {
	queued     bool         // something became claimable
	cancelling bool         // a running execution was asked to end
	pending    bool         // a delivery became pending
	moved      execution.ID // came to another state or another owner; empty: none
	ended      execution.ID // empty: none; it has moved, too
}

// signals tells those who wait in this process. A signal says "look again", never what there is to see: it may come once
// for many changes, or for one that somebody else has already taken.
type signals struct {
	queued     chan struct{}
	cancelling chan struct{}
	pending    chan struct{}

	mu    sync.Mutex // guards ended and the counts in it, and moves
	ended map[execution.ID]*endWaiters
	moves map[execution.ID]map[chan struct{}]bool
}

// endWaiters is all who wait for the end of one execution.
type endWaiters struct {
	over    chan struct{}
	holders int
}

// newSignals begins with every signal set: whatever an earlier process left to do is looked at first.
func newSignals() *signals {
	w := &signals{
		queued: make(chan struct{}, 1), cancelling: make(chan struct{}, 1), pending: make(chan struct{}, 1),
		ended: make(map[execution.ID]*endWaiters), moves: make(map[execution.ID]map[chan struct{}]bool),
	}
	w.send(events{queued: true, cancelling: true, pending: true})
	return w
}

// Queued signals that something became claimable. One receiver.
func (w *signals) Queued() <-chan struct{} { return w.queued }

// Cancelling signals that a running execution was asked to end. One receiver.
func (w *signals) Cancelling() <-chan struct{} { return w.cancelling }

// Pending signals that a delivery became pending. One receiver.
func (w *signals) Pending() <-chan struct{} { return w.pending }

// Ended returns a channel that is closed when the execution ends from now on. Look at the execution after calling it:
// one that has already ended, or that does not exist, never closes the channel. Call release when done; it is idempotent.
func (w *signals) Ended(id execution.ID) (ch <-chan struct{}, release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v, ok := w.ended[id]
	if !ok {
		v = &endWaiters{over: make(chan struct{})}
		w.ended[id] = v
	}
	v.holders++
	return v.over, sync.OnceFunc(func() { w.stopWaiting(id, v) })
}

// Moves returns a channel that is signalled whenever the execution has come to another state, or another process has
// taken it over, and a function that gives it back. Look at the execution after calling it. One receiver; release is idempotent.
func (w *signals) Moves(id execution.ID) (ch <-chan struct{}, release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	moves := make(chan struct{}, 1)
	if w.moves[id] == nil {
		w.moves[id] = make(map[chan struct{}]bool)
	}
	w.moves[id][moves] = true
	return moves, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.moves[id], moves); len(w.moves[id]) == 0 {
			delete(w.moves, id)
		}
	}
}

// awaited lists the executions that somebody waits for.
func (w *signals) awaited() []execution.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(w.ended)), maps.Keys(w.moves))
}

func (w *signals) stopWaiting(id execution.ID, v *endWaiters) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v.holders--
	if v.holders == 0 && w.ended[id] == v {
		delete(w.ended, id)
	}
}

func (w *signals) send(n events) {
	signal(w.queued, n.queued)
	signal(w.cancelling, n.cancelling)
	signal(w.pending, n.pending)
	if n.ended == "" && n.moved == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.moves[cmp.Or(n.ended, n.moved)] {
		signal(ch, true)
	}
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
