//go:build chaos

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
	"boomerang/internal/store"
)

// The limits of a harness.
const (
	diskSize = 64 << 20         // bytes of the disk of the data directory
	patience = 4 * time.Minute  // for all executions to end after the last fault
	tidying  = 30 * time.Second // for the last containers to be removed after that
	grace    = 10 * time.Second // for the server to notice the end of a container
	slots    = 4
)

// shared is shared by all harnesses.
var shared struct {
	dir    string
	engine *engine
	server atomic.Pointer[server] // the server of the last harness
}

func TestMain(m *testing.M) {
	os.Exit(func() (code int) {
		if os.Getuid() != 0 {
			fmt.Println("chaos: skipped: only root can start an engine and mount a disk of its own")
			return 0
		}
		for _, tool := range []string{"dockerd", "containerd", "runc"} {
			if _, err := exec.LookPath(tool); err != nil {
				fmt.Println("chaos: skipped: there is no", tool,
					"on this machine, and the engine of another machine must not be stopped")
				return 0
			}
		}
		dir, err := os.MkdirTemp("", "chaos-")
		if err == nil {
			shared.dir = dir
			err = build(dir, runtime.GOARCH)
		}
		if err == nil {
			shared.engine, err = newEngine(context.Background(), dir)
		}
		if err == nil {
			interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			unhook := context.AfterFunc(interrupted, func() {
				_ = shutDown()
				os.Exit(130)
			})
			code = m.Run()
			unhook() // stop ends the context too
			err = shutDown()
		}
		if err == nil && code == 0 {
			err = os.RemoveAll(dir)
		}
		if err != nil {
			fmt.Println("chaos:", err)
			return 1
		}
		return code
	}())
}

// shutDown ends the server and the engine and unmounts the disks of all harnesses.
func shutDown() error {
	if s := shared.server.Load(); s != nil {
		s.close(syscall.SIGKILL)
	}
	err := shared.engine.close()
	disks, _ := filepath.Glob(filepath.Join(shared.dir, "harness-*", "data"))
	for _, disk := range disks {
		_ = unix.Unmount(disk, unix.MNT_DETACH) // most are unmounted already
	}
	return err
}

// languages is the languages file. WARM stands for the number of warm containers.
const languages = `
defaults: {pull: never, runtime: ` + witness + `, limits: {memory: 64MiB, workspace: 1MiB, tmp: 1MiB}}
languages:
  bash:
    {image: "` + image + `", file: main.sh, command: [bash, "{file}"], rehearsal: [bash, -c, ""], warm: WARM}
`

// harness is a server with a receiver, clients, and an engine that can be broken.
type harness struct {
	t        *testing.T
	dir      string
	engine   *engine
	proxy    *proxy
	hook     *hook
	server   *server
	customer *customer

	mu      sync.Mutex // guards the fields below
	tickets []*ticket
	strikes map[string][]strike // by container ID
	outages []outage
}

// strike is a fault that hit a container, and the reasons for an end of its execution that the fault explains.
type strike struct {
	done    time.Time
	reasons []execution.Reason
}

// outage is a time without dockerd during which containers ran on.
type outage struct {
	from, to time.Time
	open     []*ticket
}

// newHarness starts a server with a number of warm containers. Its first processes die at the crash points. If chance
// is nil, the receiver treats all callbacks well.
func newHarness(t *testing.T, seed uint64, chance *rand.Rand, warm string, crashPoints ...string) *harness {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "harness-") //nolint:usetesting // short for sockets; kept on failure
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, dir: dir, engine: shared.engine, hook: newHook(t, chance), strikes: map[string][]strike{}}
	if h.proxy, err = newProxy(dir, h.engine.socket(), seed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.proxy.close)
	if err := os.WriteFile(filepath.Join(dir, "languages.yaml"), []byte(strings.Replace(languages, "WARM", warm, 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", h.data(), "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", diskSize)); err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(h.data(), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	binary, addr := filepath.Join(shared.dir, "boomerang"), servertest.FreeAddress(t)
	if h.server, err = newServer(binary, h.data(), addr, h.log(), h.env(), crashPoints...); err != nil {
		t.Fatal(err)
	}
	shared.server.Store(h.server)
	t.Cleanup(func() { h.server.close(syscall.SIGKILL) })
	h.ready()
	h.customer = &customer{url: "http://" + addr, token: servertest.Token(t, h.data(), "chaos"), hook: h.hook.URL}
	return h
}

func (h *harness) data() string { return filepath.Join(h.dir, "data") }
func (h *harness) log() string  { return filepath.Join(h.dir, "server.log") }

// users returns the first user ID of the programs. Another process with an engine of its own may run at the same time.
func users() int { return 300_000 + os.Getpid()%4096*100 }

func (h *harness) env() []string {
	return []string{
		"BOOMERANG_LANGUAGES_FILE=" + filepath.Join(h.dir, "languages.yaml"),
		"BOOMERANG_DISPATCH_SLOTS=" + strconv.Itoa(slots),
		"BOOMERANG_DOCKER_HOST=unix://" + h.proxy.socket,
		"BOOMERANG_DOCKER_INIT_DIR=" + shared.dir,
		"BOOMERANG_DOCKER_UID_BASE=" + strconv.Itoa(users()),
		"BOOMERANG_DOCKER_CALL_TIMEOUT=10s",
		"BOOMERANG_DOCKER_STOP_TIMEOUT=4s",
		"BOOMERANG_UPKEEP_INTERVAL=5s",
		"BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "BOOMERANG_CALLBACK_REVEAL_EXCEPTIONS=true",
		"BOOMERANG_CALLBACK_SCHEDULE=" + strings.Repeat("200ms,", 40),
	}
}

// ready waits until the server is ready.
func (h *harness) ready() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := h.server.ready(ctx); err != nil {
		h.t.Fatalf("%v; its log: %s", err, h.log())
	}
}

// awaitWarm waits until there is a number of warm containers.
func (h *harness) awaitWarm(waiting int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if !servertest.Eventually(ctx, 50*time.Millisecond, func() bool { return len(h.engine.running(ctx)) >= waiting }) {
		h.t.Fatalf("fewer than %d warm containers; the log of the server: %s", waiting, h.log())
	}
}

// addTicket adds a ticket for a plan.
func (h *harness) addTicket(p plan) *ticket {
	t := &ticket{plan: p, s: Submission{Program: p.Program}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tickets = append(h.tickets, t)
	return t
}

// blame records a strike on a container. The books tell later which execution ran in it, if any.
func (h *harness) blame(container string, reasons ...execution.Reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strikes[container] = append(h.strikes[container], strike{time.Now(), reasons})
}

// explanations returns the reasons for the end of a run that strikes on its container explain. A strike explains
// nothing if the run began long after it, as its container had then ended before.
func (h *harness) explanations(run *execution.Run) (reasons []execution.Reason) {
	if run == nil {
		return nil
	}
	for _, s := range h.strikes[run.Container] {
		if run.StartedAt.Before(s.done.Add(grace)) {
			reasons = append(reasons, s.reasons...)
		}
	}
	return reasons
}

// blameAll adds reasons to every execution of which no callback has been accepted.
func (h *harness) blameAll(reasons ...execution.Reason) {
	for _, t := range h.open() {
		t.blame(reasons...)
	}
}

// blameOutages explains the loss of programs that ended during an outage. Their last output is in a pipe that a
// starting dockerd sometimes discards (20.10 logs "reading from a closed fifo"), and with it the proof of their end.
func (h *harness) blameOutages() {
	for _, o := range h.outages {
		for _, t := range o.open {
			if at, ok := h.engine.ended(t.Mark); !ok || at.After(o.from.Add(-time.Second)) && at.Before(o.to) {
				t.blame(execution.Lost)
			}
		}
	}
}

// open returns the tickets of which no callback has been accepted.
func (h *harness) open() (open []*ticket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tickets {
		if id := t.id(); id == "" || !h.hook.has(id) {
			open = append(open, t)
		}
	}
	return open
}

// audit waits until all callbacks are delivered, ends the server with a signal, reads the books and compares them.
// After another signal than SIGTERM it starts the server once more, which removes the containers that the last one
// left.
func (h *harness) audit(end syscall.Signal) Books {
	h.t.Helper()
	h.ready()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	servertest.Eventually(ctx, 100*time.Millisecond, func() bool { return h.delivered(ctx) })
	var books Books
	books.Left = h.awaitCleanup(true)
	h.ready() // a late crash point may have ended it
	if end != syscall.SIGTERM {
		if err := h.server.replace(ctx, end); err != nil {
			h.t.Fatal(err)
		}
	}
	if state := h.server.close(syscall.SIGTERM); !state.Success() {
		books.Left = append(books.Left, "a server that failed to stop: "+state.String())
	}
	books.Left = append(books.Left, h.awaitCleanup(false)...)
	log, err := os.ReadFile(h.log())
	if err != nil {
		h.t.Fatal(err)
	}
	books.Left = append(books.Left, goroutines(log, slots)...)
	h.readBooks(&books)
	for _, v := range Audit(books) {
		h.t.Error(v)
	}
	if h.t.Failed() {
		h.engine.sweep(context.WithoutCancel(ctx))
		h.t.Logf("the log of the server: %s", h.log())
	} else {
		h.t.Cleanup(func() { _ = os.RemoveAll(h.dir) })
	}
	return books
}

// delivered reports whether the server shows the callback of every execution as delivered.
func (h *harness) delivered(ctx context.Context) bool {
	if len(h.open()) > 0 {
		return false
	}
	for _, t := range h.tickets {
		if h.customer.delivery(ctx, t.id()) != execution.Delivered {
			return false
		}
	}
	return true
}

// awaitCleanup waits until all containers are removed, and returns those that are not. While a server runs, warm
// containers may stay.
func (h *harness) awaitCleanup(served bool) (left []string) {
	ctx, cancel := context.WithTimeout(h.t.Context(), tidying)
	defer cancel()
	var err error
	servertest.Eventually(ctx, 200*time.Millisecond, func() bool {
		left, err = h.engine.left(ctx, served)
		return err == nil && len(left) == 0
	})
	if err != nil {
		left = append(left, err.Error())
	}
	return left
}

// readBooks reads the books.
func (h *harness) readBooks(books *Books) {
	h.t.Helper()
	ctx := h.t.Context()
	records, err := store.Open(ctx, h.data(), store.Defaults(), servertest.Silent())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := records.Close(); err != nil {
			h.t.Error(err)
		}
	}()
	for before := execution.ID(""); ; {
		page, err := records.List(ctx, execution.Filter{Before: before, Limit: 200})
		if err != nil {
			h.t.Fatal(err)
		}
		if len(page.Executions) == 0 {
			break
		}
		for _, e := range page.Executions {
			before = e.ID
			whole, err := records.Get(ctx, e.ID)
			delivery, deliveryErr := records.Delivery(ctx, e.ID)
			attempts, attemptsErr := records.Attempts(ctx, e.ID)
			if err := errors.Join(err, deliveryErr, attemptsErr); err != nil {
				h.t.Fatal(err)
			}
			files, cut := h.files(records, e.ID)
			books.Stored = append(books.Stored, Record{
				Execution: whole, Delivery: delivery, Attempts: len(attempts),
				Files: files, Cut: cut,
			})
		}
	}
	h.blameOutages()
	books.Ran = map[string][]string{}
	for _, t := range h.tickets {
		if nonces := h.engine.nonces(t.Mark); len(nonces) > 0 {
			books.Ran[t.Mark] = nonces
		}
		for _, r := range books.Stored {
			if slices.Contains(t.s.IDs, r.Execution.ID) {
				t.s.Scapegoats = append(t.s.Scapegoats, h.explanations(r.Execution.Run)...)
			}
		}
		books.Told = append(books.Told, t.s)
	}
	books.Got, books.Stops = h.hook.arrivals(), h.server.stops
}

// files returns the artifacts of an execution, and why they are incomplete.
func (h *harness) files(records *store.Store, id execution.ID) (files map[string]string, cut string) {
	h.t.Helper()
	left, err := records.Artifacts(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	files = map[string]string{}
	if left == nil {
		return files, ""
	}
	for _, f := range left.Files {
		text, err := io.ReadAll(records.Blob(h.t.Context(), f.Blob))
		if err != nil {
			h.t.Errorf("%s of %s: %v", f.Path, id, err)
		}
		files[f.Path] = string(text)
	}
	return files, left.Cut
}

// delivery returns the state of the delivery of an execution, or "" if the server does not answer.
func (c *customer) delivery(ctx context.Context, id execution.ID) execution.DeliveryState {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/executions/"+string(id), nil)
	if err != nil {
		return ""
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.http.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Callback struct{ State execution.DeliveryState }
	}
	if json.NewDecoder(response.Body).Decode(&answer) != nil {
		return ""
	}
	return answer.Callback.State
}

// reportHarnessError reports an act in which the harness itself failed.
func (h *harness) reportHarnessError(act string, err error) {
	h.t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Errorf("%s: %v", act, err)
	}
}
