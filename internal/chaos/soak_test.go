//go:build chaos

package chaos

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
)

// footprint is what the server and the engine hold at one moment.
type footprint struct {
	at                                    time.Duration
	ended                                 int
	memory                                int // KiB, resident
	files, threads, containers, databases int // the last in KiB
}

func (f footprint) String() string {
	return fmt.Sprintf("%6s  %5d ended  %6d KiB resident  %3d files  %3d threads  %2d containers  %6d KiB of database",
		f.at.Round(time.Second), f.ended, f.memory, f.files, f.threads, f.containers, f.databases)
}

// TestItStaysFlat keeps all slots busy with mixed programs for MINUTES, breaks nothing, and reports what the server
// holds. It compares the last quarter with the second one: what grows with time shows there, what warms up does not.
func TestItStaysFlat(t *testing.T) {
	minutes := setting("MINUTES", 0)
	if minutes == 0 {
		t.Skip("takes as long as MINUTES says: make soak")
	}
	h := enter(t, 7, nil, "2")
	if err := unix.Mount("", h.data(), "", unix.MS_REMOUNT, "size=4g"); err != nil { // it keeps all that it ever printed
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(uint64(setting("SEED", 7)), 0))
	begin, span := time.Now(), time.Duration(minutes)*time.Minute
	const customers = 6 // two more than slots
	var mu sync.Mutex   // guards chance and n
	n := 0
	next := func() plan {
		mu.Lock()
		defer mu.Unlock()
		n++
		return draw(chance, fmt.Sprintf("soak-%d", n))
	}
	var wg sync.WaitGroup
	for range customers {
		wg.Go(func() {
			for time.Since(begin) < span {
				ticket := h.book(next())
				h.customer.submit(t.Context(), ticket)
				for end := time.Now().Add(patience); !h.hook.has(ticket.id()) && time.Now().Before(end); {
					rest(t.Context(), 20*time.Millisecond)
				}
			}
		})
	}
	var prints []footprint
	for time.Since(begin) < span && rest(t.Context(), span/40) {
		f, err := h.footprint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.at = time.Since(begin)
		prints = append(prints, f)
		t.Log(f)
	}
	wg.Wait()
	h.audit(syscall.SIGQUIT)
	early, late := prints[len(prints)/4:len(prints)/2], prints[3*len(prints)/4:]
	for name, of := range map[string]func(footprint) int{
		"resident memory": func(f footprint) int { return f.memory },
		"open files":      func(f footprint) int { return f.files },
		"threads":         func(f footprint) int { return f.threads },
		"containers":      func(f footprint) int { return f.containers },
	} {
		a, b := most(early, of), most(late, of)
		if b > a+a/4+4 {
			t.Errorf("%s grew from %d to %d", name, a, b)
		}
	}
}

func most(prints []footprint, of func(footprint) int) (n int) {
	for _, f := range prints {
		n = max(n, of(f))
	}
	return n
}

func (h *house) footprint(ctx context.Context) (f footprint, err error) {
	h.server.mu.Lock()
	proc := "/proc/" + strconv.Itoa(h.server.command.Process.Pid)
	h.server.mu.Unlock()
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return f, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		amount, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		switch name {
		case "VmRSS":
			f.memory = amount
		case "Threads":
			f.threads = amount
		}
	}
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return f, err
	}
	entries, err := os.ReadDir(h.data())
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			f.databases += int(info.Size() >> 10)
		}
	}
	h.hook.mu.Lock()
	f.ended = len(h.hook.got)
	h.hook.mu.Unlock()
	f.files, f.containers = len(files), len(h.engine.running(ctx))
	return f, nil
}

// TestAPrinterIsBounded lets programs print far more than is kept, on a disk of 64 MiB, and reports what it cost.
func TestAPrinterIsBounded(t *testing.T) {
	for _, c := range []struct {
		name, code string
		bytes      int64
	}{
		{"ten GiB of long lines", "yes $(printf %01000d 7) | head -c 10737418240", 10 << 30},
		{"ten GiB of yes", "yes | head -c 10737418240", 10 << 30},
		{"ten GiB of newlines", "yes '' | head -c 10737418240", 10 << 30},
		{"a million short lines", "yes | head -n 1000000", 2_000_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := enter(t, 8, nil, "2")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			before, err := h.footprint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			serverCPU, engineCPU := h.spent()
			begin := time.Now()
			status, id, _, err := h.customer.post(ctx, "/execute/async", map[string]any{
				"code": c.code, "language": "bash", "timeout": 300, "callback_url": h.hook.server.URL, "callback_signature_secret": secret,
			}, "")
			if err != nil || status != http.StatusOK {
				t.Fatal(status, err)
			}
			memory, log := 0, int64(0)
			for !h.hook.has(id) && rest(ctx, 50*time.Millisecond) {
				if f, err := h.footprint(ctx); err == nil {
					memory = max(memory, f.memory)
				}
				log = max(log, h.engine.logged())
			}
			took := time.Since(begin)
			serverAfter, engineAfter := h.spent()
			after, err := h.footprint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var books Books
			h.server.close(syscall.SIGTERM)
			h.read(&books)
			if len(books.Stored) != 1 {
				t.Fatalf("%d executions are stored", len(books.Stored))
			}
			r := books.Stored[0].Execution.Result
			if r == nil || r.State != execution.Completed || r.Stdout.Bytes != c.bytes || !r.OutputComplete {
				t.Errorf("got %+v, want it completed and %d bytes counted", r, c.bytes)
			}
			t.Logf("%d bytes in %s; server: %d KiB before, %d KiB at most; its disk: %d KiB before, %d KiB after; log of the container: %d KiB at most; "+
				"processor time: server %s, dockerd and containerd %s", c.bytes, took.Round(time.Millisecond), before.memory, memory,
				before.databases, after.databases, log>>10, serverAfter-serverCPU, engineAfter-engineCPU)
			if most := int64(40 << 20); log > most { // 1 MiB in lines of one byte, and what the engine writes with each
				t.Errorf("the container's log took %d bytes, want at most %d", log, most)
			}
		})
	}
}

// spent is how much processor time the server has used, and the engine's two daemons together.
func (h *house) spent() (server, engine time.Duration) {
	h.server.mu.Lock()
	pid := h.server.command.Process.Pid
	h.server.mu.Unlock()
	h.engine.mu.Lock()
	defer h.engine.mu.Unlock()
	return processorTime(pid), processorTime(h.engine.dockerd.process.Pid) + processorTime(h.engine.shims.process.Pid)
}

// processorTime of a process and the children that it has waited for; see proc_pid_stat(5).
func processorTime(pid int) (used time.Duration) {
	text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(text), ") ")
	const first, last, tick = 11, 14, 10 * time.Millisecond // utime to cstime, in USER_HZ, which is 100 everywhere
	for i, field := range strings.Fields(rest) {
		if n, err := strconv.Atoi(field); err == nil && first <= i && i <= last {
			used += time.Duration(n) * tick
		}
	}
	return used
}

// logged is the size of all logs of the engine's containers.
func (e *engine) logged() (size int64) {
	_ = filepath.WalkDir(e.path("data/containers"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "/local-logs/") {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}
