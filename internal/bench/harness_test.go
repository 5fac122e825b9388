//go:build bench

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

const (
	root     = "../.."
	binary   = root + "/bin/boomerang"
	results  = root + "/bin/bench"
	document = root + "/docs/PERFORMANCE-TABLE.md"

	patience = 3 * time.Minute       // limits every wait
	pause    = 10 * time.Millisecond // between two expensive checks
)

// rows are the parts of the table, which are measured one after another. ROWS=A,C selects some of them.
var rows = []struct {
	letter, title string
	measure       func(h *harness)
}{
	{"A", "print(1) on an idle machine", printOne},
	{"B", "executions per second on a busy machine", throughput},
	{"C", "durable submissions", submissions},
	{"D", "a start behind a long queue", depth},
	{"E", "memory", memory},
	{"F", "a program that prints 1 GiB", printer},
	{"G", "from the start to ready", starts},
	{"H", "calls and syncs for one execution", calls},
}

// scale is the number of measurements.
type scale struct {
	rounds   int           // of A; D and G derive their number from it
	laps     int           // of B and F
	window   time.Duration // of C
	windows  int           // of C
	queued   int           // of D
	sleepers int           // of E
	runs     int           // of H
}

var (
	whole = scale{
		rounds: 40, laps: 4, window: 8 * time.Second, windows: 3, queued: 100_000, sleepers: 200, runs: 20,
	}
	quick = scale{
		rounds: 5, laps: 1, window: time.Second, windows: 2, queued: 2000, sleepers: 20, runs: 5,
	}
)

// TestSpeed measures all rows and prints the table. It asserts no time: the table shows missed goals. Wrong output,
// lost or repeated callbacks and leftover containers fail the test.
func TestSpeed(t *testing.T) {
	h := newHarness(t)
	begun := time.Now()
	for _, row := range rows {
		if wanted := os.Getenv("ROWS"); wanted != "" && !slices.Contains(strings.Split(wanted, ","), row.letter) {
			continue
		}
		since := time.Now()
		fmt.Fprintf(os.Stderr, "%s  %s … ", row.letter, row.title)
		t.Run(row.letter, func(t *testing.T) { row.measure(h.forRow(t)) })
		fmt.Fprintln(os.Stderr, time.Since(since).Round(time.Second))
	}
	h.table.Begun, h.table.Took = begun, time.Since(begun).Round(time.Second).String()
	h.show()
}

// harness is shared by all rows: the engine, a receiver, and the table.
type harness struct {
	*testing.T
	scale
	dir      string // on a disk
	engine   *engine
	receiver *servertest.Receiver
	table    *Table
	servers  *int // number of started servers
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: make build", err)
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	h := &harness{T: t, scale: whole, table: &Table{}, servers: new(int)}
	if os.Getenv("QUICK") != "" {
		h.scale = quick
	}
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		h.rounds = n
	}
	if err := os.MkdirAll(results, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(results, "run-") //nolint:usetesting // t.TempDir may be in memory
	if err != nil {
		t.Fatal(err)
	}
	if h.dir, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			fmt.Fprintln(os.Stderr, "the logs of the servers are in", h.dir)
			return
		}
		_ = os.RemoveAll(h.dir)
	})
	h.engine = newEngine(t)
	h.receiver = servertest.NewReceiver(t, nil)
	h.table.Machine = h.machine()
	return h
}

// forRow returns the harness for one row.
func (h *harness) forRow(t *testing.T) *harness {
	t.Helper()
	copied := *h
	copied.T = t
	return &copied
}

func (h *harness) add(r Row) { h.table.Rows = append(h.table.Rows, r) }

func (h *harness) note(heading string, lines ...string) {
	h.table.Notes = append(h.table.Notes, Note{heading, lines})
}

// show prints the table and stores it in bin/bench. With DOC=1 it also writes it into the document.
func (h *harness) show() {
	var text bytes.Buffer
	if err := h.table.Print(io.MultiWriter(os.Stdout, &text)); err != nil {
		h.Fatal(err)
	}
	err := errors.Join(os.WriteFile(filepath.Join(results, "table.txt"), text.Bytes(), 0o600),
		h.table.Save(filepath.Join(results, "table.json")))
	if err != nil {
		h.Fatal(err)
	}
	if os.Getenv("DOC") == "" {
		return
	}
	old, err := os.ReadFile(document)
	if err != nil {
		h.Fatal(err)
	}
	fresh, err := h.table.Rewrite(string(old))
	if err != nil {
		h.Fatal(err)
	}
	if err := os.WriteFile(document, []byte(fresh), 0o600); err != nil {
		h.Fatal(err)
	}
}

// machine describes the machine, the engine and the disk.
func (h *harness) machine() []string {
	var name unix.Utsname
	var info unix.Sysinfo_t
	if err := unix.Uname(&name); err != nil {
		h.Fatal(err)
	}
	if err := unix.Sysinfo(&info); err != nil {
		h.Fatal(err)
	}
	load, _ := os.ReadFile("/proc/loadavg")
	ten, _, _ := strings.Cut(string(load), " ")
	return []string{
		fmt.Sprintf("%d CPUs (%s), %.1f GiB, Linux %s, %s", runtime.NumCPU(), processor(),
			float64(info.Totalram)*float64(info.Unit)/(1<<30),
			unix.ByteSliceToString(name.Release[:]), runtime.Version()),
		h.engine.describe(h.Context(), h.T),
		fmt.Sprintf("the servers' data on %s; bare python is %s; load %s at the start", filesystem(h.dir), python(),
			ten),
	}
}

// await calls ok until it returns true or an error, with a pause between the calls.
func await(ctx context.Context, what string, pause time.Duration, ok func() (bool, error)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !servertest.Eventually(ctx, pause, func() (done bool) { done, err = ok(); return done || err != nil }) {
		err = fmt.Errorf("not within %s: %s", patience, what)
	}
	return err
}

// callback waits for the first callback of an execution.
func (h *harness) callback(ctx context.Context, id execution.ID) (servertest.Arrival, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return h.receiver.Await(ctx, id)
}
