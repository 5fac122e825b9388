package semaphore

import (
	"context"
	"sync"
)

// Shares has a semaphore for each key: the goroutines of one key do something at most a fixed number of times at the
// same time, and never take a place from another key. Its methods may be called at the same time.
type Shares struct {
	places int

	mu     sync.Mutex // guards shares and users
	shares map[string]*share
}

// share is the semaphore of one key; it exists as long as the key has users.
type share struct {
	*Semaphore
	users int // goroutines that hold a place or wait for one
}

// NewShares makes a semaphore of n places for each key, n ≥ 1.
func NewShares(n int) *Shares { return &Shares{places: n, shares: make(map[string]*share)} }

// Acquire waits for a place of the key and returns the function that releases it. Calls of release after the first do
// nothing. Errors: the cause of ctx if ctx ends first; release is nil then.
func (s *Shares) Acquire(ctx context.Context, key string) (release func(), err error) {
	of := s.enter(key)
	free, err := of.Acquire(ctx)
	if err != nil {
		s.leave(key, of)
		return nil, err
	}
	return sync.OnceFunc(func() { free(); s.leave(key, of) }), nil
}

func (s *Shares) enter(key string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.shares[key]
	if of == nil {
		of = &share{Semaphore: New(s.places)}
		s.shares[key] = of
	}
	of.users++
	return of
}

func (s *Shares) leave(key string, of *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(s.shares, key)
	}
}
