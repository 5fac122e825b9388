package networkcheck

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

// fakeProbe scripts the outcome of attacks.
type fakeProbe struct {
	errs map[string]error // by language
	took time.Duration

	mu   sync.Mutex // guards the fields below
	open []probe.Finding
	asks int
}

// setOpen sets the open addresses.
func (p *fakeProbe) setOpen(open ...probe.Finding) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = open
}

func (p *fakeProbe) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

func (p *fakeProbe) reach(_ context.Context, l language.Language) ([]probe.Finding, error) {
	time.Sleep(p.took) // in a synctest bubble
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks++
	return p.open, p.errs[l.Name]
}

// recorder is a sandbox that records the networks of prepared containers.
type recorder struct {
	sandbox.Sandbox
	prepared []string
}

func (c *recorder) Prepare(_ context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	c.prepared = append(c.prepared, spec.Network)
	return nil, nil
}

func newTestChecker(p *fakeProbe) (*Checker, *recorder, sandbox.Sandbox) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	languages := []language.Language{
		{Name: "bash", Network: "none"}, {Name: "curl", Network: "egress"}, {Name: "wget", Network: "egress"},
	}
	n := newChecker(func() []language.Language { return languages }, p.reach, logrus.NewEntry(log))
	box := &recorder{}
	return n, box, n.Guard(box)
}

func TestNoContainerIsMadeOnANetworkThatIsNotProven(t *testing.T) {
	hole := []probe.Finding{{Name: "gateway and machine", Happened: "10.213.0.1:22 ECONNREFUSED"}}
	for name, c := range map[string]struct {
		probe *fakeProbe
		want  error // nil if the container is made
	}{
		"closed": {&fakeProbe{}, nil},
		"open":   {&fakeProbe{open: hole}, sandbox.ErrNetwork},
		"missing": {
			&fakeProbe{errs: map[string]error{"curl": sandbox.ErrTemporary}},
			sandbox.ErrNetwork,
		},
		"the engine does not answer": {
			&fakeProbe{errs: map[string]error{"curl": sandbox.ErrUnavailable}},
			sandbox.ErrUnavailable,
		},
		"the first language has no image": {
			&fakeProbe{errs: map[string]error{"curl": sandbox.ErrImageUnavailable}},
			nil,
		},
		"no language has an image": {&fakeProbe{errs: map[string]error{
			"curl": sandbox.ErrImageUnavailable,
			"wget": sandbox.ErrImageUnavailable,
		}}, sandbox.ErrImageUnavailable},
		"no image and, with the second, open": {&fakeProbe{
			errs: map[string]error{"curl": sandbox.ErrImageUnavailable},
			open: hole,
		}, sandbox.ErrNetwork},
	} {
		n, box, g := newTestChecker(c.probe)
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); errors.Is(err, sandbox.ErrTemporary) {
			t.Errorf("%s: %v is temporary, so the dispatcher would retry", name, err)
		}
		if (len(box.prepared) > 0) != (c.want == nil) {
			t.Errorf("%s: prepared %v", name, box.prepared)
		}
		if errors.Is(c.want, sandbox.ErrUnavailable) &&
			errors.Is(n.prove(t.Context(), "egress", proofMaxAge), sandbox.ErrRefused) {
			t.Errorf("%s: the execution would fail", name)
		}
		f, isFault := errors.AsType[*fault.Error](n.Check(t.Context()))
		if isFault != (c.want != nil && !errors.Is(c.want, sandbox.ErrImageUnavailable)) || isFault &&
			!strings.Contains(f.Sentence, "curl, wget") {
			t.Errorf("%s: the check says %v", name, f)
		}
		before := c.probe.tried()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "none"}); err != nil || c.probe.tried() != before {
			t.Errorf("%s: a program without a network: %v", name, err)
		}
	}
}

func TestAProofExpiresAndIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &fakeProbe{took: time.Second}
		n, box, g := newTestChecker(p)
		if n.Check(t.Context()) == nil {
			t.Error("the check passes before the first proof")
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); err != nil || p.tried() != 1 {
			t.Errorf("the first container: %v after %d proofs, want it to wait for the proof in progress",
				err, p.tried())
		}
		<-time.After(proofMaxAge)
		if p.tried() < 3 || n.Check(t.Context()) != nil {
			t.Errorf("%d tries in %s", p.tried(), proofMaxAge)
		}
		p.setOpen(probe.Finding{Name: "the firewall's rules"}) // an operator flushes them
		<-time.After(proofEvery + 2*interval)
		before := p.tried()
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, sandbox.ErrNetwork) ||
			p.tried() != before {
			t.Errorf("after the rules are gone: %v", err)
		}
		p.setOpen()
		<-time.After(retryEvery + 2*interval)
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); err != nil || len(box.prepared) != 2 {
			t.Errorf("after they are back: %v, prepared %v", err, box.prepared)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-time.After(proofMaxAge)
		p.setOpen(probe.Finding{Name: "the firewall's rules"})
		if _, err := g.Prepare(t.Context(), sandbox.Spec{Network: "egress"}); !errors.Is(err, sandbox.ErrNetwork) {
			t.Errorf("with an old proof: %v, want a new proof", err)
		}
	})
}
