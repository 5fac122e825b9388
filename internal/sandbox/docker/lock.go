package docker

import "context"

// lock is a mutex whose waiters can give up. A lock comes from newLock.
type lock struct{ held chan struct{} } // cap 1

func newLock() lock { return lock{held: make(chan struct{}, 1)} }

// Acquire waits for the lock and returns the function that releases it. When ctx ends first, Acquire returns
// context.Cause(ctx), and the lock is not held.
func (l lock) Acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.held <- struct{}{}:
		return func() { <-l.held }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
