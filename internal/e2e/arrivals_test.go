//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/app"
	"boomerang/internal/callback"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/store"
)

// kind is how a receiver of the crowd behaves.
type kind string

const (
	well    kind = "well"
	slow    kind = "slow"    // answers after crowd.slowness
	hanging kind = "hanging" // takes the request and never answers
	refuses kind = "refuses" // nobody listens
)

// crowd is many receivers and deliveries that become due to them one after another, each at its time.
type crowd struct {
	kinds    []kind
	urls     []string
	slowness time.Duration
	dir      string
	mu       sync.Mutex // guards what follows
	due      map[execution.ID]time.Time
	at       map[execution.ID]int // which receiver
	arrived  map[execution.ID][]time.Time
	answered int
}

// gather opens the receivers.
func gather(t testing.TB, slowness time.Duration, kinds ...kind) *crowd {
	t.Helper()
	c := &crowd{
		kinds: kinds, slowness: slowness, dir: t.TempDir(),
		due: map[execution.ID]time.Time{}, at: map[execution.ID]int{}, arrived: map[execution.ID][]time.Time{},
	}
	for _, k := range kinds {
		server := httptest.NewServer(c.receiver(k))
		if k == refuses {
			server.Close()
		} else {
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
		}
		c.urls = append(c.urls, server.URL)
	}
	return c
}

func (c *crowd) receiver(k kind) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := time.Now()
		id := execution.ID(strings.TrimPrefix(r.Header.Get("webhook-id"), "msg_"))
		_, _ = io.Copy(io.Discard, r.Body)
		switch k {
		case hanging:
			<-r.Context().Done()
			return
		case slow:
			time.Sleep(c.slowness)
		case well, refuses:
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.arrived[id] = append(c.arrived[id], at)
		c.answered++
	})
}

// owe stores n ended executions whose callbacks become due from begin on, over span, to each receiver in turn.
func (c *crowd) owe(t testing.TB, n int, begin time.Time, span time.Duration) {
	t.Helper()
	records := c.open(t)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range work {
				at := begin.Add(time.Duration(i) * span / time.Duration(n)).UTC()
				e := execution.Execution{
					ID: execution.NewID(at), Subject: "me", Language: "bash", State: execution.Queued, CreatedAt: at, Timeout: time.Minute,
					Callback: execution.Callback{URL: c.urls[i%len(c.urls)] + "/webhook"},
				}
				_, _, err := records.Enqueue(t.Context(), e, nil, execution.QueueLimits{})
				if err == nil {
					err = records.Finish(t.Context(), e.ID,
						execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: at},
						&execution.Delivery{Body: []byte(`{"execution_id":"` + string(e.ID) + `"}`), NextAt: at, CreatedAt: at})
				}
				if err != nil {
					t.Error(err)
				}
				c.mu.Lock()
				c.due[e.ID], c.at[e.ID] = at, i%len(c.urls)
				c.mu.Unlock()
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	if err := records.Close(); err != nil {
		t.Fatal(err)
	}
}

func (c *crowd) open(t testing.TB) *store.Store {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	records, err := store.Open(t.Context(), c.dir, store.Defaults(), logrus.NewEntry(log))
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// serveRole makes this test binary a server, with the configuration in the variable.
const serveRole = "BOOMERANG_E2E_SERVE"

// serveFor is the server: a process that can be killed.
func serveFor(text string) error {
	c := config.Defaults()
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	log := logrus.New()
	log.SetOutput(os.Stderr)
	log.SetLevel(logrus.WarnLevel)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server, err := app.New(ctx, c, "test", logrus.NewEntry(log))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// serve starts a server of its own process on the crowd's data, and returns what ends it with a signal.
func (c *crowd) serve(t testing.TB, change ...func(*config.Config)) (end func(syscall.Signal)) {
	t.Helper()
	settings := defaults()
	settings.DataDir = c.dir
	settings.HTTP.Addr = "127.0.0.1:0"
	settings.Docker.Host = "unix://" + filepath.Join(c.dir, "no-engine.sock") // nothing is to be run
	settings.Dispatch.Slots = 1
	settings.Callback.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, f := range change {
		f(&settings)
	}
	end, _ = launch(t, settings)
	return end
}

// launch starts a server of its own process, and returns what ends it with a signal, and its id. The test ends it as
// kill -9 does.
func launch(t testing.TB, settings config.Config) (end func(syscall.Signal), pid int) {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(self)
	process.Env = append(os.Environ(), serveRole+"="+string(text))
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(t.TempDir(), "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	process.Stderr = log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end = func(with syscall.Signal) {
		once.Do(func() {
			_ = process.Process.Signal(with)
			_ = process.Wait()
			if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
				t.Logf("log of the server:\n%s", text)
			}
			_ = log.Close()
		})
	}
	t.Cleanup(func() { end(syscall.SIGKILL) })
	return end, process.Process.Pid
}

// living are the executions whose receiver answers sooner or later.
func (c *crowd) living(kinds ...kind) (ids []execution.ID) {
	for id, at := range c.at {
		if slices.Contains(kinds, c.kinds[at]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// await waits until ok says so.
func (c *crowd) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		done := ok()
		c.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// all tells whether everything that can arrive has.
func (c *crowd) all() bool {
	for _, id := range c.living(well, slow) {
		if len(c.arrived[id]) == 0 {
			return false
		}
	}
	return true
}

func TestNoCallbackIsLostOverAKill(t *testing.T) {
	t.Parallel()
	c := gather(t, 200*time.Millisecond, well, well, well, slow, hanging, refuses, well, well)
	const n = 400
	c.owe(t, n, time.Now().Add(4*time.Second), 3*time.Second)
	end := c.serve(t)
	c.await(t, "the first 100 callbacks", func() bool { return c.answered >= 100 })
	end(syscall.SIGKILL)
	end = c.serve(t)
	c.await(t, "all that can arrive", c.all)
	end(syscall.SIGTERM) // the last are recorded

	records := c.open(t)
	defer func() { _ = records.Close() }()
	repeated := 0
	for id, at := range c.at {
		d, err := records.Delivery(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		attempts, err := records.Attempts(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if len(attempts) != d.Attempts {
			t.Errorf("%s: %d attempts are counted, %d are in the record", id, d.Attempts, len(attempts))
		}
		want := execution.Delivered
		if k := c.kinds[at]; k == hanging || k == refuses {
			want = execution.Pending
		}
		if d.State != want {
			t.Errorf("%s to a receiver that is %s: %s after %d attempts, want %s", id, c.kinds[at], d.State, d.Attempts, want)
		}
		repeated += max(0, len(c.arrived[id])-1)
	}
	if most := config.Defaults().Callback.Concurrency; repeated > most {
		t.Errorf("%d callbacks came again after the kill, want at most the %d that can be in flight", repeated, most)
	}
}

// BenchmarkArrivals has 10 000 executions end within 40 s whose callbacks go to 50 receivers, 10 of them dead and 5 slow,
// and tells how long after its end a result is with a receiver that is well. What has not arrived when the test's patience
// ends counts as two minutes.
func BenchmarkArrivals(b *testing.B) {
	kinds := slices.Concat(slices.Repeat([]kind{hanging, refuses}, 5), slices.Repeat([]kind{slow}, 5), slices.Repeat([]kind{well}, 35))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\n10 000 callbacks to 50 receivers\twell: p50 ms\tp99 ms\tmax ms\tattempts to the dead\t\n")
	usual := config.Defaults().Callback
	for _, c := range []struct {
		name   string
		bounds callback.Destination
	}{
		{"no bounds for a destination", callback.Destination{Concurrency: usual.Concurrency}},
		{"no breaker", callback.Destination{Concurrency: usual.Destination.Concurrency, Rate: usual.Destination.Rate}},
		{"all bounds", usual.Destination},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				waits, attempts := arrivals(b, c.bounds, kinds)
				fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%d\t\n", c.name, waits.at(50), waits.at(99), waits.at(100), attempts)
				b.ReportMetric(waits.at(50), "ms-p50")
				b.ReportMetric(waits.at(99), "ms-p99")
			}
		})
	}
	_ = table.Flush()
}

func arrivals(b *testing.B, bounds callback.Destination, kinds []kind) (waits sample, attempts int) {
	b.Helper()
	c := gather(b, time.Second, kinds...)
	begin := time.Now().Add(15 * time.Second)
	c.owe(b, 10_000, begin, 40*time.Second)
	if late := time.Since(begin); late > 0 {
		b.Fatalf("storing took %s too long", late)
	}
	end := c.serve(b, func(s *config.Config) { s.Callback.Destination = bounds })
	eventually(b, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.all()
	})
	end(syscall.SIGKILL)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.living(well) {
		wait := patience // at least: it has not arrived
		if at := c.arrived[id]; len(at) > 0 {
			wait = at[0].Sub(c.due[id])
		}
		waits = append(waits, wait)
	}
	records := c.open(b)
	defer func() { _ = records.Close() }()
	for _, id := range c.living(hanging, refuses) {
		d, err := records.Delivery(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		attempts += d.Attempts
	}
	return waits, attempts
}
