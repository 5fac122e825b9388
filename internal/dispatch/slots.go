package dispatch

import "sync"

// slots bound how many executions run at the same time. Beyond the ordinary slots there is a reserve for executions of
// newcomers: subjects that have nothing running.
type slots struct {
	ordinary int
	reserve  int
	ended    chan struct{} // capacity 1, for the dispatcher: an execution has returned its slot
	free     chan struct{} // capacity 1, for executions that wait for a slot: an ordinary one may be free

	mu    sync.Mutex // guards taken
	taken int
}

func newSlots(ordinary, reserve int) *slots {
	return &slots{
		ordinary: ordinary, reserve: reserve, ended: make(chan struct{}, 1), free: make(chan struct{}, 1),
	}
}

// acquire takes an ordinary slot, or one of the reserve if withReserve is true and no ordinary one is free. It returns
// reserved for a slot of the reserve, and false if no slot is free.
func (s *slots) acquire(withReserve bool) (reserved, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken < s.ordinary {
		s.taken++
		if s.taken < s.ordinary { // two releases at once make one signal, but two goroutines may wait
			signal(s.free)
		}
		return false, true
	}
	if !withReserve || s.taken >= s.ordinary+s.reserve {
		return false, false
	}
	s.taken++
	return true, true
}

// forceAcquire takes a slot even if none is free, for an execution that is running already.
func (s *slots) forceAcquire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
}

// release returns the slot of an execution.
func (s *slots) release() {
	s.cancel()
	signal(s.ended)
}

// cancel returns a slot that the dispatcher did not use. It does not wake the dispatcher itself.
func (s *slots) cancel() {
	s.mu.Lock()
	s.taken--
	s.mu.Unlock()
	signal(s.free)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // the signal is already set
	}
}
