package quota

import "sync"

// Counter counts the use of one quota by each subject, in memory. It is safe for concurrent use.
type Counter struct {
	mu   sync.Mutex // guards used
	used map[string]int64
}

// NewCounter makes a counter that starts at 0 for each subject.
func NewCounter() *Counter { return &Counter{used: make(map[string]int64)} }

// Acquire adds n to the use of a subject, if the sum is at most limit; a limit of 0 is no limit. Release subtracts n
// and may be called more than once. Use is the number before; ok is false if nothing was added.
func (c *Counter) Acquire(subject string, n, limit int64) (release func(), use int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	use = c.used[subject]
	if limit > 0 && use+n > limit {
		return nil, use, false
	}
	c.used[subject] = use + n
	return sync.OnceFunc(func() { c.release(subject, n) }), use, true
}

// Use returns the use of a subject.
func (c *Counter) Use(subject string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used[subject]
}

func (c *Counter) release(subject string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[subject] -= n; c.used[subject] == 0 {
		delete(c.used, subject) // a subject without use costs no memory
	}
}
