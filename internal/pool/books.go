package pool

import (
	"context"
	"sync"

	"boomerang/internal/sandbox"
)

// books are kept of all berths that are there. A slot becomes the user ID of what runs in a berth, so it is taken from before a
// container is made until it is known to be gone.
type books struct {
	held     map[string]*held // by the engine's name
	making   map[int]bool     // the slots of those that have no name yet
	slots    map[int]int      // how many berths have a slot: what earlier processes left may share one
	complete bool             // what an earlier process left is in them
}

func newBooks() books {
	return books{held: make(map[string]*held), making: make(map[int]bool), slots: make(map[int]int)}
}

// open takes the lowest slot that nobody has, for a berth that will be made.
func (b *books) open() int {
	slot := 0
	for b.slots[slot] > 0 {
		slot++
	}
	b.take(slot)
	b.making[slot] = true
	return slot
}

func (b *books) take(slot int) { b.slots[slot]++ }

func (b *books) free(slot int) {
	if b.slots[slot]--; b.slots[slot] == 0 {
		delete(b.slots, slot)
	}
}

// abandon gives the slot of a berth back that could not be made.
func (b *books) abandon(slot int) {
	delete(b.making, slot)
	b.free(slot)
}

// enter writes a berth down whose slot was taken.
func (b *books) enter(h *held) {
	delete(b.making, h.slot)
	b.held[h.ID()] = h
}

// strike forgets a berth that is gone.
func (b *books) strike(h *held) {
	delete(b.held, h.ID())
	b.free(h.slot)
}

// held is a berth whose slot is taken until it is removed.
type held struct {
	sandbox.Berth
	pool   *Pool
	slot   int
	struck sync.Once
}

// Remove implements sandbox.Berth.
func (h *held) Remove(ctx context.Context) error {
	err := h.Berth.Remove(ctx)
	if err == nil {
		h.struck.Do(func() {
			h.pool.mu.Lock()
			defer h.pool.mu.Unlock()
			h.pool.books.strike(h)
		})
	}
	return err
}
