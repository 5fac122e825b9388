package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"boomerang/internal/execution"
)

// events are the changes that an operation signals after its commit.
type events struct {
	queued     bool         // an execution became claimable
	cancelling bool         // a client asked for the end of a running execution
	pending    bool         // a delivery became pending
	grown      bool         // a subject may store more than its quota
	moved      execution.ID // its state or its owner changed; empty if no execution's did
	ended      execution.ID // it has ended, which is also a change of state; empty if no execution has
}

// signals notifies the goroutines that wait in this process. A signal carries no data: the receiver looks at the store.
// One signal may stand for several changes, or for a change that another receiver has already handled.
type signals struct {
	queued     chan struct{}
	cancelling chan struct{}
	pending    chan struct{}
	grown      chan struct{}

	mu    sync.Mutex // guards ended, the counts in it, and moves
	ended map[execution.ID]*endWaiters
	moves map[execution.ID]map[chan struct{}]bool
}

// endWaiters are the goroutines that wait for the end of one execution.
type endWaiters struct {
	ended chan struct{} // closed when the execution ends
	count int
}

// newSignals returns signals that are all set, so that receivers look for work left by an earlier process.
func newSignals() *signals {
	s := &signals{
		queued: make(chan struct{}, 1), cancelling: make(chan struct{}, 1), pending: make(chan struct{}, 1),
		grown: make(chan struct{}, 1),
		ended: make(map[execution.ID]*endWaiters), moves: make(map[execution.ID]map[chan struct{}]bool),
	}
	s.send(events{queued: true, cancelling: true, pending: true})
	return s
}

// Queued implements dispatch.Queue. It has one receiver.
func (s *signals) Queued() <-chan struct{} { return s.queued }

// Cancelling implements dispatch.Cancels. It has one receiver.
func (s *signals) Cancelling() <-chan struct{} { return s.cancelling }

// Pending implements callback.Store. It has one receiver.
func (s *signals) Pending() <-chan struct{} { return s.pending }

// Ended implements gateway.Records. The channel of an execution that has already ended, or does not exist, is never
// closed: callers read the execution after calling Ended. Calling release again does nothing.
func (s *signals) Ended(id execution.ID) (ch <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiters, ok := s.ended[id]
	if !ok {
		waiters = &endWaiters{ended: make(chan struct{})}
		s.ended[id] = waiters
	}
	waiters.count++
	return waiters.ended, sync.OnceFunc(func() { s.stopWaiting(id, waiters) })
}

// Moves implements follow.Records. The channel is also signalled when another process adopts the execution; it has one
// receiver. Callers read the execution after calling Moves. Calling release again does nothing.
func (s *signals) Moves(id execution.ID) (ch <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	moves := make(chan struct{}, 1)
	if s.moves[id] == nil {
		s.moves[id] = make(map[chan struct{}]bool)
	}
	s.moves[id][moves] = true
	return moves, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if delete(s.moves[id], moves); len(s.moves[id]) == 0 {
			delete(s.moves, id)
		}
	}
}

// awaitedIDs lists the executions that a goroutine waits for.
func (s *signals) awaitedIDs() []execution.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.AppendSeq(slices.Collect(maps.Keys(s.ended)), maps.Keys(s.moves))
}

func (s *signals) stopWaiting(id execution.ID, waiters *endWaiters) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiters.count--
	if waiters.count == 0 && s.ended[id] == waiters {
		delete(s.ended, id)
	}
}

func (s *signals) send(e events) {
	signal(s.queued, e.queued)
	signal(s.cancelling, e.cancelling)
	signal(s.pending, e.pending)
	signal(s.grown, e.grown)
	if e.ended == "" && e.moved == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.moves[cmp.Or(e.ended, e.moved)] {
		signal(ch, true)
	}
	if waiters, ok := s.ended[e.ended]; ok {
		close(waiters.ended)
		delete(s.ended, e.ended)
	}
}

func signal(ch chan struct{}, set bool) {
	if !set {
		return
	}
	select {
	case ch <- struct{}{}:
	default: // the signal is already set
	}
}
