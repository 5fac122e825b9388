package dispatch

import "sync"

// slots bound how many executions run at the same time.
type slots struct {
	mu       sync.Mutex // guards taken
	size     int
	taken    int
	released chan struct{} // capacity 1: a slot may be free
}

func newSlots(size int) *slots { return &slots{size: size, released: make(chan struct{}, 1)} }

// tryAcquire takes a slot; false if no slot is free.
func (s *slots) tryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.size {
		return false
	}
	s.taken++
	if s.taken < s.size { // two releases at once make one signal, but two goroutines may wait
		s.signal()
	}
	return true
}

// forceAcquire takes a slot even if none is free, for an execution that is running already.
func (s *slots) forceAcquire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
}

func (s *slots) release() {
	s.mu.Lock()
	s.taken--
	s.mu.Unlock()
	s.signal()
}

func (s *slots) signal() {
	select {
	case s.released <- struct{}{}:
	default:
	}
}
