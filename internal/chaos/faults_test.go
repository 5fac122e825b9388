//go:build chaos

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// fault is one act of destruction. Its random values are drawn before the round begins.
type fault struct {
	name   string
	news   int           // number of further accepted callbacks before the fault strikes
	after  time.Duration // additional delay
	hold   time.Duration // duration, for a fault that lasts
	kill   bool          // kills the server in the middle of the fault
	dice   int           // chooses the target
	strike func(context.Context, *harness, fault)
}

// The faults. A fault has ended when its function returns.
var (
	kills = []fault{
		{name: "kill -9", strike: func(_ context.Context, h *harness, _ fault) { h.server.signal(syscall.SIGKILL) }},
		{name: "kill -9 at a call to the engine", strike: func(_ context.Context, h *harness, f fault) {
			h.proxy.callAfter(1+f.dice%40, func() { h.server.signal(syscall.SIGKILL) })
		}},
	}
	crash   = fault{name: "crash point", strike: crashSomewhere}
	restart = fault{name: "restart dockerd", strike: restartEngine}
	others  = []fault{
		{name: "deploy", strike: func(_ context.Context, h *harness, _ fault) { h.server.signal(syscall.SIGTERM) }},
		{name: "kill a container", strike: onContainer((*engine).running, killContainer)},
		{name: "stop a container", strike: onContainer((*engine).running, stopContainer)},
		{name: "remove a container", strike: onContainer((*engine).running, removeContainer)},
		{name: "pause a container", strike: onContainer((*engine).running, pauseContainer)},
		{name: "fill the disk", strike: fillDiskForAWhile},
		{name: "lock the database", strike: lockDatabase},
		{name: "slow engine", strike: func(ctx context.Context, h *harness, f fault) { h.setProxyFor(ctx, f, slow) }},
		{name: "failing engine", strike: func(ctx context.Context, h *harness, f fault) {
			h.setProxyFor(ctx, f, failing)
		}},
		{name: "mute engine", strike: func(ctx context.Context, h *harness, f fault) {
			h.setProxyFor(ctx, f, dropping)
		}},
		{name: "hanging engine", strike: func(ctx context.Context, h *harness, f fault) {
			h.setProxyFor(ctx, f, hanging)
		}},
	}
	early = []fault{ // before an execution can be lost
		{name: "kill a warm container", strike: onContainer((*engine).waiting, killContainer)},
		{name: "stop a warm container", strike: onContainer((*engine).waiting, stopContainer)},
		{name: "remove a warm container", strike: onContainer((*engine).waiting, removeContainer)},
		{name: "pause a warm container", strike: onContainer((*engine).waiting, pauseContainer)},
	}
)

var points = []string{
	"after-enqueue", "after-claim", "after-prepare", "after-resize", "before-start", "after-start", "after-assign",
	"after-adopt", "before-requeue", "after-requeue",
	"in-file", "after-file", "after-follow", "before-finish", "after-finish", "after-remove", "before-post",
	"after-post", "after-record",
	"after-cancel", "after-stop",
}

// drawFaults draws the faults of one round and their order.
func drawFaults(chance *rand.Rand) []fault {
	deck := []fault{kills[0], kills[0], kills[1], kills[1], crash, crash, restart}
	for range 4 {
		deck = append(deck, others[chance.IntN(len(others))])
	}
	for range 2 {
		deck = append(deck, early[chance.IntN(len(early))])
	}
	chance.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	for i := range deck {
		deck[i].news = chance.IntN(7)
		deck[i].after = between(chance, time.Millisecond, time.Second)
		deck[i].hold = between(chance, 200*time.Millisecond, 3*time.Second)
		deck[i].kill = chance.IntN(2) == 0
		deck[i].dice = chance.IntN(1 << 20)
	}
	return deck
}

func countRestarts(deck []fault) (n int) {
	for _, f := range deck {
		if f.name == restart.name {
			n++
		}
	}
	return n
}

// holdFor waits for the duration of a fault, and kills the server in the middle if that was drawn.
func (f fault) holdFor(ctx context.Context, h *harness) {
	servertest.Rest(ctx, f.hold/2)
	if f.kill {
		h.server.signal(syscall.SIGKILL)
	}
	servertest.Rest(ctx, f.hold/2)
}

func crashSomewhere(_ context.Context, h *harness, f fault) {
	h.server.dieAt(points[f.dice%len(points)] + ":" + strconv.Itoa(1+f.dice%3))
}

// restartEngine restarts dockerd, with SIGTERM or SIGKILL, with live-restore or without. If containers cannot survive
// that, their executions may be lost or ended by a signal.
func restartEngine(ctx context.Context, h *harness, f fault) {
	signal := syscall.SIGTERM
	if f.dice%3 == 0 {
		signal = syscall.SIGKILL
	}
	live := f.dice%4 < 2
	if f.kill {
		timer := time.AfterFunc(f.hold, func() { h.server.signal(syscall.SIGKILL) })
		defer timer.Stop()
	}
	// A stopping engine without a running container ignores live-restore, and stops the containers that are being
	// started.
	idle := signal == syscall.SIGTERM && len(h.engine.running(ctx)) == 0
	if idle || !live || !h.engine.live {
		h.blameAll(execution.Lost, execution.Signaled)
		defer h.blameAll(execution.Lost, execution.Signaled)
	}
	h.outages = append(h.outages, outage{from: time.Now(), open: h.open()})
	err := h.engine.restart(ctx, signal, live, f.hold/2)
	h.outages[len(h.outages)-1].to = time.Now()
	h.reportHarnessError("restart dockerd", err)
	h.t.Logf("dockerd: %s, live-restore from now on: %v", signal, live)
}

// onContainer returns a fault that acts on one of the containers.
func onContainer(
	among func(*engine, context.Context) []container.Summary, act func(context.Context, *harness, fault,
		string) []execution.Reason,
) func(context.Context, *harness, fault) {
	return func(ctx context.Context, h *harness, f fault) {
		if list := among(h.engine, ctx); len(list) > 0 {
			id := list[f.dice%len(list)].ID
			h.blame(id, act(ctx, h, f, id)...)
		}
	}
}

// The acts on a container, and the reasons for which its execution may end.

func killContainer(ctx context.Context, h *harness, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerKill(ctx, id, "KILL")
	return []execution.Reason{execution.Lost}
}

func stopContainer(ctx context.Context, h *harness, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerStop(ctx, id, container.StopOptions{})
	return []execution.Reason{execution.Signaled}
}

func removeContainer(ctx context.Context, h *harness, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	return []execution.Reason{execution.Lost}
}

func pauseContainer(ctx context.Context, h *harness, f fault, id string) []execution.Reason {
	if h.engine.client.ContainerPause(ctx, id) == nil {
		f.holdFor(ctx, h)
		_ = h.engine.client.ContainerUnpause(ctx, id)
	}
	return nil
}

// fillDiskForAWhile fills the disk of the data directory for the duration of the fault.
func fillDiskForAWhile(ctx context.Context, h *harness, f fault) {
	free := h.fillDisk()
	f.holdFor(ctx, h)
	free()
}

// fillDisk fills the disk of the data directory until free is called.
func (h *harness) fillDisk() (free func()) {
	path := filepath.Join(h.data(), "ballast")
	ballast, err := os.Create(path)
	if err != nil {
		h.reportHarnessError("make ballast", err)
		return func() {}
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := ballast.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	return func() { h.reportHarnessError("free the disk", errors.Join(ballast.Close(), os.Remove(path))) }
}

// walWriteLock is the byte of the -shm file that a writer of the database locks (https://sqlite.org/walformat.html).
const walWriteLock = 120

// lockDatabase takes the lock that BEGIN IMMEDIATE of another program would take.
func lockDatabase(ctx context.Context, h *harness, f fault) {
	shm, err := os.OpenFile(filepath.Join(h.data(), "boomerang.db-shm"), os.O_RDWR, 0)
	if err != nil {
		return // no server has the database open at the moment
	}
	defer func() { _ = shm.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: walWriteLock, Len: 1}
	for unix.FcntlFlock(shm.Fd(), unix.F_OFD_SETLK, &lock) != nil {
		if !servertest.Rest(ctx, time.Millisecond) {
			return
		}
	}
	f.holdFor(ctx, h)
}

// setProxyFor changes the behaviour of the proxy for the duration of the fault.
func (h *harness) setProxyFor(ctx context.Context, f fault, m behaviour) {
	h.proxy.set(m)
	f.holdFor(ctx, h)
	h.proxy.set(healthy)
}
