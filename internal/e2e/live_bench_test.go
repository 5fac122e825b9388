//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// followerGroup is a group of clients that follow executions.
type followerGroup struct {
	h     *harness
	wait  sync.WaitGroup
	bytes atomic.Int64 // read by all followers
	ends  atomic.Int64 // followers that received the end event
}

// follow opens a stream and reads it in the background.
func (a *followerGroup) follow(id execution.ID) {
	a.h.t.Helper()
	body := a.h.follow(id).open()
	if body == nil {
		a.h.t.Fatal("no stream")
	}
	a.wait.Go(func() {
		defer body.Close()
		last := make([]byte, 0, 2048)
		for buf := make([]byte, 32<<10); ; {
			n, err := body.Read(buf)
			a.bytes.Add(int64(n))
			last = append(last, buf[:n]...)
			last = last[max(0, len(last)-1024):]
			if err != nil {
				break
			}
		}
		if strings.Contains(string(last), "event: end\n") {
			a.ends.Add(1)
		}
	})
}

// usage is the processor time and the memory that a process has used.
type usage struct {
	cpu time.Duration
	rss int // MiB
}

func usageOf(t testing.TB, pid int) usage {
	t.Helper()
	p := servertest.Process(pid)
	rss, err := p.Status("VmRSS")
	if err != nil {
		t.Fatal(err)
	}
	cpu, _ := p.CPU()
	return usage{cpu, rss >> 10}
}

// peak watches the memory of a process until stop is called, which returns the highest value in MiB.
func peak(t testing.TB, pid int) (stop func() (rss int)) {
	t.Helper()
	done, most := make(chan struct{}), 0
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, usageOf(t, pid).rss)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() int {
		close(done)
		watch.Wait()
		return most
	}
}

// computeProgram computes for some seconds and prints a line of 1 KiB about 30 times a second. Followers could slow it
// down.
const computeProgram = `
for i in range(100):
    n = 0
    for j in range(600000): n += j * j
    print("%04d" % i, "x" * 1018)
`

const smallCatalogue = `
languages:
  python:
    image: boomerang/python:latest
    pull: never
    file: main.py
    command: [python3, "{file}"]
    env: {PYTHONUNBUFFERED: "1"}
  bash:
    image: boomerang/bash:latest
    pull: never
    file: main.sh
    command: [bash, "{file}"]
    limits: {memory: 32MiB, pids: 16, cpus: 0.5, workspace: 1MiB, tmp: 1MiB}
`

// newProcessHarness starts a server in a process of its own.
func newProcessHarness(b *testing.B, slots int) (h *harness, pid int) {
	b.Helper()
	h = &harness{t: b, config: defaults()}
	h.config.DataDir, h.config.HTTP.Addr = b.TempDir(), servertest.FreeAddress(b)
	h.config.Dispatch.Slots = slots
	withLanguages(b, smallCatalogue)(&h.config)
	h.url = "http://" + h.config.HTTP.Addr
	end, pid := startProcess(b, h.config)
	b.Cleanup(func() { end(syscall.SIGTERM) })
	h.awaitServer()
	h.token = h.tokenFor("me")
	return h, pid
}

// background submits a program without a callback.
func (h *harness) background(code string, f fields) execution.ID {
	h.t.Helper()
	f["code"] = code
	status, answer := h.call(http.MethodPost, "/execute/background", f)
	if status != http.StatusOK {
		h.t.Fatalf("submit: %d %v", status, answer)
	}
	return execution.ID(answer["execution_id"].(string))
}

// BenchmarkFollowers measures the cost of followers: 500 on one execution, and one on each of 100 executions. Runs with
// and without followers alternate, so that both meet the same load. The clients run on the same machine.
func BenchmarkFollowers(b *testing.B) {
	h, pid := newProcessHarness(b, 20)
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 16
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table,
		"\nfollowers\texecutions\ttime of one, s\tall, s\tserver's CPU, s\tits peak, MiB\tclients' CPU, s\tMB sent\t\n")
	defer func() {
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Fprintf(table, "load\t%s\t%d CPUs\t\t\t\t\t\t\n", strings.TrimSpace(string(load)), runtime.NumCPU())
		_ = table.Flush()
	}()
	one := map[int]*sample{0: {}, 500: {}}
	for b.Loop() {
		for range 3 {
			for _, followers := range []int{0, 500} {
				h.measure(table, pid, followers, 1, computeProgram, fields{"language": "python", "timeout": 120},
					one[followers])
			}
		}
		for _, followers := range []int{0, 100} {
			h.measure(table, pid, followers, 100, "for i in {1..30}; do echo line $i; sleep 0.1; done",
				fields{"language": "bash", "timeout": 120}, &sample{})
		}
	}
	b.ReportMetric(one[500].at(50)/one[0].at(50), "ratio-of-time")
}

// measure runs executions with followers, adds a line to table, and appends the mean execution time to times.
func (h *harness) measure(table io.Writer, pid, followers, executions int, code string, f fields, times *sample) {
	h.t.Helper()
	before, mine := usageOf(h.t, pid), usageOf(h.t, os.Getpid())
	stop := peak(h.t, pid)
	begin := time.Now()
	a := &followerGroup{h: h}
	var ids []execution.ID
	for range executions {
		ids = append(ids, h.background(code, f))
	}
	for i := range followers {
		a.follow(ids[i%len(ids)])
	}
	var took time.Duration
	for _, id := range ids {
		record := h.awaitRecord(id)
		if record["status"] != "completed" {
			h.t.Fatalf("execution is %v: %v", record["status"], record["error"])
		}
		each := time.Duration(record["execution_time"].(float64) * float64(time.Second))
		took += each / time.Duration(len(ids))
	}
	*times = append(*times, took)
	a.wait.Wait()
	if a.ends.Load() != int64(followers) {
		h.t.Errorf("%d of %d followers received the end event", a.ends.Load(), followers)
	}
	all, after, rss := time.Since(begin), usageOf(h.t, pid), stop()
	fmt.Fprintf(table, "%d\t%d\t%.2f\t%.1f\t%.2f\t%d → %d\t%.2f\t%.1f\t\n", followers, executions, took.Seconds(),
		all.Seconds(),
		(after.cpu - before.cpu).Seconds(), before.rss, rss, (usageOf(h.t, os.Getpid()).cpu - mine.cpu).Seconds(),
		float64(a.bytes.Load())/1e6)
}
