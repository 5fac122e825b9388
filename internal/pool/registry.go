package pool

import (
	"context"
	"sync"

	"boomerang/internal/crash"
	"boomerang/internal/sandbox"
)

// registry records all containers of the node and their slots. A slot becomes the user ID of the program in the
// container, so the slot is taken from before the container is made until it is known to be removed.
type registry struct {
	owned    map[string]*ownedContainer // by container ID
	making   map[int]bool               // slots of containers that have no ID yet
	slots    map[int]int                // number of containers by slot; containers of earlier processes may share one
	complete bool                       // the registry has the containers of an earlier process
}

func newRegistry() registry {
	return registry{owned: make(map[string]*ownedContainer), making: make(map[int]bool), slots: make(map[int]int)}
}

// reserveSlot takes the lowest free slot, for a container that will be made.
func (r *registry) reserveSlot() int {
	slot := 0
	for r.slots[slot] > 0 {
		slot++
	}
	r.takeSlot(slot)
	r.making[slot] = true
	return slot
}

func (r *registry) takeSlot(slot int) { r.slots[slot]++ }

func (r *registry) freeSlot(slot int) {
	if r.slots[slot]--; r.slots[slot] == 0 {
		delete(r.slots, slot)
	}
}

// abandon frees the slot of a container that could not be made.
func (r *registry) abandon(slot int) {
	delete(r.making, slot)
	r.freeSlot(slot)
}

// add records a container whose slot was taken.
func (r *registry) add(c *ownedContainer) {
	delete(r.making, c.slot)
	r.owned[c.ID()] = c
}

// release deletes the record of a removed container and frees its slot.
func (r *registry) release(c *ownedContainer) {
	delete(r.owned, c.ID())
	r.freeSlot(c.slot)
}

// ownedContainer is a container that has its slot until it is removed.
type ownedContainer struct {
	sandbox.Container
	pool     *Pool
	slot     int
	released sync.Once
}

// Remove implements sandbox.Container.
func (c *ownedContainer) Remove(ctx context.Context) error {
	err := c.Container.Remove(ctx)
	crash.Point("after-remove")
	if err == nil {
		c.released.Do(func() {
			c.pool.mu.Lock()
			defer c.pool.mu.Unlock()
			c.pool.registry.release(c)
		})
	}
	return err
}
