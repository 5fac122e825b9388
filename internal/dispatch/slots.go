package dispatch

import "sync"

// slots are the places in which executions may run at the same time. A slot's number becomes the UID of what runs in
// it, so no two runs may ever hold one number.
type slots struct {
	mu    sync.Mutex // guards taken
	size  int
	taken map[int]bool
	freed chan struct{} // cap 1: a slot became free
}

func newSlots(size int) *slots {
	return &slots{size: size, taken: make(map[int]bool, size), freed: make(chan struct{}, 1)}
}

// noSlot is the slot of a run that has no container any more.
const noSlot = -1

// take returns the lowest free number, or false when as many are taken as there are slots.
func (s *slots) take() (int, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.taken) >= s.size {
		return 0, false
	}
	for n := range s.size {
		if !s.taken[n] {
			s.taken[n] = true
			return n, true
		}
	}
	return 0, false
}

// occupy takes the number of a run that an earlier process began, even beyond the size: it is running already.
func (s *slots) occupy(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[n] = true
}

// free gives a number back.
func (s *slots) free(n int) {
	s.mu.Lock()
	delete(s.taken, n)
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
