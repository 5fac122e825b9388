// Package semaphore bounds how many goroutines do something at the same time.
//
// It does not know the work that it bounds.
package semaphore

import (
	"context"
	"sync"
)

// Semaphore has a fixed number of places. Its methods may be called at the same time.
type Semaphore struct{ places chan struct{} }

// New makes a semaphore with n places, n ≥ 1.
func New(n int) *Semaphore { return &Semaphore{places: make(chan struct{}, n)} }

// Acquire waits for a place and returns the function that releases it. Calls of release after the first do nothing.
// Errors: the cause of ctx if ctx ends first; release is nil then.
func (s *Semaphore) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case s.places <- struct{}{}:
		return sync.OnceFunc(func() { <-s.places }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
