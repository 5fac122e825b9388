package pool

import (
	"context"
	"time"

	"boomerang/internal/sandbox"
)

const (
	// How long after a berth was taken the making of another begins: the program that has it shall not share the
	// machine's processors with that from its first moment.
	lull = 100 * time.Millisecond
	// How soon it is seen that other berths are wanted.
	tick = 5 * time.Second
	// How long a language that nobody asks for keeps its berths when there is no memory for another's. Where it is too small for
	// the languages in use they would take them from each other each time, and make twice as many containers as without a pool.
	tenure = time.Minute
	// The pause before a removal that failed is tried again.
	breath = time.Second
	// How long removals may take when Run ends. What is left then is removed by the next start.
	parting = 15 * time.Second
)

// Run keeps the stocks until ctx ends, then removes what waits and returns nil. Whoever still asks for a berth gets a new one.
func (p *Pool) Run(ctx context.Context) error {
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.tend(ctx, p.Wants(), time.Now())
		select {
		case <-ctx.Done():
		case <-p.changed:
		case <-timer.C:
		}
	}
	p.tend(ctx, nil, time.Now())
	late := time.AfterFunc(parting, func() { close(p.parted) })
	defer late.Stop()
	p.work.Wait()
	return nil
}

// tend makes the stocks what they should be.
func (p *Pool) tend(ctx context.Context, wants []Want, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stocks {
		s.want.Size = 0 // unless somebody wants it
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
		s.judge(now, p.config.Idle)
		for _, b := range s.cull() {
			if !b.there() {
				p.mourn(s, b, now)
			}
			p.drop(ctx, b)
		}
		if s.proven(now) {
			p.log(language).Info("berths can be made to wait again")
		}
	}
	if p.books.complete { // or the slots of what an earlier process left would be given away
		p.restock(ctx, now)
	}
}

// restock begins to make what is missing, first where the fewest wait: no language takes all makings.
func (p *Pool) restock(ctx context.Context, now time.Time) {
	making := 0
	for _, s := range p.stocks {
		making += s.making
	}
	for ; making < p.config.Abreast; making++ {
		var neediest *stock
		for _, s := range p.stocks {
			if s.missing(now, p.config.Age) > 0 && (neediest == nil || len(s.waiting)+s.making < len(neediest.waiting)+neediest.making) {
				neediest = s
			}
		}
		if neediest == nil {
			return
		}
		p.begin(ctx, neediest, now)
	}
}

// begin begins to make one.
func (p *Pool) begin(ctx context.Context, s *stock, now time.Time) {
	s.making++
	spec := s.want.Spec
	p.work.Go(func() {
		if b := p.fill(ctx, s, spec, now); b != nil {
			p.watch(ctx, b)
		}
	})
}

// fill makes one berth and puts it into its stock; nil when none could be made.
func (p *Pool) fill(ctx context.Context, s *stock, spec sandbox.Spec, now time.Time) *waiting {
	h, err := p.make(ctx, spec)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.touch()
	s.making--
	log := p.log(spec.Language)
	if err != nil {
		if ctx.Err() == nil && s.failed(time.Now(), err) {
			log.WithError(err).Warn("no berth can be made to wait; executions start in new ones, if they can")
		}
		return nil
	}
	b := &waiting{held: h, spec: spec, since: now, left: make(chan struct{})}
	if ctx.Err() != nil {
		p.drop(ctx, b)
		return nil
	}
	s.waiting = append(s.waiting, b)
	return b
}

// watch has Run look when a berth is gone that waits.
func (p *Pool) watch(ctx context.Context, b *waiting) {
	select {
	case <-b.Gone():
		p.touch()
	case <-b.left:
	case <-ctx.Done():
	}
}

// mourn notes that a berth is gone which waited. One that is gone soon may have died of what it was made from, as the next would:
// that is a making that failed.
func (p *Pool) mourn(s *stock, b *waiting, now time.Time) {
	log := p.log(b.spec.Language).WithField("berth", b.ID())
	if now.Sub(b.since) >= infancy {
		log.Warn("a berth that waited is gone; a new one is made")
	} else if s.failed(now, nil) {
		log.Warn("a berth is gone that had hardly begun to wait; others are made after a pause")
	}
}

// grow has one more wait, if the memory for it is there or can be had from the stock that was used longest ago. The caller holds
// mu, as for drop.
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
		if other.target > 0 && other.used.Before(idlest.used) && s.used.Sub(other.used) >= tenure {
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

// drop removes a berth that is out of its stock. One that cannot be removed keeps its slot.
func (p *Pool) drop(ctx context.Context, b *waiting) {
	p.work.Go(func() {
		for {
			err := b.Remove(context.WithoutCancel(ctx))
			if err == nil {
				return
			}
			p.log(b.spec.Language).WithError(err).WithField("berth", b.ID()).Warn("remove berth")
			select {
			case <-time.After(breath):
			case <-p.parted:
				return
			}
		}
	})
}
