// Package quota bounds how many of one thing each subject has at the same time.
package quota

import "sync"

// Quota counts the things that each subject holds. It is safe for concurrent use.
type Quota struct {
	most int // of one subject; 0 is no limit

	mu   sync.Mutex // guards held
	held map[string]int
}

// New makes a quota of most at the same time for each subject; 0 is no limit.
func New(most int) *Quota { return &Quota{most: most, held: make(map[string]int)} }

// Acquire takes one of the subject's share. It returns false if the subject holds as many as the quota allows. Release
// returns the share and may be called more than once.
func (q *Quota) Acquire(subject string) (release func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.most > 0 && q.held[subject] >= q.most {
		return nil, false
	}
	q.held[subject]++
	return sync.OnceFunc(func() { q.release(subject) }), true
}

func (q *Quota) release(subject string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held[subject]--; q.held[subject] == 0 {
		delete(q.held, subject) // a subject that holds nothing costs no memory
	}
}
