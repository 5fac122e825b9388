package app

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
)

// networks proves again and again that the networks which languages are on are closed, by trying to get out. While one is not
// proven, no program is put on it: rules of a firewall are gone after a reboot, and whoever flushes them does not ask us.
type networks struct {
	languages func() []language.Language
	reach     func(context.Context, language.Language) ([]probe.Finding, error) // what is open
	log       *logrus.Entry

	proving chan struct{} // held by whoever tries, one at a time

	mu     sync.Mutex // guards proofs
	proofs map[string]proof
}

// proof is what came of trying one network.
type proof struct {
	at  time.Time
	err error // nil: it is closed
}

const (
	proofTick    = 5 * time.Second // how soon it is seen that a language is on another network now
	proofEvery   = time.Minute
	proofAgain   = 15 * time.Second // when it failed
	proofFresh   = 3 * time.Minute  // beyond, a program waits for the next
	proofTimeout = 2 * time.Minute
)

func newNetworks(languages func() []language.Language, reach func(context.Context, language.Language) ([]probe.Finding, error), log *logrus.Entry) *networks {
	return &networks{languages: languages, reach: reach, log: log, proving: make(chan struct{}, 1), proofs: make(map[string]proof)}
}

// openNetworks makes the prover of an engine. It has a node of its own, whose containers hold the doctor's program as well.
func openNetworks(c docker.Config, engine *docker.Docker, node string, epoch int64, languages func() []language.Language, log *logrus.Entry) (*networks, *docker.Docker, error) {
	prober, err := docker.New(c, node+"-networks", epoch, log, probe.Program)
	if err != nil {
		return nil, nil, err
	}
	return newNetworks(languages, func(ctx context.Context, l language.Language) ([]probe.Finding, error) {
		machine, err := engine.Machine(ctx)
		if err != nil {
			return nil, err
		}
		d := doctor.Doctor{Sandbox: prober, Program: docker.Carried(probe.Program), Networks: c.Networks, Machine: machine}
		return d.Reach(ctx, l)
	}, log), prober, nil
}

// used are the networks that languages are on, each with those languages.
func (n *networks) used() map[string][]language.Language {
	used := make(map[string][]language.Language)
	for _, l := range n.languages() {
		if l.Network != network.None && l.Network != "" {
			used[l.Network] = append(used[l.Network], l)
		}
	}
	return used
}

// Run proves until ctx ends.
func (n *networks) Run(ctx context.Context) error {
	tick := time.NewTicker(proofTick)
	defer tick.Stop()
	for {
		for name := range n.used() {
			due := proofEvery
			if p, ok := n.known(name); ok && p.err != nil {
				due = proofAgain
			}
			_ = n.prove(ctx, name, due) // it keeps what came of it
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// prove returns what is known of a network, and tries it when that is older than fresh. Errors: sandbox.ErrNetwork,
// sandbox.ErrUnavailable when nothing could be found out because the engine did not answer.
func (n *networks) prove(ctx context.Context, name string, fresh time.Duration) error {
	if p, ok := n.known(name); ok && time.Since(p.at) < fresh {
		return p.err
	}
	began := time.Now()
	select {
	case n.proving <- struct{}{}:
		defer func() { <-n.proving }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p, ok := n.known(name); ok && p.at.After(began) { // somebody else did, meanwhile
		return p.err
	}
	bounded, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	err := n.try(bounded, name)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	n.keep(name, err)
	return err
}

// try plays the attack in the first language of a network whose image is there.
func (n *networks) try(ctx context.Context, name string) error {
	err := fmt.Errorf("%w: no language is on it", sandbox.ErrNetwork)
	for _, l := range n.used()[name] {
		var open []probe.Finding
		open, err = n.reach(ctx, l)
		switch {
		case errors.Is(err, sandbox.ErrImageUnavailable):
			continue
		case errors.Is(err, sandbox.ErrUnavailable):
			return err
		case err != nil:
			return fmt.Errorf("%w: %s", sandbox.ErrNetwork, err.Error()) // of the probe's container, not of the program's: not for errors.Is
		case len(open) > 0:
			return fmt.Errorf("%w: %s: %s", sandbox.ErrNetwork, open[0].Name, open[0].Happened)
		}
		return nil
	}
	return err
}

func (n *networks) known(name string) (proof, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.proofs[name]
	return p, ok
}

func (n *networks) keep(name string, err error) {
	n.mu.Lock()
	before, ok := n.proofs[name]
	n.proofs[name] = proof{at: time.Now(), err: err}
	n.mu.Unlock()
	log := n.log.WithField("network", name)
	switch {
	case errors.Is(err, sandbox.ErrImageUnavailable):
	case err != nil && (!ok || before.err == nil):
		log.WithError(err).Error("a network is not proven to be closed; no program is put on it")
	case err == nil && (!ok || before.err != nil):
		log.Info("a network is proven to be closed")
	}
}

// check names the networks that no program is put on, and the languages that do not run for it.
func (n *networks) check(context.Context) error {
	for name, languages := range n.used() {
		if p, ok := n.known(name); ok && (p.err == nil || errors.Is(p.err, sandbox.ErrImageUnavailable)) {
			continue // where there is no image another check fails, or none of the languages is offered
		}
		names := make([]string, len(languages))
		for i, l := range languages {
			names[i] = l.Name
		}
		return fault.New(fault.ServiceUnavailable, "The network %s is not proven to be closed, so what is on it does not run: %s. See boomerang network check.",
			name, strings.Join(names, ", "))
	}
	return nil
}

// provenOnly is a sandbox that puts nobody on a network that is not proven to be closed.
type provenOnly struct {
	sandbox.Sandbox
	networks *networks
}

// Prepare implements sandbox.Sandbox.
func (g provenOnly) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	if spec.Network != network.None && spec.Network != "" {
		if err := g.networks.prove(ctx, spec.Network, proofFresh); err != nil {
			return nil, err
		}
	}
	return g.Sandbox.Prepare(ctx, spec)
}
