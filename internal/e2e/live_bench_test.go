//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"boomerang/internal/execution"
)

// audience is so many clients that follow, and what they have heard.
type audience struct {
	h     *house
	wait  sync.WaitGroup
	bytes atomic.Int64
	ends  atomic.Int64
}

// attend opens one stream and reads it to its end; it returns when the stream is open.
func (a *audience) attend(id execution.ID) {
	a.h.t.Helper()
	body := a.h.listen(id).open()
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

// vitals is what a process has used.
type vitals struct {
	cpu time.Duration
	rss int // MiB
}

func vitalsOf(t testing.TB, pid int) (v vitals) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	pages, _ := strconv.Atoi(f[21])
	return vitals{time.Duration(user+system) * 10 * time.Millisecond, pages * os.Getpagesize() / mib}
}

// peak watches the memory of a process until stop is called.
func peak(t testing.TB, pid int) (stop func() (rss int)) {
	t.Helper()
	done, most := make(chan struct{}), 0
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, vitalsOf(t, pid).rss)
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

// worker computes for some seconds and prints a line of 1 KiB some 30 times a second; its own time is what followers could cost it.
const worker = `
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

// alone starts a server of its own process.
func alone(b *testing.B, slots int) (h *house, pid int) {
	b.Helper()
	h = &house{t: b, config: defaults()}
	h.config.DataDir, h.config.HTTP.Addr = b.TempDir(), "127.0.0.1:"+freePort(b)
	h.config.Dispatch.Slots = slots
	catalogue(b, smallCatalogue)(&h.config)
	h.url = "http://" + h.config.HTTP.Addr
	end, pid := launch(b, h.config)
	b.Cleanup(func() { end(syscall.SIGTERM) })
	h.awaken()
	h.token = h.tokenFor("me")
	return h, pid
}

func (h *house) background(code string, f fields) execution.ID {
	h.t.Helper()
	f["code"] = code
	status, answer := h.call(http.MethodPost, "/execute/background", f)
	if status != http.StatusOK {
		h.t.Fatalf("submit: %d %v", status, answer)
	}
	return execution.ID(answer["execution_id"].(string))
}

// BenchmarkFollowers measures what followers cost: 500 on one execution, and one on each of 100. Each is measured beside the
// same without followers, in turns, so that both meet the same machine. The clients run on the same machine, too.
func BenchmarkFollowers(b *testing.B) {
	h, pid := alone(b, 20)
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 16
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\nfollowers\texecutions\ttime of one, s\tall, s\tserver's CPU, s\tits peak, MiB\tclients' CPU, s\tMB sent\t\n")
	defer func() {
		load, _ := os.ReadFile("/proc/loadavg")
		fmt.Fprintf(table, "load\t%s\t%d CPUs\t\t\t\t\t\t\n", strings.TrimSpace(string(load)), runtime.NumCPU())
		_ = table.Flush()
	}()
	one := map[int]*sample{0: {}, 500: {}}
	for b.Loop() {
		for range 3 {
			for _, followers := range []int{0, 500} {
				h.measure(table, pid, followers, 1, worker, fields{"language": "python", "timeout": 120}, one[followers])
			}
		}
		for _, followers := range []int{0, 100} {
			h.measure(table, pid, followers, 100, "for i in {1..30}; do echo line $i; sleep 0.1; done", fields{"language": "bash", "timeout": 120}, &sample{})
		}
	}
	b.ReportMetric(one[500].at(50)/one[0].at(50), "ratio-of-time")
}

func (h *house) measure(table io.Writer, pid, followers, executions int, code string, f fields, times *sample) {
	h.t.Helper()
	before, mine := vitalsOf(h.t, pid), vitalsOf(h.t, os.Getpid())
	stop := peak(h.t, pid)
	begin := time.Now()
	a := &audience{h: h}
	var ids []execution.ID
	for range executions {
		ids = append(ids, h.background(code, f))
	}
	for i := range followers {
		a.attend(ids[i%len(ids)])
	}
	var took time.Duration
	for _, id := range ids {
		record := h.record(id)
		if record["status"] != "completed" {
			h.t.Fatalf("it is %v: %v", record["status"], record["error"])
		}
		each := time.Duration(record["execution_time"].(float64) * float64(time.Second))
		took += each / time.Duration(len(ids))
	}
	*times = append(*times, took)
	a.wait.Wait()
	if a.ends.Load() != int64(followers) {
		h.t.Errorf("%d of %d followers were told the end", a.ends.Load(), followers)
	}
	all, after, rss := time.Since(begin), vitalsOf(h.t, pid), stop()
	fmt.Fprintf(table, "%d\t%d\t%.2f\t%.1f\t%.2f\t%d → %d\t%.2f\t%.1f\t\n", followers, executions, took.Seconds(), all.Seconds(),
		(after.cpu - before.cpu).Seconds(), before.rss, rss, (vitalsOf(h.t, os.Getpid()).cpu - mine.cpu).Seconds(), float64(a.bytes.Load())/1e6)
}
