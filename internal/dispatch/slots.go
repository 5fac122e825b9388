package dispatch

import "sync"

// slots are the places in which executions run at the same time.
type slots struct {
	mu    sync.Mutex // guards taken
	size  int
	taken int
	freed chan struct{} // cap 1: a slot became free
}

func newSlots(size int) *slots { return &slots{size: size, freed: make(chan struct{}, 1)} }

// take takes a slot; false when as many are taken as there are.
func (s *slots) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.size {
		return false
	}
	s.taken++
	if s.taken < s.size { // several may wait, and two slots that become free at once are one signal
		s.signal()
	}
	return true
}

// occupy takes a slot for what an earlier process began, even beyond the size: it is running already.
func (s *slots) occupy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
}

// free gives a slot back.
func (s *slots) free() {
	s.mu.Lock()
	s.taken--
	s.mu.Unlock()
	s.signal()
}

func (s *slots) signal() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
