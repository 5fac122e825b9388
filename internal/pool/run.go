package pool

import (
	"context"
	"time"

	"boomerang/internal/sandbox"
)

const (
	// The time between handing out a warm container and making its replacement, so that the making does not compete
	// with the first moments of the program for the machine's CPUs.
	refillDelay = 100 * time.Millisecond
	// The longest time until a change of the wants takes effect.
	reviewInterval = 5 * time.Second
	// How long a language without demand keeps its containers when there is no memory for those of another
	// language. Without it, languages in use would take each other's containers if memory is too small for all of them,
	// and the pool would make twice as many containers as no pool.
	minIdle = time.Minute
	// The pause before another attempt to remove a container.
	retryPause = time.Second
	// The bound of the removals when Run ends. The next process removes the remaining containers.
	shutdownTimeout = 15 * time.Second
)

// Run keeps the stocks filled until ctx ends, then removes all warm containers and returns nil. Prepare makes new
// containers after that.
func (p *Pool) Run(ctx context.Context) error {
	timer := time.NewTicker(reviewInterval)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.reconcile(ctx, p.Wants(), time.Now())
		select {
		case <-ctx.Done():
		case <-p.changed:
		case <-timer.C:
		}
	}
	p.reconcile(ctx, nil, time.Now())
	late := time.AfterFunc(shutdownTimeout, func() { close(p.shutdown) })
	defer late.Stop()
	p.work.Wait()
	return nil
}

// reconcile removes unfit and surplus warm containers and starts to make missing ones.
func (p *Pool) reconcile(ctx context.Context, wants []Want, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stocks {
		s.want.Size = 0 // a want below may set it again
	}
	for _, w := range wants {
		s := p.stocks[w.Spec.Language]
		if s == nil {
			s = &stock{}
			p.stocks[w.Spec.Language] = s
		}
		s.want = w
	}
	for language, s := range p.stocks {
		s.adjustTarget(now, p.config.Idle)
		for _, c := range s.evict() {
			if !c.alive() {
				p.recordDeath(s, c, now)
			}
			p.startRemoval(ctx, c)
		}
		if s.endBackOff(now) {
			p.log(language).Info("containers can be made to wait again")
		}
	}
	if p.registry.complete { // before, a new container could get the slot of an earlier process's container
		p.restock(ctx, now)
	}
}

// restock starts to make missing containers, for the smallest stock first, so that no language uses all makings.
func (p *Pool) restock(ctx context.Context, now time.Time) {
	making := 0
	for _, s := range p.stocks {
		making += s.making
	}
	for ; making < p.config.MaxMaking; making++ {
		var smallest *stock
		for _, s := range p.stocks {
			if s.missing(now, p.config.Age) > 0 && (smallest == nil || s.size() < smallest.size()) {
				smallest = s
			}
		}
		if smallest == nil {
			return
		}
		p.startMaking(ctx, smallest, now)
	}
}

// startMaking makes one warm container in the background.
func (p *Pool) startMaking(ctx context.Context, s *stock, now time.Time) {
	s.making++
	spec := s.want.Spec
	p.work.Go(func() {
		if c := p.makeWarm(ctx, s, spec, now); c != nil {
			p.watch(ctx, c)
		}
	})
}

// makeWarm makes one container and adds it to its stock; nil if it failed or ctx ended.
func (p *Pool) makeWarm(ctx context.Context, s *stock, spec sandbox.Spec, now time.Time) *warmContainer {
	owned, err := p.make(ctx, spec)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.wake()
	s.making--
	if err != nil {
		if ctx.Err() == nil && s.backOffAfter(time.Now(), err) {
			p.log(spec.Language).WithError(err).
				Warn("no container can be made to wait; executions start in new ones, if they can")
		}
		return nil
	}
	c := &warmContainer{ownedContainer: owned, spec: spec, since: now, left: make(chan struct{})}
	if ctx.Err() != nil {
		p.startRemoval(ctx, c)
		return nil
	}
	s.warm = append(s.warm, c)
	return c
}

// watch wakes Run if a container ends while it is warm.
func (p *Pool) watch(ctx context.Context, c *warmContainer) {
	select {
	case <-c.Gone():
		p.wake()
	case <-c.left:
	case <-ctx.Done():
	}
}

// recordDeath logs that a warm container ended. A container that ended during its probation counts as a failed making:
// the next one from the same image would probably end as well.
func (p *Pool) recordDeath(s *stock, c *warmContainer, now time.Time) {
	log := p.log(c.spec.Language).WithField("container", c.ID())
	if now.Sub(c.since) >= probation {
		log.Warn("a container that waited is gone; a new one is made")
	} else if s.backOffAfter(now, nil) {
		log.Warn("a container is gone that had hardly begun to wait; others are made after a pause")
	}
}

// grow raises the target of a stock by one, if there is memory for it or the least recently used stock can give up a
// container. The caller holds mu.
func (p *Pool) grow(s *stock) {
	if s.target >= p.config.Slots {
		return
	}
	total, idlest := 0, s
	for _, other := range p.stocks {
		if other.want.Size != Auto {
			continue
		}
		total += other.target
		if other.target > 0 && other.used.Before(idlest.used) && s.used.Sub(other.used) >= minIdle {
			idlest = other
		}
	}
	if total >= int(p.config.Memory/Footprint) {
		if idlest == s {
			return
		}
		idlest.target--
	}
	s.target++
}

// startRemoval removes a container in the background, with retries. A container that cannot be removed keeps its slot.
// The caller holds mu.
func (p *Pool) startRemoval(ctx context.Context, c *warmContainer) {
	p.work.Go(func() {
		for {
			err := c.Remove(context.WithoutCancel(ctx))
			if err == nil {
				return
			}
			p.log(c.spec.Language).WithError(err).WithField("container", c.ID()).Warn("remove container")
			select {
			case <-time.After(retryPause):
			case <-p.shutdown:
				return
			}
		}
	})
}
