//go:build integration

package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"boomerang/internal/network"
	"boomerang/internal/proxy"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

const pythonImage = "boomerang/python:latest"

// attack tries targets such as "tcp 10.0.0.1 80" at the same time, and prints the result and the target on one line
// each. ANSWERED is a hole. REFUSED is a hole as well: a packet came back.
const attack = `
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def go(target):
    proto, host, port = target.split()
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=kind, flags=socket.AI_NUMERICHOST)[0]
        s = socket.socket(family, kind)
        s.settimeout(3)
        s.connect(address)
        if proto == "udp": s.send(b"hello")
        return "ANSWERED" if s.recv(5) == b"hello" else "CLOSED"
    except ConnectionRefusedError: return "REFUSED"
    except TimeoutError: return "silent"
    except OSError as e: return "none (%s)" % e.strerror
targets = json.loads(%q)
with ThreadPoolExecutor(64) as pool:
    for target, answer in zip(targets, pool.map(go, targets)): print(answer + ": " + target)
`

func attackOn(t *testing.T, targets []string) string {
	t.Helper()
	text, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(attack, "%q", fmt.Sprintf("%q", text), 1)
}

// answers parses the output of an attack.
func answers(t *testing.T, printed string, targets []string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for line := range strings.Lines(printed) {
		answer, target, _ := strings.Cut(strings.TrimSpace(line), ": ")
		all[target] = answer
	}
	if len(all) != len(targets) {
		t.Errorf("%d of %d targets were tried:\n%s", len(all), len(targets), printed)
	}
	return all
}

func reached(answer string) bool {
	return answer == "ANSWERED" || answer == "REFUSED" || answer == "CLOSED"
}

// onNetwork opens a process of the node with the networks of c.
func (k *kit) onNetwork(t *testing.T, c network.Config) *Docker {
	t.Helper()
	d := k.open(t)
	d.config.Networks = c
	return d
}

func pythonSpec(k *kit, network string, slot int) sandbox.Spec {
	s := k.spec()
	s.Image, s.Network, s.Slot, s.Execution = pythonImage, network, slot, "exec_secret"
	s.Limits.PIDs = 256
	return s
}

// program runs Python in a container.
func (k *kit) program(t *testing.T, d *Docker, spec sandbox.Spec, code string) string {
	t.Helper()
	job := sandboxtest.Program{}.Job()
	job.Code, job.File, job.Argv = code, "main.py", []string{"python3", "main.py"}
	job.Env = map[string]string{"RES_OPTIONS": "timeout:1 attempts:1"} // do not wait for unanswered queries
	stdout, stderr, outcome := follow(t, prepare(t, d, spec), job)
	if outcome.Stdout.ExitCode != 0 {
		t.Fatalf("exit code %d: %s", outcome.Stdout.ExitCode, stderr)
	}
	return stdout
}

const server = `
import socket, threading
s = socket.create_server(("", 4711))
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"hello\n")
    c.close()
`

// neighbour starts a container on a network that answers at port 4711. It returns the container's address.
func (k *kit) neighbour(t *testing.T, d *Docker, network string, slot int) string {
	t.Helper()
	b := prepare(t, d, pythonSpec(k, network, slot))
	job := sandboxtest.Program{}.Job()
	job.Code, job.File, job.Argv, job.Timeout = server, "main.py", []string{"python3", "main.py"}, time.Hour
	if err := b.Assign(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready := make(chan struct{})
	var once sync.Once
	var follower sync.WaitGroup
	follower.Go(func() {
		_, _ = b.Follow(ctx, job.Nonce, writerFunc(func([]byte) { once.Do(func() { close(ready) }) }), io.Discard, nil)
	})
	t.Cleanup(func() { stop(); follower.Wait() })
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the neighbour does not get ready")
	}
	bridge, _ := d.config.Networks.Bridge(network)
	got, err := k.client.ContainerInspect(t.Context(), b.id)
	if err != nil {
		t.Fatal(err)
	}
	return got.NetworkSettings.Networks[bridge.Name].IPAddress
}

// plain runs Python like `docker run`: with the engine's defaults, on the default bridge or another network.
func (k *kit) plain(t *testing.T, code string, change func(*container.Config, *container.HostConfig)) string {
	t.Helper()
	c, h := &container.Config{
		Image: pythonImage, Cmd: []string{"python3", "-c", code}, Entrypoint: []string{},
		Labels: map[string]string{labelNode: k.node, labelEpoch: "1", labelSlot: "7"},
	}, &container.HostConfig{}
	change(c, h)
	created, err := k.client.ContainerCreate(t.Context(), c, h, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.client.ContainerRemove(context.WithoutCancel(t.Context()), created.ID, removal); err != nil {
			t.Error(err)
		}
	})
	ended, failed := k.client.ContainerWait(t.Context(), created.ID, container.WaitConditionNextExit)
	if err := k.client.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(h.PortBindings) > 0 {
		return created.ID // the container is a server
	}
	select {
	case <-ended:
	case err := <-failed:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	logs, err := k.client.ContainerLogs(t.Context(), created.ID, container.LogsOptions{
		ShowStdout: true,
		ShowStderr: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, logs); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// published starts a container on the default bridge that is published at a port of the machine. It returns the
// container's address and the port.
func (k *kit) published(t *testing.T) (address, port string) {
	t.Helper()
	const inside = "4711/tcp"
	id := k.plain(t, server, func(c *container.Config, h *container.HostConfig) {
		err := json.Unmarshal(
			[]byte(`{"ExposedPorts": {"4711/tcp": {}}, "PortBindings": {"4711/tcp": [{"HostIp": "0.0.0.0"}]}}`),
			&struct {
				*container.Config
				*container.HostConfig
			}{c, h})
		if err != nil {
			t.Fatal(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; {
		got, err := k.client.ContainerInspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		address = got.NetworkSettings.Networks["bridge"].IPAddress
		port = got.NetworkSettings.Ports[inside][0].HostPort
		c, err := net.DialTimeout("tcp", net.JoinHostPort(address, "4711"), time.Second)
		if err == nil {
			_ = c.Close()
			return address, port
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// machineAddresses returns the IPv4 addresses of this machine.
func machineAddresses(t *testing.T) []string {
	t.Helper()
	networks, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range networks {
		if prefix := netip.MustParsePrefix(n.String()); prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			all = append(all, prefix.Addr().String())
		}
	}
	return all
}

// linkLocal returns the address of a bridge on the machine, for a container whose interface is eth0.
func linkLocal(t *testing.T, name string) string {
	t.Helper()
	one, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := one.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if addr := netip.MustParsePrefix(a.String()).Addr(); addr.Is6() && addr.IsLinkLocalUnicast() {
			return addr.String() + "%eth0"
		}
	}
	t.Fatalf("%s has no address by which the machine could be attacked over IPv6", name)
	return ""
}

func each(protocols, hosts []string, port string) (targets []string) {
	for _, host := range hosts {
		for _, protocol := range protocols {
			targets = append(targets, protocol+" "+host+" "+port)
		}
	}
	return targets
}

// The test attacks all possible targets from the network, and from a container on the default bridge. Targets that are
// silent here must answer there, or the test would hold for the wrong reason.
func TestEgressReachesPublicAddressesAlone(t *testing.T) {
	k := needKit(t)
	c := k.setUpNetworks(t, func(*network.Config) {})
	w := newWorld(t)
	d := k.onNetwork(t, c)
	egress, _ := c.Bridge(network.Egress)
	neighbour := k.neighbour(t, d, network.Egress, 3)
	other, published := k.published(t)

	port, both := strconv.Itoa(w.port), []string{"tcp", "udp"}
	public := each(both, []string{worldPublic}, port)
	closed := each(both, append(machineAddresses(t), worldClosed...), port)
	closed = append(closed, each([]string{"tcp"}, append(machineAddresses(t), worldPublic),
		published)[:len(machineAddresses(t))]...)
	closed = append(closed, "tcp "+other+" 4711", "tcp "+worldWay+" "+w.forward(t))
	targets := slices.Concat(public, closed, []string{
		"tcp " + neighbour + " 4711", "udp " + neighbour + " 4711", "tcp " + egress.Gateway.String() + " 4711",
		"tcp 0.0.0.0 " + port,
		"tcp " + linkLocal(t, egress.Interface) + " " + port,
	})
	got := answers(t, k.program(t, d, pythonSpec(k, network.Egress, 4), attackOn(t, targets)), targets)
	for _, target := range public {
		if got[target] != "ANSWERED" {
			t.Errorf("%s: %s, want an answer: it is public", target, got[target])
		}
	}
	for _, target := range targets[len(public):] {
		if reached(got[target]) && !strings.Contains(target, " 0.0.0.0 ") { // the address of the container itself
			t.Errorf("%s: %s, want silence", target, got[target])
		}
	}

	control := answers(t, k.plain(t, attackOn(t, slices.Concat(public, closed)), func(*container.Config,
		*container.HostConfig) {
	}), slices.Concat(public, closed))
	for target, answer := range control {
		if answer != "ANSWERED" {
			t.Errorf("from the common bridge %s: %s, want an answer: the attack proves nothing", target, answer)
		}
	}

	// A container that has got IPv6 in spite of the settings.
	six := func(bridge, name string) string {
		target := []string{"tcp " + linkLocal(t, bridge) + " " + port}
		return answers(t, k.plain(t, waited(attackOn(t, target)), func(_ *container.Config, h *container.HostConfig) {
			h.NetworkMode = container.NetworkMode(name)
			h.Sysctls = map[string]string{
				"net.ipv6.conf.all.disable_ipv6":     "0",
				"net.ipv6.conf.default.disable_ipv6": "0",
			}
		}), target)[target[0]]
	}
	if answer := six("docker0", "bridge"); answer != "ANSWERED" {
		t.Errorf("over IPv6 from the common bridge: %s, want an answer: the attack proves nothing", answer)
	}
	if answer := six(egress.Interface, egress.Name); reached(answer) {
		t.Errorf("over IPv6: %s, want silence", answer)
	}
}

// waited makes a program wait until its link-local address has passed duplicate detection.
func waited(code string) string {
	return `
import time
for _ in range(100):
    if any(l.split()[3] == "20" and not int(l.split()[4], 16) & 0x40 for l in open("/proc/net/if_inet6")): break
    time.sleep(0.1)
` + code
}

// The engine's name server stands between programs and boomerang's. It must not send queries as the machine, which may
// reach addresses that programs may not, and must not reveal names of executions to neighbours.
func TestNamesAreAskedOutsideAlone(t *testing.T) {
	k := needKit(t)
	gateway := ""
	c := k.setUpNetworks(t, func(c *network.Config) { gateway = c.EgressSubnet.Addr().Next().String() })
	w := newWorld(t)
	lookUp := func(server string) (printed string, queries int64) {
		c := c
		c.DNS = []netip.Addr{netip.MustParseAddr(server)}
		d := k.onNetwork(t, c)
		neighbour := k.neighbour(t, d, network.Egress, 3)
		before := w.queries.Load()
		printed = k.program(t, d, pythonSpec(k, network.Egress, 4), fmt.Sprintf(`
import socket
try: print(socket.gethostbyname("name.example.com"))
except OSError as e: print("none")
try: print(socket.gethostbyaddr(%q))
except OSError as e: print("none")
print([l for l in open("/etc/resolv.conf") if not l.startswith("#")])
`, neighbour))
		return printed, w.queries.Load() - before
	}
	printed, queries := lookUp(worldPublic)
	if queries == 0 {
		t.Error("a public name server is not asked")
	}
	if strings.Contains(printed, "exec_secret") || strings.Contains(printed, "search") {
		t.Errorf("a program learns of its neighbours, or of the machine: %s", printed)
	}
	w.nameServer(t, gateway)
	if printed, queries := lookUp(gateway); queries != 0 {
		t.Errorf("the machine was asked %d times: %s", queries, printed)
	}
}

// The proxy listens at the address that programs use, with one receiver on its list.
func TestTheProxyIsTheOnlyWayOut(t *testing.T) {
	k := needKit(t)
	c := k.setUpNetworks(t, func(*network.Config) {})
	w := newWorld(t)
	d := k.onNetwork(t, c)
	bridge, _ := c.Bridge(network.Proxy)
	serveProxy(t, c, proxy.Config{
		Allow: []string{"localhost"}, Ports: []uint16{uint16(w.port)},
		AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	})
	neighbour := k.neighbour(t, d, network.Proxy, 3)
	port, both := strconv.Itoa(w.port), []string{"tcp", "udp"}
	targets := slices.Concat(each(both, slices.Concat(machineAddresses(t), worldClosed, []string{worldPublic}), port),
		[]string{
			"tcp " + neighbour + " 4711", "tcp " + bridge.Gateway.String() + " 22", "tcp " +
				linkLocal(t, bridge.Interface) + " " + port,
		})
	w.nameServer(t, bridge.Gateway.String())
	before := w.queries.Load()
	printed := k.program(t, d, pythonSpec(k, network.Proxy, 4), attackOn(t, targets)+fmt.Sprintf(`
print("---")
def ask(how, host, port):
    s = socket.create_connection((%q, %d), timeout=10)
    first = "CONNECT %%s:%%d" if how == "tunnel" else "GET http://%%s:%%d/"
    s.sendall(((first + " HTTP/1.1\r\nHost: %%s\r\nConnection: close\r\n\r\n") %% (host, port, host)).encode())
    answer = b""
    while piece := s.recv(4096): answer += piece
    return answer.split()[1].decode() + (" hello" if answer.endswith(b"\r\n\r\nhello\n") else "")
print("allowed:", ask("tunnel", "localhost", %d))
for host, port in [("localhost", 22), ("127.0.0.1", %d), (%q, %d), ("169.254.169.254", 80), ("example.com", 443)]:
    print("refused:", ask("tunnel", host, port), ask("plain", host, port))
try: print("name:", socket.gethostbyname("name.example.com"))
except OSError as e: print("name: none")
`, bridge.Gateway, c.ProxyPort, w.port, w.port, worldPublic, w.port))
	direct, proxied, _ := strings.Cut(printed, "---\n")
	for target, answer := range answers(t, direct, targets) {
		if reached(answer) {
			t.Errorf("%s: %s, want silence", target, answer)
		}
	}
	want := "allowed: 200 hello\n" + strings.Repeat("refused: 403 403\n", 5) + "name: none\n"
	if proxied != want {
		t.Errorf("through the proxy:\n%swant:\n%s", proxied, want)
	}
	if asked := w.queries.Load() - before; asked != 0 {
		t.Errorf("the machine was asked for names %d times", asked)
	}
}

func serveProxy(t *testing.T, c network.Config, settings proxy.Config) {
	t.Helper()
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", c.ProxyAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- proxy.New(settings, quiet()).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
