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
)

const (
	root     = "../.."
	binary   = root + "/bin/boomerang"
	results  = root + "/bin/bench"
	document = root + "/docs/PERFORMANCE-TABLE.md"

	patience = 3 * time.Minute       // for anything that must come
	pause    = 10 * time.Millisecond // between two looks at what costs something to look at
)

// rows are the parts of the table, each measured by itself; ROWS=A,C runs some of them.
var rows = []struct {
	letter, title string
	measure       func(h *house)
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

// scale is how much is measured.
type scale struct {
	rounds   int           // of A; the others take a share of it
	laps     int           // of B, F
	clients  []int         // of B
	window   time.Duration // of C
	windows  int           // of C
	queued   int           // of D
	sleepers int           // of E
	runs     int           // of H
}

var (
	whole = scale{
		rounds: 40, laps: 4, clients: []int{1, 2, 4, 8}, window: 8 * time.Second, windows: 3, queued: 100_000, sleepers: 200, runs: 20,
	}
	quick = scale{
		rounds: 5, laps: 1, clients: []int{1, 8}, window: time.Second, windows: 2, queued: 2000, sleepers: 20, runs: 5,
	}
)

// TestSpeed measures all rows and shows the table. No time is asserted: a goal that is missed is shown as missed. A wrong
// output, a callback that is lost or doubled, and a container that is left behind fail it.
func TestSpeed(t *testing.T) {
	h := enter(t)
	begun := time.Now()
	for _, row := range rows {
		if wanted := os.Getenv("ROWS"); wanted != "" && !slices.Contains(strings.Split(wanted, ","), row.letter) {
			continue
		}
		since := time.Now()
		fmt.Fprintf(os.Stderr, "%s  %s … ", row.letter, row.title)
		t.Run(row.letter, func(t *testing.T) { row.measure(h.with(t)) })
		fmt.Fprintln(os.Stderr, time.Since(since).Round(time.Second))
	}
	h.table.Begun, h.table.Took = begun, time.Since(begun).Round(time.Second).String()
	h.show()
}

// house is what all rows share: the engine, a receiver, and the table.
type house struct {
	*testing.T
	scale
	dir    string // on a disk
	engine *engine
	hook   *hook
	table  *Table
	uids   *int // how many servers there were: each has users of its own
}

func enter(t *testing.T) *house {
	t.Helper()
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: make build", err)
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	h := &house{T: t, scale: whole, table: &Table{}, uids: new(int)}
	if os.Getenv("QUICK") != "" {
		h.scale = quick
	}
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil {
		h.rounds = n
	}
	if err := os.MkdirAll(results, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(results, "run-") //nolint:usetesting // the system's temporary directory may be no disk
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
	h.hook = newHook(t)
	h.table.Machine = h.machine()
	return h
}

// with is the house for one row.
func (h *house) with(t *testing.T) *house {
	t.Helper()
	copied := *h
	copied.T = t
	return &copied
}

func (h *house) add(r Row) { h.table.Rows = append(h.table.Rows, r) }

func (h *house) note(heading string, lines ...string) {
	h.table.Notes = append(h.table.Notes, Note{heading, lines})
}

// show prints the table, keeps it in bin/bench, and with DOC=1 writes it into the document.
func (h *house) show() {
	var text bytes.Buffer
	if err := h.table.Print(io.MultiWriter(os.Stdout, &text)); err != nil {
		h.Fatal(err)
	}
	err := errors.Join(os.WriteFile(filepath.Join(results, "table.txt"), text.Bytes(), 0o600), h.table.Save(filepath.Join(results, "table.json")))
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

// machine describes what everything is measured on.
func (h *house) machine() []string {
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
		fmt.Sprintf("%d CPUs (%s), %.1f GiB, Linux %s, %s", runtime.NumCPU(), processor(), float64(info.Totalram)*float64(info.Unit)/(1<<30),
			unix.ByteSliceToString(name.Release[:]), runtime.Version()),
		h.engine.describe(h.Context(), h.T),
		fmt.Sprintf("the servers' data on %s; bare python is %s; load %s at the start", filesystem(h.dir), python(), ten),
	}
}

// await asks until ok says so, with a pause in between.
func await(ctx context.Context, what string, pause time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", patience, what)
		}
	}
}
