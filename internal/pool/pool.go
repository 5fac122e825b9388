// Package pool keeps warm containers: containers that are made before an execution needs them. Each is used once. The
// pool is itself a sandbox through which all containers of a node pass: Prepare hands out a warm container that fits,
// or makes a new one. Therefore the pool also assigns the slots and knows which containers are in use.
//
// It does not know executions, languages and Docker.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/crash"
	"boomerang/internal/sandbox"
	"boomerang/internal/semaphore"
)

// Want is the number of warm containers to keep for one language.
type Want struct {
	Spec sandbox.Spec // its Language identifies the want
	Size int          // number of containers; Auto follows the demand
}

// Auto is the size of a want that follows the demand: none without demand, one more whenever an execution found no warm
// container, fewer again after containers were surplus for Config.Idle.
const Auto = -1

// Deps are the collaborators of a pool.
type Deps struct {
	Sandbox sandbox.Sandbox
	// Wants returns the current wants. The pool calls it again and again.
	Wants func() []Want
	// HandedOut is called for each container that Prepare returns; warm tells whether it was made before.
	HandedOut func(language string, warm bool)
	Log       *logrus.Entry
}

// Pool is the sandbox of one node. Its methods may be called at the same time.
type Pool struct {
	Deps
	config  Config
	changed chan struct{} // capacity 1: Run has to reconcile
	making  *semaphore.Semaphore

	mu       sync.Mutex // guards the fields below, to stocks
	registry registry
	stocks   map[string]*stock // by the language of the want

	work     sync.WaitGroup // makings, watches and removals
	shutdown chan struct{}  // closed when removals have to end

	complete     chan struct{} // closed when the registry has the containers of an earlier process
	completeOnce sync.Once     // closes complete
}

var _ sandbox.Sandbox = (*Pool)(nil)

// New makes a pool without warm containers. Run makes them.
func New(c Config, deps Deps) *Pool {
	return &Pool{
		Deps: deps, config: c,
		changed: make(chan struct{}, 1), making: semaphore.New(c.MaxMaking),
		registry: newRegistry(), stocks: make(map[string]*stock),
		shutdown: make(chan struct{}), complete: make(chan struct{}),
	}
}

// Prepare implements sandbox.Sandbox. The pool sets the slot of the spec.
func (p *Pool) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare container: %w", context.Cause(ctx))
	}
	if c := p.takeWarm(ctx, spec); c != nil {
		p.HandedOut(spec.Language, true)
		return c, nil
	}
	spec.Rehearsal = nil // the job follows at once
	c, err := p.make(ctx, spec)
	if err != nil {
		return nil, err
	}
	p.HandedOut(spec.Language, false)
	return c, nil
}

// Try makes a container and removes it, to find out whether the engine starts containers. It waits until Containers has
// listed the containers of an earlier process. The errors are those of Prepare.
func (p *Pool) Try(ctx context.Context, spec sandbox.Spec) error {
	select {
	case <-p.complete:
	case <-ctx.Done():
		return fmt.Errorf("try a container: %w", context.Cause(ctx))
	}
	spec.Rehearsal = nil
	c, err := p.make(ctx, spec)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startRemoval(ctx, &warmContainer{ownedContainer: c, spec: spec})
	return nil
}

// takeWarm hands out a warm container with the limits of the spec; nil if none fits.
func (p *Pool) takeWarm(ctx context.Context, spec sandbox.Spec) sandbox.Container {
	c := p.pick(spec)
	if c == nil {
		return nil
	}
	time.AfterFunc(refillDelay, p.wake)
	if c.spec.Limits.Resized(spec.Limits) == c.spec.Limits {
		return c.ownedContainer
	}
	err := c.Resize(ctx, spec.Limits)
	crash.Point("after-resize")
	if err != nil {
		p.log(spec.Language).WithError(err).Warn("a container that waited cannot be resized; a new one is made")
		p.discard(ctx, c, err)
		return nil
	}
	return c.ownedContainer
}

// pick takes the oldest warm container that fits out of its stock. If there is none, a stock of the size Auto grows.
func (p *Pool) pick(spec sandbox.Spec) *warmContainer {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stocks[spec.Language]
	if s == nil || !s.want.Spec.Fits(spec) {
		return nil
	}
	now := time.Now()
	if now.Before(s.noResizeUntil) && s.want.Spec.Limits.Resized(spec.Limits) != s.want.Spec.Limits {
		return nil
	}
	s.used = now
	if c := s.pick(spec); c != nil {
		return c
	}
	if s.want.Size == Auto {
		p.grow(s)
		p.wake()
	}
	return nil
}

// discard removes a container whose resize failed. If the container was alive and the engine answered, the runtime
// cannot resize: the pool resizes none of this stock for Config.Idle.
func (p *Pool) discard(ctx context.Context, c *warmContainer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.alive() && ctx.Err() == nil && !errors.Is(err, sandbox.ErrUnavailable) {
		p.stocks[c.spec.Language].noResizeUntil = time.Now().Add(p.config.Idle)
	}
	p.startRemoval(ctx, c)
}

// make makes a container in a new slot.
func (p *Pool) make(ctx context.Context, spec sandbox.Spec) (*ownedContainer, error) {
	defer p.acquireMaking(ctx)()
	p.mu.Lock()
	spec.Slot = p.registry.reserveSlot()
	p.mu.Unlock()
	c, err := p.Sandbox.Prepare(ctx, spec)
	crash.Point("after-prepare")
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.registry.abandon(spec.Slot)
		return nil, err
	}
	owned := &ownedContainer{Container: c, pool: p, slot: spec.Slot}
	p.registry.add(owned)
	return owned, nil
}

// maxMakingTime is how long one making counts as one of MaxMaking. A making that hangs does not block others for
// longer.
const maxMakingTime = 2 * time.Second

// acquireMaking waits until fewer than MaxMaking containers are in the making, without a timeout: after one, all
// waiting callers would start at once, and an engine that makes 200 containers at once is slowest.
func (p *Pool) acquireMaking(ctx context.Context) (done func()) {
	release, err := p.making.Acquire(ctx)
	if err != nil {
		return func() {} // the engine call fails as well, because ctx ended
	}
	late := time.AfterFunc(maxMakingTime, release)
	return func() {
		late.Stop()
		release()
	}
}

// Containers implements sandbox.Sandbox. The containers of an earlier process keep their slots until they are removed.
func (p *Pool) Containers(ctx context.Context) ([]sandbox.Found, error) {
	found, err := p.Sandbox.Containers(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.registry.complete = true
	p.completeOnce.Do(func() { close(p.complete) })
	for i, f := range found {
		owned := p.registry.owned[f.Container.ID()]
		if owned == nil {
			owned = &ownedContainer{Container: f.Container, pool: p, slot: f.Slot}
			p.registry.takeSlot(f.Slot)
			p.registry.add(owned)
		}
		found[i].Container = owned
	}
	p.wake()
	return found, nil
}

// Holds tells whether a container is in use: it is warm, an execution has it, or it is in the making. Until Containers
// has listed the containers of an earlier process, every container counts as in use.
func (p *Pool) Holds(f sandbox.Found) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.registry.complete || p.registry.owned[f.Container.ID()] != nil || p.registry.making[f.Slot]
}

// Waiting returns the number of warm containers by language.
func (p *Pool) Waiting() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[string]int, len(p.stocks))
	for name, s := range p.stocks {
		n[name] = len(s.warm)
	}
	return n
}

// Renew replaces all warm containers, because their images may have changed, and ends all back-off pauses. Prepare no
// longer hands out a container whose making began before Renew.
func (p *Pool) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stocks {
		s.renew(time.Now())
	}
	p.wake()
}

// wake makes Run reconcile.
func (p *Pool) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Pool) log(language string) *logrus.Entry { return p.Log.WithField("language", language) }
