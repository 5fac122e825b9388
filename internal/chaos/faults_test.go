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
)

// fault is one act of destruction. All that is random about it was drawn before the round began.
type fault struct {
	name   string
	news   int           // so many callbacks more have to be taken before it strikes…
	after  time.Duration // …and this much time has to pass
	hold   time.Duration // how long it lasts, where it lasts
	kill   bool          // the server is killed in the middle of it
	dice   int           // chooses among what there is
	strike func(context.Context, *house, fault)
}

// The faults. Each one has ended when its function returns.
var (
	kills = []fault{
		{name: "kill -9", strike: func(_ context.Context, h *house, _ fault) { h.server.signal(syscall.SIGKILL) }},
		{name: "kill -9 at a call to the engine", strike: func(_ context.Context, h *house, f fault) {
			h.proxy.light(1+f.dice%40, func() { h.server.signal(syscall.SIGKILL) })
		}},
	}
	crash   = fault{name: "crash point", strike: crashSomewhere}
	restart = fault{name: "restart dockerd", strike: restartEngine}
	others  = []fault{
		{name: "deploy", strike: func(_ context.Context, h *house, _ fault) { h.server.signal(syscall.SIGTERM) }},
		{name: "kill a container", strike: at((*engine).running, killContainer)},
		{name: "stop a container", strike: at((*engine).running, stopContainer)},
		{name: "remove a container", strike: at((*engine).running, removeContainer)},
		{name: "pause a container", strike: at((*engine).running, pauseContainer)},
		{name: "fill the disk", strike: fillDisk},
		{name: "lock the database", strike: lockDatabase},
		{name: "slow engine", strike: func(ctx context.Context, h *house, f fault) { h.mood(ctx, f, slow) }},
		{name: "failing engine", strike: func(ctx context.Context, h *house, f fault) { h.mood(ctx, f, failing) }},
		{name: "mute engine", strike: func(ctx context.Context, h *house, f fault) { h.mood(ctx, f, mute) }},
		{name: "hanging engine", strike: func(ctx context.Context, h *house, f fault) { h.mood(ctx, f, hanging) }},
	}
	early = []fault{ // before there is anything to lose
		{name: "kill a container that waits", strike: at((*engine).waiting, killContainer)},
		{name: "stop a container that waits", strike: at((*engine).waiting, stopContainer)},
		{name: "remove a container that waits", strike: at((*engine).waiting, removeContainer)},
		{name: "pause a container that waits", strike: at((*engine).waiting, pauseContainer)},
	}
)

var points = []string{
	"after-enqueue", "after-claim", "after-prepare", "after-resize", "before-start", "after-start", "after-assign", "after-adopt", "before-requeue", "after-requeue",
	"in-file", "after-file", "after-follow", "before-finish", "after-finish", "after-remove", "before-post", "after-post", "after-record",
	"after-cancel", "after-stop",
}

// shuffle draws the faults of one round and their order.
func shuffle(chance *rand.Rand) []fault {
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

// last lets a fault last, and kills the server in the middle if that was drawn.
func (f fault) last(ctx context.Context, h *house) {
	rest(ctx, f.hold/2)
	if f.kill {
		h.server.signal(syscall.SIGKILL)
	}
	rest(ctx, f.hold/2)
}

func crashSomewhere(_ context.Context, h *house, f fault) {
	h.server.dieAt(points[f.dice%len(points)] + ":" + strconv.Itoa(1+f.dice%3))
}

// restartEngine restarts dockerd, gently or not, with live-restore or not. Where containers cannot survive that, theirs
// is a reason to be lost, or ended by a signal.
func restartEngine(ctx context.Context, h *house, f fault) {
	signal := syscall.SIGTERM
	if f.dice%3 == 0 {
		signal = syscall.SIGKILL
	}
	live := f.dice%4 < 2
	if f.kill {
		timer := time.AfterFunc(f.hold, func() { h.server.signal(syscall.SIGKILL) })
		defer timer.Stop()
	}
	// An engine that is to stop and sees no container running stops for good, live-restore or not, and with it whatever
	// was being started.
	idle := signal == syscall.SIGTERM && len(h.engine.running(ctx)) == 0
	if idle || !live || !h.engine.live {
		h.blameAll(execution.Lost, execution.Signaled)
		defer h.blameAll(execution.Lost, execution.Signaled)
	}
	h.outages = append(h.outages, outage{from: time.Now(), open: h.open()})
	err := h.engine.restart(ctx, signal, live, f.hold/2)
	h.outages[len(h.outages)-1].to = time.Now()
	h.fails("restart dockerd", err)
	h.t.Logf("dockerd: %s, live-restore from now on: %v", signal, live)
}

// at strikes one of the containers that are chosen among.
func at(
	among func(*engine, context.Context) []container.Summary, act func(context.Context, *house, fault, string) []execution.Reason,
) func(context.Context, *house, fault) {
	return func(ctx context.Context, h *house, f fault) {
		if list := among(h.engine, ctx); len(list) > 0 {
			id := list[f.dice%len(list)].ID
			h.blame(id, act(ctx, h, f, id)...)
		}
	}
}

// What is done to a container, and how an execution may end by it.

func killContainer(ctx context.Context, h *house, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerKill(ctx, id, "KILL")
	return []execution.Reason{execution.Lost}
}

func stopContainer(ctx context.Context, h *house, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerStop(ctx, id, container.StopOptions{})
	return []execution.Reason{execution.Signaled}
}

func removeContainer(ctx context.Context, h *house, _ fault, id string) []execution.Reason {
	_ = h.engine.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	return []execution.Reason{execution.Lost}
}

func pauseContainer(ctx context.Context, h *house, f fault, id string) []execution.Reason {
	if h.engine.client.ContainerPause(ctx, id) == nil {
		f.last(ctx, h)
		_ = h.engine.client.ContainerUnpause(ctx, id)
	}
	return nil
}

// fillDisk leaves not a block of the data directory's disk free.
func fillDisk(ctx context.Context, h *house, f fault) {
	free := h.fill()
	f.last(ctx, h)
	free()
}

func (h *house) fill() (free func()) {
	path := filepath.Join(h.data(), "ballast")
	ballast, err := os.Create(path)
	if err != nil {
		h.fails("make ballast", err)
		return func() {}
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := ballast.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	return func() { h.fails("free the disk", errors.Join(ballast.Close(), os.Remove(path))) }
}

// walWriteLock is the byte of the -shm file that whoever writes to the database has locked (https://sqlite.org/walformat.html).
const walWriteLock = 120

// lockDatabase takes the lock that another program's BEGIN IMMEDIATE would take.
func lockDatabase(ctx context.Context, h *house, f fault) {
	shm, err := os.OpenFile(filepath.Join(h.data(), "boomerang.db-shm"), os.O_RDWR, 0)
	if err != nil {
		return // nobody has the database open just now
	}
	defer func() { _ = shm.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: walWriteLock, Len: 1}
	for unix.FcntlFlock(shm.Fd(), unix.F_OFD_SETLK, &lock) != nil {
		if !rest(ctx, time.Millisecond) {
			return
		}
	}
	f.last(ctx, h)
}

// mood puts the proxy into a mood for a while.
func (h *house) mood(ctx context.Context, f fault, m mood) {
	h.proxy.set(m)
	f.last(ctx, h)
	h.proxy.set(healthy)
}
