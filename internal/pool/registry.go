package pool

import (
	"context"
	"sync"

	"boomerang/internal/sandbox"
)

// registry are kept of all containers that are there. A slot becomes the user ID of what runs in a container, so it is taken from before a
// container is made until it is known to be gone.
type registry struct {
	owned    map[string]*ownedContainer // by the engine's name
	making   map[int]bool               // the slots of those that have no name yet
	slots    map[int]int                // how many containers have a slot: what earlier processes left may share one
	complete bool                       // what an earlier process left is in them
}

func newRegistry() registry {
	return registry{owned: make(map[string]*ownedContainer), making: make(map[int]bool), slots: make(map[int]int)}
}

// reserveSlot takes the lowest slot that nobody has, for a container that will be made.
func (b *registry) reserveSlot() int {
	slot := 0
	for b.slots[slot] > 0 {
		slot++
	}
	b.takeSlot(slot)
	b.making[slot] = true
	return slot
}

func (b *registry) takeSlot(slot int) { b.slots[slot]++ }

func (b *registry) freeSlot(slot int) {
	if b.slots[slot]--; b.slots[slot] == 0 {
		delete(b.slots, slot)
	}
}

// abandon gives the slot of a container back that could not be made.
func (b *registry) abandon(slot int) {
	delete(b.making, slot)
	b.freeSlot(slot)
}

// add writes a container down whose slot was taken.
func (b *registry) add(h *ownedContainer) {
	delete(b.making, h.slot)
	b.owned[h.ID()] = h
}

// release forgets a container that is gone.
func (b *registry) release(h *ownedContainer) {
	delete(b.owned, h.ID())
	b.freeSlot(h.slot)
}

// ownedContainer is a container whose slot is taken until it is removed.
type ownedContainer struct {
	sandbox.Container
	pool     *Pool
	slot     int
	released sync.Once
}

// Remove implements sandbox.Container.
func (h *ownedContainer) Remove(ctx context.Context) error {
	err := h.Container.Remove(ctx)
	if err == nil {
		h.released.Do(func() {
			h.pool.mu.Lock()
			defer h.pool.mu.Unlock()
			h.pool.registry.release(h)
		})
	}
	return err
}
