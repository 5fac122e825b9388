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

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
	"boomerang/internal/store"
)

// The bounds of a house.
const (
	diskSize = 64 << 20         // bytes of the data directory's disk
	patience = 4 * time.Minute  // for everything to end when nothing is broken any more
	tidying  = 30 * time.Second // for the last containers to be removed after that
	grace    = 10 * time.Second // for the server to hear that a container has ended
	slots    = 4
)

// premises are what all houses share: the program and the engine.
var premises struct {
	dir    string
	engine *engine
	server atomic.Pointer[server] // the last house's
}

func TestMain(m *testing.M) {
	os.Exit(func() (code int) {
		if os.Getuid() != 0 {
			fmt.Println("chaos: skipped: only root can start an engine and mount a disk of its own")
			return 0
		}
		for _, tool := range []string{"dockerd", "containerd", "runc"} {
			if _, err := exec.LookPath(tool); err != nil {
				fmt.Println("chaos: skipped: there is no", tool, "on this machine, and another machine's engine is not ours to stop")
				return 0
			}
		}
		dir, err := os.MkdirTemp("", "chaos-")
		if err == nil {
			premises.dir = dir
			err = build(dir, runtime.GOARCH)
		}
		if err == nil {
			premises.engine, err = newEngine(context.Background(), dir)
		}
		if err == nil {
			interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			unhook := context.AfterFunc(interrupted, func() {
				_ = leave()
				os.Exit(130)
			})
			code = m.Run()
			unhook() // stop ends the context, too
			err = leave()
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

// leave ends the server and the engine and takes the disks of all houses away.
func leave() error {
	if s := premises.server.Load(); s != nil {
		s.close(syscall.SIGKILL)
	}
	err := premises.engine.close()
	disks, _ := filepath.Glob(filepath.Join(premises.dir, "house-*", "data"))
	for _, disk := range disks {
		_ = unix.Unmount(disk, unix.MNT_DETACH) // most are gone already
	}
	return err
}

const languages = `
defaults: {pull: never, runtime: ` + witness + `, limits: {memory: 64MiB, workspace: 1MiB, tmp: 1MiB}}
languages: {bash: {image: "` + image + `", file: main.sh, command: [bash, "{file}"], rehearsal: [bash, -c, ""], warm: WARM}}
`

// house is a server with a receiver, customers, and an engine that can be broken.
type house struct {
	t        *testing.T
	dir      string
	engine   *engine
	proxy    *proxy
	hook     *hook
	server   *server
	customer *customer

	mu      sync.Mutex // guards what follows
	tickets []*ticket
	strikes map[string][]strike // by container
	outages []outage
}

// strike is something that was done to a container, and the ends of its execution that this explains.
type strike struct {
	done    time.Time
	reasons []execution.Reason
}

// outage is a time during which dockerd was away and containers went on.
type outage struct {
	from, to time.Time
	open     []*ticket
}

// enter opens a house. With chance nil the receiver is a good one. The fates are where the first processes die, warm is how
// many containers wait.
func enter(t *testing.T, seed uint64, chance *rand.Rand, warm string, fates ...string) *house {
	t.Helper()
	dir, err := os.MkdirTemp(premises.dir, "house-") //nolint:usetesting // its sockets need a short path, and its log stays when a test fails
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir, engine: premises.engine, hook: newHook(chance), strikes: map[string][]strike{}}
	t.Cleanup(h.hook.server.Close)
	if h.proxy, err = newProxy(dir, h.engine.socket(), seed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.proxy.close)
	if err := os.WriteFile(filepath.Join(dir, "languages.yaml"), []byte(strings.Replace(languages, "WARM", warm, 1)), 0o600); err != nil {
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
	if h.server, err = newServer(filepath.Join(premises.dir, "boomerang"), h.data(), h.log(), h.env(), fates...); err != nil {
		t.Fatal(err)
	}
	premises.server.Store(h.server)
	t.Cleanup(func() { h.server.close(syscall.SIGKILL) })
	h.ready()
	token, err := h.server.token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.customer = &customer{url: "http://" + h.server.addr, token: token, hook: h.hook.server.URL}
	return h
}

func (h *house) data() string { return filepath.Join(h.dir, "data") }
func (h *house) log() string  { return filepath.Join(h.dir, "server.log") }

// users is the first user of this process's programs: another harness may run beside it, with an engine of its own.
func users() int { return 300_000 + os.Getpid()%4096*100 }

func (h *house) env() []string {
	return []string{
		"BOOMERANG_LANGUAGES_FILE=" + filepath.Join(h.dir, "languages.yaml"),
		"BOOMERANG_DISPATCH_SLOTS=" + strconv.Itoa(slots),
		"BOOMERANG_DOCKER_HOST=unix://" + h.proxy.socket,
		"BOOMERANG_DOCKER_INIT_DIR=" + premises.dir,
		"BOOMERANG_DOCKER_UID_BASE=" + strconv.Itoa(users()),
		"BOOMERANG_DOCKER_CALL_TIMEOUT=10s",
		"BOOMERANG_DOCKER_STOP_TIMEOUT=4s",
		"BOOMERANG_UPKEEP_INTERVAL=5s",
		"BOOMERANG_CALLBACK_ALLOW_CIDRS=127.0.0.0/8",
		"BOOMERANG_CALLBACK_SCHEDULE=" + strings.Repeat("200ms,", 40),
	}
}

func (h *house) ready() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := h.server.ready(ctx); err != nil {
		h.t.Fatalf("%v; its log: %s", err, h.log())
	}
}

// filled waits until so many containers wait.
func (h *house) filled(waiting int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for len(h.engine.running(ctx)) < waiting {
		if !rest(ctx, 50*time.Millisecond) {
			h.t.Fatalf("no %d containers wait; the server's log: %s", waiting, h.log())
		}
	}
}

// book makes a ticket for a plan.
func (h *house) book(p plan) *ticket {
	t := &ticket{plan: p, s: Submission{Program: p.Program}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tickets = append(h.tickets, t)
	return t
}

// blame writes down what was done to a container. Which execution has suffered by it, if any, the books will tell.
func (h *house) blame(container string, reasons ...execution.Reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.strikes[container] = append(h.strikes[container], strike{time.Now(), reasons})
}

// explained are the ends of a run that were done to its container. One that began later was given a container that had
// long ended: that is no explanation.
func (h *house) explained(run *execution.Run) (reasons []execution.Reason) {
	if run == nil {
		return nil
	}
	for _, s := range h.strikes[run.Berth] {
		if run.StartedAt.Before(s.done.Add(grace)) {
			reasons = append(reasons, s.reasons...)
		}
	}
	return reasons
}

// blameAll explains the end of every execution that has not ended, as far as the customers and the receiver know.
func (h *house) blameAll(reasons ...execution.Reason) {
	for _, t := range h.open() {
		t.blame(reasons...)
	}
}

// blameOutages explains the end of programs that ended while dockerd was away. Their last words stand in a pipe that
// the engine throws away now and then when it comes back (20.10 says "reading from a closed fifo"): then nobody can know.
func (h *house) blameOutages() {
	for _, o := range h.outages {
		for _, t := range o.open {
			if at, ok := h.engine.ended(t.Mark); !ok || at.After(o.from.Add(-time.Second)) && at.Before(o.to) {
				t.blame(execution.Lost)
			}
		}
	}
}

// open are the tickets for which no callback was taken yet.
func (h *house) open() (open []*ticket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tickets {
		if id := t.id(); id == "" || !h.hook.has(id) {
			open = append(open, t)
		}
	}
	return open
}

// audit waits until everything should have ended, ends the server with the signal, reads the books and compares them. What a
// server leaves that does not stop in order is removed by the next, which does.
func (h *house) audit(end syscall.Signal) Books {
	h.t.Helper()
	h.ready()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for !h.delivered(ctx) && rest(ctx, 100*time.Millisecond) {
	}
	var books Books
	books.Left = h.left(true)
	h.ready() // it may have died at the very end
	if end != syscall.SIGTERM {
		if err := h.server.replace(ctx, end); err != nil {
			h.t.Fatal(err)
		}
	}
	if state := h.server.close(syscall.SIGTERM); !state.Success() {
		books.Left = append(books.Left, "a server that did not stop in order: "+state.String())
	}
	books.Left = append(books.Left, h.left(false)...)
	log, err := os.ReadFile(h.log())
	if err != nil {
		h.t.Fatal(err)
	}
	books.Left = append(books.Left, goroutines(log, slots)...)
	h.read(&books)
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

// delivered tells whether the server says of every execution that its callback was delivered.
func (h *house) delivered(ctx context.Context) bool {
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

// left waits for the last containers to go; those that wait for executions are no leftovers while there is a server.
func (h *house) left(served bool) (left []string) {
	ctx, cancel := context.WithTimeout(h.t.Context(), tidying)
	defer cancel()
	for {
		left, err := h.engine.left(ctx, served)
		if err == nil && len(left) == 0 {
			return nil
		}
		if !rest(ctx, 200*time.Millisecond) {
			if err != nil {
				left = append(left, err.Error())
			}
			return left
		}
	}
}

// read copies the books.
func (h *house) read(books *Books) {
	h.t.Helper()
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	ctx := h.t.Context()
	records, err := store.Open(ctx, h.data(), store.Defaults(), logrus.NewEntry(quiet))
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
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			before = e.ID
			whole, err := records.Get(ctx, e.ID)
			delivery, deliveryErr := records.Delivery(ctx, e.ID)
			attempts, attemptsErr := records.Attempts(ctx, e.ID)
			if err := errors.Join(err, deliveryErr, attemptsErr); err != nil {
				h.t.Fatal(err)
			}
			files, cut := h.files(records, e.ID)
			books.Stored = append(books.Stored, Record{Execution: whole, Delivery: delivery, Attempts: len(attempts), Files: files, Cut: cut})
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
				t.s.Scapegoats = append(t.s.Scapegoats, h.explained(r.Execution.Run)...)
			}
		}
		books.Told = append(books.Told, t.s)
	}
	books.Got, books.Stops = h.hook.got, h.server.stops
}

// files reads what an execution left.
func (h *house) files(records *store.Store, id execution.ID) (files map[string]string, cut string) {
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

// delivery asks the server how far the delivery of an execution is.
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

// fails tells what the harness itself could not do.
func (h *house) fails(act string, err error) {
	h.t.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Errorf("%s: %v", act, err)
	}
}
