//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// footprint is the resource usage of the server and the engine at one moment.
type footprint struct {
	at                                    time.Duration
	ended                                 int
	memory                                int // resident, in KiB
	files, threads, containers, databases int // databases in KiB
}

func (f footprint) String() string {
	return fmt.Sprintf("%6s  %5d ended  %6d KiB resident  %3d files  %3d threads  %2d containers  %6d KiB of database",
		f.at.Round(time.Second), f.ended, f.memory, f.files, f.threads, f.containers, f.databases)
}

// TestUsageStaysFlat keeps all slots busy with mixed programs for MINUTES, without faults, and reports the resource
// usage. It compares the last quarter with the second one, which excludes the warm-up.
func TestUsageStaysFlat(t *testing.T) {
	minutes := setting("MINUTES", 0)
	if minutes == 0 {
		t.Skip("set MINUTES: make soak")
	}
	h := newHarness(t, 7, nil, "2")
	// The database keeps the output of all executions.
	if err := unix.Mount("", h.data(), "", unix.MS_REMOUNT, "size=4g"); err != nil {
		t.Fatal(err)
	}
	chance := rand.New(rand.NewPCG(uint64(setting("SEED", 7)), 0))
	begin, span := time.Now(), time.Duration(minutes)*time.Minute
	const customers = 6 // more than slots
	var mu sync.Mutex   // guards chance and n
	n := 0
	next := func() plan {
		mu.Lock()
		defer mu.Unlock()
		n++
		return drawPlan(chance, fmt.Sprintf("soak-%d", n))
	}
	var wg sync.WaitGroup
	for range customers {
		wg.Go(func() {
			for time.Since(begin) < span {
				ticket := h.addTicket(next())
				h.customer.submit(t.Context(), ticket)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				_, _ = h.hook.Await(ctx, ticket.id())
				cancel()
			}
		})
	}
	var prints []footprint
	for time.Since(begin) < span && servertest.Rest(t.Context(), span/40) {
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

func (h *harness) footprint(ctx context.Context) (f footprint, err error) {
	process := h.server.process()
	var memoryErr, threadsErr error
	f.memory, memoryErr = process.Status("VmRSS")
	f.threads, threadsErr = process.Status("Threads")
	files, filesErr := os.ReadDir(process.File("fd"))
	entries, err := os.ReadDir(h.data())
	if err := errors.Join(memoryErr, threadsErr, filesErr, err); err != nil {
		return f, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			f.databases += int(info.Size() >> 10)
		}
	}
	f.ended = len(h.hook.All())
	f.files, f.containers = len(files), len(h.engine.running(ctx))
	return f, nil
}

// TestAPrinterIsBounded runs programs that print far more than is kept, on a disk of 64 MiB, and reports the cost.
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
			h := newHarness(t, 8, nil, "2")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			before, err := h.footprint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			serverCPU, engineCPU := h.cpuTimes()
			begin := time.Now()
			status, id, _, err := h.customer.post(ctx, "/execute/async", map[string]any{
				"code": c.code, "language": "bash", "timeout": 300, "callback_url": h.hook.URL,
				"callback_signature_secret": servertest.Secret,
			}, "")
			if err != nil || status != http.StatusOK {
				t.Fatal(status, err)
			}
			memory, log := 0, int64(0)
			for !h.hook.has(id) && servertest.Rest(ctx, 50*time.Millisecond) {
				if f, err := h.footprint(ctx); err == nil {
					memory = max(memory, f.memory)
				}
				log = max(log, h.engine.containerLogSize())
			}
			took := time.Since(begin)
			serverAfter, engineAfter := h.cpuTimes()
			after, err := h.footprint(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var books Books
			h.server.close(syscall.SIGTERM)
			h.readBooks(&books)
			if len(books.Stored) != 1 {
				t.Fatalf("%d executions are stored", len(books.Stored))
			}
			r := books.Stored[0].Execution.Result
			if r == nil || r.State != execution.Completed || r.Stdout.Bytes != c.bytes || !r.OutputComplete {
				t.Errorf("got %+v, want it completed and %d bytes counted", r, c.bytes)
			}
			t.Logf("%d bytes in %s; server: %d KiB before, %d KiB at most; its disk: %d KiB before, %d KiB after; "+
				"log of the container: %d KiB at most; "+
				"processor time: server %s, dockerd and containerd %s", c.bytes, took.Round(time.Millisecond),
				before.memory, memory,
				before.databases, after.databases, log>>10, serverAfter-serverCPU, engineAfter-engineCPU)
			if most := int64(40 << 20); log > most { // 1 MiB in lines of one byte, and the metadata of each line
				t.Errorf("the container's log took %d bytes, want at most %d", log, most)
			}
		})
	}
}

// cpuTimes returns the processor time of the server, and that of dockerd and containerd together, children included.
func (h *harness) cpuTimes() (server, engine time.Duration) {
	used := func(p servertest.Process) time.Duration {
		own, children := p.CPU()
		return own + children
	}
	h.engine.mu.Lock()
	defer h.engine.mu.Unlock()
	dockerd, shims := h.engine.dockerd.process.Pid, h.engine.shims.process.Pid
	return used(h.server.process()), used(servertest.Process(dockerd)) + used(servertest.Process(shims))
}

// process returns the current process.
func (s *server) process() servertest.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return servertest.Process(s.command.Process.Pid)
}

// containerLogSize returns the size of the logs of all containers in bytes.
func (e *engine) containerLogSize() (size int64) {
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
