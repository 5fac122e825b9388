// Package networkcheck proves that the networks of languages are closed, by attempts to reach forbidden addresses from
// inside. While a network is not proven to be closed, no program is put on it: firewall rules are lost after a reboot,
// or when an operator flushes them.
//
// It does not know executions, HTTP and SQL.
package networkcheck

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/doctor"
	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/network"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/semaphore"
)

const (
	interval     = 5 * time.Second // the longest time until a changed network of a language is noticed
	proofEvery   = time.Minute
	retryEvery   = 15 * time.Second // after a failed proof
	proofMaxAge  = 3 * time.Minute  // a container waits for a new proof if the last is older
	proofTimeout = 2 * time.Minute
)

// Deps are the collaborators and settings of a Checker.
type Deps struct {
	Config    docker.Config
	Engine    *docker.Docker
	Node      string
	Epoch     int64
	Languages func() []language.Language
	Log       *logrus.Entry
}

// Checker proves networks, one at a time. Its methods may be called at the same time.
type Checker struct {
	languages func() []language.Language
	reach     func(context.Context, language.Language) ([]probe.Finding, error) // returns the open addresses
	prober    *docker.Docker
	log       *logrus.Entry

	proving *semaphore.Semaphore

	mu     sync.Mutex // guards proofs
	proofs map[string]proof
}

// proof is the outcome of an attempt to get out of one network.
type proof struct {
	at  time.Time
	err error // nil if the network is closed
}

// New makes a checker for the networks of an engine. The checker's containers belong to a node of their own, because
// they hold the program of the attacks.
func New(deps Deps) (*Checker, error) {
	prober, err := docker.New(deps.Config, deps.Node+"-networks", deps.Epoch, deps.Log, probe.Program)
	if err != nil {
		return nil, err
	}
	reach := func(ctx context.Context, l language.Language) ([]probe.Finding, error) {
		machine, err := deps.Engine.Machine(ctx)
		if err != nil {
			return nil, err
		}
		d := doctor.Doctor{
			Sandbox: prober, Program: docker.Carried(probe.Program), Networks: deps.Config.Networks, Machine: machine,
		}
		return d.Reach(ctx, l)
	}
	c := newChecker(deps.Languages, reach, deps.Log)
	c.prober = prober
	return c, nil
}

func newChecker(
	languages func() []language.Language,
	reach func(context.Context, language.Language) ([]probe.Finding, error),
	log *logrus.Entry,
) *Checker {
	return &Checker{
		languages: languages, reach: reach, log: log,
		proving: semaphore.New(1), proofs: make(map[string]proof),
	}
}

// Close closes the connection to the engine.
func (c *Checker) Close() error { return c.prober.Close() }

// Run proves the networks of all languages again and again until ctx ends, and returns nil. It first removes the
// containers that the checker of an earlier process left.
func (c *Checker) Run(ctx context.Context) error {
	if c.prober != nil && len(c.used()) > 0 {
		if err := c.prober.Dismantle(ctx); err != nil && ctx.Err() == nil {
			c.log.WithError(err).Warn("remove what was left of proving networks")
		}
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		for name := range c.used() {
			maxAge := proofEvery
			if p, ok := c.known(name); ok && p.err != nil {
				maxAge = retryEvery
			}
			_ = c.prove(ctx, name, maxAge) // prove stores the outcome
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Check returns a fault that names a network which is not proven to be closed, and its languages.
func (c *Checker) Check(context.Context) error {
	for name, languages := range c.used() {
		// Without an image there is no proof, but the languages do not run either.
		if p, ok := c.known(name); ok && (p.err == nil || errors.Is(p.err, sandbox.ErrImageUnavailable)) {
			continue
		}
		names := make([]string, len(languages))
		for i, l := range languages {
			names[i] = l.Name
		}
		return fault.New(fault.ServiceUnavailable, "The network %s is not proven to be closed, so what is on it does "+
			"not run: %s. See boomerang network check.", name, strings.Join(names, ", "))
	}
	return nil
}

// Guard returns a sandbox that makes no container on a network that is not proven to be closed. Additional errors of
// Prepare: sandbox.ErrNetwork; sandbox.ErrUnavailable if the engine did not answer during a proof.
func (c *Checker) Guard(box sandbox.Sandbox) sandbox.Sandbox {
	return guarded{Sandbox: box, checker: c}
}

type guarded struct {
	sandbox.Sandbox
	checker *Checker
}

// Prepare implements sandbox.Sandbox.
func (g guarded) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	if spec.Network != network.None && spec.Network != "" {
		if err := g.checker.prove(ctx, spec.Network, proofMaxAge); err != nil {
			return nil, err
		}
	}
	return g.Sandbox.Prepare(ctx, spec)
}

// used returns the networks that languages use, each with its languages.
func (c *Checker) used() map[string][]language.Language {
	used := make(map[string][]language.Language)
	for _, l := range c.languages() {
		if l.Network != network.None && l.Network != "" {
			used[l.Network] = append(used[l.Network], l)
		}
	}
	return used
}

// prove returns the outcome of the last proof of a network, or of a new one if the last is older than maxAge. Errors:
// sandbox.ErrNetwork; sandbox.ErrUnavailable if the engine did not answer.
func (c *Checker) prove(ctx context.Context, name string, maxAge time.Duration) error {
	if p, ok := c.known(name); ok && time.Since(p.at) < maxAge {
		return p.err
	}
	began := time.Now()
	release, err := c.proving.Acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if p, ok := c.known(name); ok && p.at.After(began) { // another goroutine proved the network meanwhile
		return p.err
	}
	bounded, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	err = c.attack(bounded, name)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.store(name, err)
	return err
}

// attack tries to get out of a network, in the first of its languages whose image is present.
func (c *Checker) attack(ctx context.Context, name string) error {
	err := fmt.Errorf("%w: no language is on it", sandbox.ErrNetwork)
	for _, l := range c.used()[name] {
		var open []probe.Finding
		open, err = c.reach(ctx, l)
		switch {
		case errors.Is(err, sandbox.ErrImageUnavailable):
			continue
		case errors.Is(err, sandbox.ErrUnavailable):
			return err
		case err != nil:
			// The text only: the kind of the error concerns the container of the attack, not that of the execution.
			return fmt.Errorf("%w: %s", sandbox.ErrNetwork, err.Error())
		case len(open) > 0:
			return fmt.Errorf("%w: %s: %s", sandbox.ErrNetwork, open[0].Name, open[0].Happened)
		}
		return nil
	}
	return err
}

func (c *Checker) known(name string) (proof, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.proofs[name]
	return p, ok
}

// store stores the outcome of a proof and logs a change.
func (c *Checker) store(name string, err error) {
	c.mu.Lock()
	before, ok := c.proofs[name]
	c.proofs[name] = proof{at: time.Now(), err: err}
	c.mu.Unlock()
	log := c.log.WithField("network", name)
	switch {
	case errors.Is(err, sandbox.ErrImageUnavailable):
	case err != nil && (!ok || before.err == nil):
		log.WithError(err).Error("a network is not proven to be closed; no program is put on it")
	case err == nil && (!ok || before.err != nil):
		log.Info("a network is proven to be closed")
	}
}
