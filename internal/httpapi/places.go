package httpapi

import (
	"sync"
	"time"

	"boomerang/internal/fault"
)

// placesRetry is when a client that found no place is asked to come back.
const placesRetry = 5 * time.Second

// places bounds how many streams each subject has open.
type places struct {
	most int // 0: any number

	mu    sync.Mutex // guards taken
	taken map[string]int
}

func newPlaces(most int) *places { return &places{most: most, taken: make(map[string]int)} }

// take takes a place of the subject; give, which may be called more than once, gives it back. Errors: fault RATE_LIMIT_EXCEEDED.
func (p *places) take(subject string) (give func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 && p.taken[subject] >= p.most {
		return nil, fault.New(fault.RateLimitExceeded, "There are %d streams open already, which is as many as are allowed.", p.most).After(placesRetry)
	}
	p.taken[subject]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.taken[subject]--; p.taken[subject] == 0 {
			delete(p.taken, subject)
		}
	}), nil
}
