package app

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
	"boomerang/internal/language"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
)

// prover scripts what comes of trying a network.
type prover struct {
	errs map[string]error // by language
	took time.Duration

	mu   sync.Mutex // guards what follows
	open []probe.Finding
	asks int
}

// now changes what is open from now on.
func (p *prover) now(open ...probe.Finding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
}

func (p *prover) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

func (p *prover) reach(_ context.Context, l language.Language) ([]probe.Finding, error) {
	time.Sleep(p.took) // in a bubble
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks++
	return p.open, p.errs[l.Name]
}

// cellar is a sandbox that only remembers what was prepared.
type cellar struct {
	sandbox.Sandbox
	prepared []string
}

func (c *cellar) Prepare(_ context.Context, spec sandbox.Spec) (sandbox.Berth, error) {
	c.prepared = append(c.prepared, spec.Network)
	return nil, nil
}

func withNetworks(p *prover) (*networks, *cellar, guarded) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	languages := []language.Language{{Name: "bash", Network: "none"}, {Name: "curl", Network: "egress"}, {Name: "wget", Network: "egress"}}
	n := newNetworks(func() []language.Language { return languages }, p.reach, logrus.NewEntry(log))
	c := &cellar{}
	return n, c, guarded{c, n}
}

func TestNoProgramIsPutOnANetworkThatIsNotProven(t *testing.T) {
	hole := []probe.Finding{{Name: "gateway and machine", Happened: "10.213.0.1:22 ECONNREFUSED"}}
	for name, c := range map[string]struct {
		prover *prover
		want   error // nil: it is put there
	}{
		"closed":                              {&prover{}, nil},
		"open":                                {&prover{open: hole}, sandbox.ErrNetwork},
		"not there":                           {&prover{errs: map[string]error{"curl": sandbox.ErrTemporary}}, sandbox.ErrNetwork},
		"the engine does not answer":          {&prover{errs: map[string]error{"curl": sandbox.ErrUnavailable}}, sandbox.ErrUnavailable},
		"the first language has no image":     {&prover{errs: map[string]error{"curl": sandbox.ErrImageUnavailable}}, nil},
		"no language has an image":            {&prover{errs: map[string]error{"curl": sandbox.ErrImageUnavailable, "wget": sandbox.ErrImageUnavailable}}, sandbox.ErrImageUnavailable},
		"no image and, with the second, open": {&prover{errs: map[string]error{"curl": sandbox.ErrImageUnavailable}, open: hole}, sandbox.ErrNetwork},
	} {
		n, cellar, g := withNetworks(c.prover)
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); errors.Is(err, sandbox.ErrTemporary) {
			t.Errorf("%s: %v, which would be tried again", name, err)
		}
		if (len(cellar.prepared) > 0) != (c.want == nil) {
			t.Errorf("%s: prepared %v", name, cellar.prepared)
		}
		if errors.Is(c.want, sandbox.ErrUnavailable) && errors.Is(n.prove(t.Context(), "egress", proofFresh), sandbox.ErrRefused) {
			t.Errorf("%s: the execution would end for it", name)
		}
		f, isFault := errors.AsType[*fault.Error](n.check(t.Context()))
		if isFault != (c.want != nil && !errors.Is(c.want, sandbox.ErrImageUnavailable)) || isFault && !strings.Contains(f.Sentence, "curl, wget") {
			t.Errorf("%s: the check says %v", name, f)
		}
		before := c.prover.tried()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "none"}); err != nil || c.prover.tried() != before {
			t.Errorf("%s: a program without a network: %v", name, err)
		}
	}
}

func TestAProofGrowsOldAndIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prover{took: time.Second}
		n, cellar, g := withNetworks(p)
		if n.check(t.Context()) == nil {
			t.Error("ready before anything is known")
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); err != nil || p.tried() != 1 {
			t.Errorf("the first program: %v after %d tries, want it to wait for the one that is under way", err, p.tried())
		}
		<-time.After(proofFresh)
		if p.tried() < 3 || n.check(t.Context()) != nil {
			t.Errorf("%d tries in %s", p.tried(), proofFresh)
		}
		p.now(probe.Finding{Name: "the firewall's rules"}) // somebody flushes them
		<-time.After(proofEvery + 2*proofTick)
		before := p.tried()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, sandbox.ErrNetwork) || p.tried() != before {
			t.Errorf("after the rules are gone: %v", err)
		}
		p.now()
		<-time.After(proofAgain + 2*proofTick)
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); err != nil || len(cellar.prepared) != 2 {
			t.Errorf("after they are back: %v, prepared %v", err, cellar.prepared)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-time.After(proofFresh)
		p.now(probe.Finding{Name: "the firewall's rules"})
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, sandbox.ErrNetwork) {
			t.Errorf("with an old proof: %v, want it tried anew", err)
		}
	})
}
