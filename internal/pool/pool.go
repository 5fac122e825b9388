// Package pool keeps berths ready before they are needed: the same making, called earlier. Each is used once. It is a sandbox
// itself, through which all berths of a node come: one that waits if there is one that fits, else one that is made on the
// spot. So it is also the one who gives them their slots, and knows which containers are somebody's.
//
// It refuses to know executions, languages and Docker.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/sandbox"
)

// Want says what should wait.
type Want struct {
	Spec sandbox.Spec // its Language names the want
	Size int          // how many; Auto follows the demand
}

// Auto is the size of a want that follows the demand: none as long as nobody asks, one more whenever somebody had to wait
// for the making, fewer again when they were not needed for a while.
const Auto = -1

// Deps are what a pool works with.
type Deps struct {
	Sandbox sandbox.Sandbox
	// Wants tells what should wait now. It is asked again and again.
	Wants func() []Want
	// Taken hears of each berth that was handed out, and whether it had waited.
	Taken func(language string, warm bool)
	Log   *logrus.Entry
}

// Pool is the sandbox of one node. Its methods may be called at the same time.
type Pool struct {
	Deps
	config  Config
	changed chan struct{} // cap 1: Run has something to look at
	gate    chan struct{} // held while a berth is made

	mu     sync.Mutex // guards all below
	books  books
	stocks map[string]*stock // by the want's language

	work   sync.WaitGroup // makings, watches and removals
	parted chan struct{}  // closed when removals have to end

	complete chan struct{} // closed when what an earlier process left is in the books
	found    sync.Once     // closes complete
}

var _ sandbox.Sandbox = (*Pool)(nil)

// New makes a pool in which nothing waits until Run.
func New(c Config, deps Deps) *Pool {
	return &Pool{
		Deps: deps, config: c, changed: make(chan struct{}, 1), gate: make(chan struct{}, c.Abreast),
		books: newBooks(), stocks: make(map[string]*stock), parted: make(chan struct{}), complete: make(chan struct{}),
	}
}

// Prepare implements sandbox.Sandbox. The spec's slot is the pool's to choose.
func (p *Pool) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("prepare berth: %w", context.Cause(ctx))
	}
	if b := p.take(ctx, spec); b != nil {
		p.Taken(spec.Language, true)
		return b, nil
	}
	spec.Rehearsal = nil // its job comes at once
	b, err := p.make(ctx, spec)
	if err != nil {
		return nil, err
	}
	p.Taken(spec.Language, false)
	return b, nil
}

// Try makes a berth for nobody and removes it, to find out whether one can be made. It waits until Berths was asked for what an
// earlier process left. The errors are those of Prepare.
func (p *Pool) Try(ctx context.Context, spec sandbox.Spec) error {
	select {
	case <-p.complete:
	case <-ctx.Done():
		return fmt.Errorf("try a berth: %w", context.Cause(ctx))
	}
	spec.Rehearsal = nil
	h, err := p.make(ctx, spec)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(ctx, &waiting{held: h, spec: spec})
	return nil
}

// take hands out a berth that waits; nil when none fits.
func (p *Pool) take(ctx context.Context, spec sandbox.Spec) sandbox.Berth {
	b := p.pick(spec)
	if b == nil {
		return nil
	}
	time.AfterFunc(lull, p.touch)
	if b.spec.Limits.Resized(spec.Limits) == b.spec.Limits {
		return b.held
	}
	if err := b.Resize(ctx, spec.Limits); err != nil {
		p.log(spec.Language).WithError(err).Warn("a berth that waited cannot be resized; a new one is made")
		p.spoil(ctx, b, err)
		return nil
	}
	return b.held
}

// pick takes the longest waiting berth that fits out of its stock. That there is none is what makes a stock grow.
func (p *Pool) pick(spec sandbox.Spec) *waiting {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stocks[spec.Language]
	if s == nil || !s.want.Spec.Fits(spec) {
		return nil
	}
	now := time.Now()
	if now.Before(s.rigid) && s.want.Spec.Limits.Resized(spec.Limits) != s.want.Spec.Limits {
		return nil
	}
	s.used = now
	if b := s.pick(spec); b != nil {
		return b
	}
	if s.want.Size == Auto {
		p.grow(s)
		p.touch()
	}
	return nil
}

// spoil removes a berth that nobody may have. Where it was there and the engine answered, the runtime cannot resize, and is
// not asked each time.
func (p *Pool) spoil(ctx context.Context, b *waiting, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.there() && ctx.Err() == nil && !errors.Is(err, sandbox.ErrUnavailable) {
		p.stocks[b.spec.Language].rigid = time.Now().Add(p.config.Idle)
	}
	p.drop(ctx, b)
}

// make makes a berth in a slot of its own.
func (p *Pool) make(ctx context.Context, spec sandbox.Spec) (*held, error) {
	defer p.pass(ctx)()
	p.mu.Lock()
	spec.Slot = p.books.open()
	p.mu.Unlock()
	b, err := p.Sandbox.Prepare(ctx, spec)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.books.abandon(spec.Slot)
		return nil, err
	}
	h := &held{Berth: b, pool: p, slot: spec.Slot}
	p.books.enter(h)
	return h, nil
}

// patience is how long a making counts: one that hangs must not hold up all.
const patience = 2 * time.Second

// pass waits until fewer than Abreast are in the making. Who waits stays in line: were it let in after a time, all would be at
// once, and an engine that is asked for two hundred is slowest.
func (p *Pool) pass(ctx context.Context) (done func()) {
	select {
	case p.gate <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	leave := sync.OnceFunc(func() { <-p.gate })
	late := time.AfterFunc(patience, leave)
	return func() {
		late.Stop()
		leave()
	}
}

// Berths implements sandbox.Sandbox. What it finds keeps its slot until it is removed.
func (p *Pool) Berths(ctx context.Context) ([]sandbox.Found, error) {
	found, err := p.Sandbox.Berths(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.books.complete = true
	p.found.Do(func() { close(p.complete) })
	for i, f := range found {
		h := p.books.held[f.Berth.ID()]
		if h == nil {
			h = &held{Berth: f.Berth, pool: p, slot: f.Slot}
			p.books.take(f.Slot)
			p.books.enter(h)
		}
		found[i].Berth = h
	}
	p.touch()
	return found, nil
}

// Holds tells whether a berth is somebody's: it waits, somebody has it, or it is in the making. Until what an earlier process
// left was asked for by Berths, any may be.
func (p *Pool) Holds(f sandbox.Found) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.books.complete || p.books.held[f.Berth.ID()] != nil || p.books.making[f.Slot]
}

// Waiting tells how many berths wait, by language.
func (p *Pool) Waiting() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := make(map[string]int, len(p.stocks))
	for name, s := range p.stocks {
		n[name] = len(s.waiting)
	}
	return n
}

// Renew removes what waits, and has others made: what they were made from may have changed, and what could not be made may be
// possible now. Nobody is handed one whose making began before.
func (p *Pool) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stocks {
		s.renew(time.Now())
	}
	p.touch()
}

// touch has Run look.
func (p *Pool) touch() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Pool) log(language string) *logrus.Entry { return p.Log.WithField("language", language) }
