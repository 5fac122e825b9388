//go:build integration

package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	dockernetwork "github.com/docker/docker/api/types/network"
	"golang.org/x/sys/unix"

	"boomerang/internal/network"
)

// setUpNetworks makes the networks and the rules under a prefix of the tests' own. The test removes them at its end.
func (k *kit) setUpNetworks(t *testing.T, change func(*network.Config)) network.Config {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("rules of the firewall are root's")
	}
	if _, err := k.client.NetworkInspect(t.Context(), "bridge", dockernetwork.InspectOptions{}); errdefs.IsNotFound(
		err) {
		t.Skip(
			"the engine runs with --bridge=none: its containers are not on this machine's network, and there is no " +
				"common bridge to compare with")
	}
	c := network.Defaults()
	c.Prefix = "bmtest"
	change(&c)
	d := k.open(t)
	firewall := network.NewFirewall(c)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, b := range c.Bridges() {
			if err := d.RemoveNetwork(ctx, b); err != nil {
				t.Error(err)
			}
		}
		if err := firewall.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := firewall.Lay(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range c.Bridges() {
		if err := d.MakeNetwork(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// The world is a network namespace beside the machine, to which the machine forwards packets. It has one public
// address, and closed addresses of every kind: a metadata service, and private networks.
const (
	worldPublic = "11.22.33.44" // an unused public address, which the machine finds here during a test
	worldWay    = "11.22.33.1"  // the machine's end
)

var worldClosed = []string{
	"169.254.169.254", "10.66.0.7", "172.31.77.7", "192.168.77.7", "100.64.7.7", "168.63.129.16",
	"198.51.100.7", "240.7.7.7",
}

// world holds the servers in the namespace and on the machine, on every address.
type world struct {
	port    int // of TCP and UDP on all addresses
	queries atomic.Int64
}

// newWorld makes the world. The namespace belongs to a thread that ends with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	thread, wired, ready, done, gone := make(chan int), make(chan struct{}), make(chan error), make(chan struct{}),
		make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		thread <- unix.Gettid()
		<-wired
		ready <- errors.Join(err, w.configure(t))
		<-done
	}()
	inside := strconv.Itoa(<-thread)
	t.Cleanup(func() {
		close(done)
		<-gone
		_ = run("ip", "link", "del", "bmtest-w") // usually gone with the namespace
	})
	err := errors.Join(
		run("ip", "link", "add", "bmtest-w", "type", "veth", "peer", "name", "bmtest-i"),
		run("ip", "link", "set", "bmtest-i", "netns", inside),
		run("ip", "addr", "add", worldWay+"/24", "dev", "bmtest-w"),
		run("ip", "link", "set", "bmtest-w", "up"))
	close(wired)
	if err := errors.Join(err, <-ready); err != nil {
		t.Fatal(err)
	}
	for _, addr := range worldClosed {
		ip(t, "route", "replace", addr+"/32", "via", worldPublic, "dev", "bmtest-w")
	}
	w.listen(t)
	return w
}

// configure gives the namespace of this thread its addresses and services.
func (w *world) configure(t *testing.T) error {
	t.Helper()
	inside := [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", worldPublic + "/24", "dev", "bmtest-i"},
		{"link", "set", "bmtest-i", "up"},
		{"route", "add", "default", "via", worldWay},
	}
	for _, addr := range worldClosed {
		inside = append(inside, []string{"addr", "add", addr + "/32", "dev", "lo"})
	}
	for _, step := range inside {
		if err := run("ip", step...); err != nil {
			return err
		}
	}
	w.listen(t)
	w.nameServer(t, worldPublic)
	return nil
}

// listen answers on TCP and UDP, on every address of this thread's namespace. An answer by UDP must come from the
// address of the query, so each address has a socket of its own.
func (w *world) listen(t *testing.T) {
	t.Helper()
	tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", w.port))
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = tcp.Close() })
	w.port = int(netip.MustParseAddrPort(tcp.Addr().String()).Port())
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello\n"))
			_ = c.Close()
		}
	}()
	for _, address := range machineAddresses(t) {
		udp, err := net.ListenPacket("udp", net.JoinHostPort(address, strconv.Itoa(w.port)))
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = udp.Close() })
		go echo(udp, func(b []byte) []byte { return b })
	}
}

// forward makes the machine forward one of its ports to the world, as Docker does for published ports. It returns the
// port.
func (w *world) forward(t *testing.T) string {
	t.Helper()
	const port = "4712"
	rule := []string{
		"PREROUTING", "-d", worldWay, "-p", "tcp", "--dport", port, "-j", "DNAT", "--to-destination",
		fmt.Sprintf("%s:%d", worldPublic, w.port),
	}
	if err := run("iptables", append([]string{"-w", "10", "-t", "nat", "-A"}, rule...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run("iptables", append([]string{"-w", "10", "-t", "nat", "-D"}, rule...)...); err != nil {
			t.Error(err)
		}
	})
	return port
}

// nameServer counts its queries, and answers that no name exists.
func (w *world) nameServer(t *testing.T, host string) {
	t.Helper()
	udp, err := net.ListenPacket("udp", host+":53")
	if err != nil {
		t.Error(err)
		return
	}
	t.Cleanup(func() { _ = udp.Close() })
	go echo(udp, func(b []byte) []byte {
		const header, answer, noSuchName = 12, 0x80, 3
		if len(b) < header {
			return nil
		}
		w.queries.Add(1)
		b[2] |= answer
		b[3] = b[3]&0xf0 | noSuchName
		return b
	})
}

func echo(udp net.PacketConn, answer func([]byte) []byte) {
	b := make([]byte, 1500)
	for {
		n, from, err := udp.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = udp.WriteTo(answer(b[:n]), from)
	}
}

func run(tool string, args ...string) error {
	out, err := exec.Command(tool, args...).CombinedOutput() // in the namespace of this thread
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", tool, strings.Join(args, " "), err, out)
	}
	return nil
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if err := run("ip", args...); err != nil {
		t.Fatal(err)
	}
}
