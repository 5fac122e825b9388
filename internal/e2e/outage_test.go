//go:build e2e

package e2e

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// gate is a socket before the engine's own. While it is shut there is no engine for who comes that way.
type gate struct {
	t       *testing.T
	path    string
	network string // of the engine
	address string

	mu     sync.Mutex   // guards open and passed
	open   net.Listener // nil when shut
	passed []net.Conn   // both sides of all that ever passed
	pumps  sync.WaitGroup
}

func newGate(t *testing.T) *gate {
	t.Helper()
	host, err := url.Parse(engine(t).DaemonHost())
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, path: filepath.Join(t.TempDir(), "docker.sock"), network: host.Scheme, address: host.Host + host.Path}
	t.Cleanup(g.shut)
	return g
}

func (g *gate) unlock() {
	g.t.Helper()
	listener, err := net.Listen("unix", g.path)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.open = listener
	g.mu.Unlock()
	g.pumps.Go(func() {
		for {
			guest, err := listener.Accept()
			if err != nil {
				return
			}
			if host, err := net.Dial(g.network, g.address); err != nil || !g.lead(guest, host) {
				_ = guest.Close()
			}
		}
	})
}

// lead joins a guest to the host; false when the gate was shut meanwhile.
func (g *gate) lead(guest, host net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		_ = host.Close()
		return false
	}
	g.passed = append(g.passed, guest, host)
	g.pumps.Go(func() { pass(host, guest) })
	g.pumps.Go(func() { pass(guest, host) })
	return true
}

// pass carries one direction to its end and tells the other side of it: a job's stdin ends so.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// shut cuts off whoever is on his way.
func (g *gate) shut() {
	g.mu.Lock()
	if g.open != nil {
		_ = g.open.Close()
		g.open = nil
	}
	for _, c := range g.passed {
		_ = c.Close()
	}
	g.mu.Unlock()
	g.pumps.Wait()
}

func TestWorkGoesOnByItselfWhenTheEngineIsBack(t *testing.T) {
	g := newGate(t)
	h := enter(t, func(c *config.Config) { c.Docker.Host = "unix://" + g.path })
	unready := func() bool {
		status, _ := h.failing()
		return status == http.StatusServiceUnavailable
	}
	waiting := h.submit("echo waited", bash)
	if !unready() || h.state(waiting) != execution.Queued {
		t.Errorf("without an engine it is ready, or the execution is %s", h.state(waiting))
	}
	g.unlock()
	h.expect(waiting, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "waited\n"})

	running := h.submit("echo before; sleep 2; echo after", bash)
	h.running(running, "before\n")
	g.shut()
	if !eventually(t, unready) {
		t.Error("without an engine it is ready")
	}
	accepted := h.submit("echo accepted", bash)
	g.unlock()
	h.expect(running, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "before\nafter\n"})
	h.expect(accepted, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "accepted\n"})
	if !eventually(t, func() bool { return !unready() }) {
		t.Error("with its engine it is not ready")
	}
}
