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

// engineProxy is a socket that forwards to the engine. After cut the engine is unreachable through it.
type engineProxy struct {
	t       *testing.T
	path    string
	network string // of the engine
	address string

	mu     sync.Mutex   // guards open and passed
	open   net.Listener // nil after cut
	passed []net.Conn   // both sides of all connections
	pumps  sync.WaitGroup
}

func newEngineProxy(t *testing.T) *engineProxy {
	t.Helper()
	host, err := url.Parse(engine(t).DaemonHost())
	if err != nil {
		t.Fatal(err)
	}
	g := &engineProxy{t: t, path: filepath.Join(t.TempDir(), "docker.sock"), network: host.Scheme, address: host.Host +
		host.Path}
	t.Cleanup(g.cut)
	return g
}

// listen makes the engine reachable.
func (g *engineProxy) listen() {
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
			if host, err := net.Dial(g.network, g.address); err != nil || !g.join(guest, host) {
				_ = guest.Close()
			}
		}
	})
}

// join connects a client to the engine. It returns false if the proxy was cut meanwhile.
func (g *engineProxy) join(guest, host net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		_ = host.Close()
		return false
	}
	g.passed = append(g.passed, guest, host)
	g.pumps.Go(func() { pump(host, guest) })
	g.pumps.Go(func() { pump(guest, host) })
	return true
}

// pump copies one direction to its end and closes that half, which is how the stdin of a job ends.
func pump(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// cut closes all connections and makes the engine unreachable.
func (g *engineProxy) cut() {
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

func TestExecutionsResumeWhenTheEngineIsBack(t *testing.T) {
	g := newEngineProxy(t)
	h := newHarness(t, func(c *config.Config) { c.Docker.Host = "unix://" + g.path })
	unready := func() bool {
		status, _ := h.failingChecks()
		return status == http.StatusServiceUnavailable
	}
	waiting := h.submit("echo waited", bash)
	if !unready() || h.state(waiting) != execution.Queued {
		t.Errorf("without an engine the server is ready, or the execution is %s, not queued", h.state(waiting))
	}
	g.listen()
	h.expectResult(waiting, completed("waited\n"))

	running := h.submit("echo before; sleep 2; echo after", bash)
	h.awaitOutput(running, "before\n")
	g.cut()
	if !eventually(t, unready) {
		t.Error("the server is ready without an engine")
	}
	accepted := h.submit("echo accepted", bash)
	g.listen()
	h.expectResult(running, completed("before\nafter\n"))
	h.expectResult(accepted, completed("accepted\n"))
	if !eventually(t, func() bool { return !unready() }) {
		t.Error("the server is not ready with its engine")
	}
}
