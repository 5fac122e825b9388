//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	"boomerang/internal/servertest"
	"boomerang/internal/store"
)

// behaviour is how a receiver treats callbacks.
type behaviour string

const (
	healthy behaviour = "healthy"
	slow    behaviour = "slow"    // answers after receivers.slowness
	hanging behaviour = "hanging" // reads the request and never answers
	closed  behaviour = "closed"  // has closed its port
)

// receivers is a set of receivers, and the deliveries that become due to them.
type receivers struct {
	kinds    []behaviour
	urls     []string
	slowness time.Duration
	dir      string
	mu       sync.Mutex // guards the fields below
	due      map[execution.ID]time.Time
	at       map[execution.ID]int // index of the receiver
	arrived  map[execution.ID][]time.Time
	answered int
}

// newReceivers starts the receivers.
func newReceivers(t testing.TB, slowness time.Duration, kinds ...behaviour) *receivers {
	t.Helper()
	c := &receivers{
		kinds: kinds, slowness: slowness, dir: t.TempDir(),
		due: map[execution.ID]time.Time{}, at: map[execution.ID]int{}, arrived: map[execution.ID][]time.Time{},
	}
	for _, k := range kinds {
		server := httptest.NewServer(c.receiver(k))
		if k == closed {
			server.Close()
		} else {
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
		}
		c.urls = append(c.urls, server.URL)
	}
	return c
}

// receiver returns the handler of one receiver. It identifies callbacks by webhook-id and does not verify them.
func (c *receivers) receiver(k behaviour) http.Handler {
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
		case healthy, closed:
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.arrived[id] = append(c.arrived[id], at)
		c.answered++
	})
}

// storeDeliveries stores n ended executions. Their callbacks become due one by one from begin on, over span, to each
// receiver in turn.
func (c *receivers) storeDeliveries(t testing.TB, n int, begin time.Time, span time.Duration) {
	t.Helper()
	records := c.open(t)
	var wg sync.WaitGroup
	work := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range work {
				at := begin.Add(time.Duration(i) * span / time.Duration(n)).UTC()
				e := execution.Execution{
					ID: execution.NewID(at), Subject: "me", Language: "bash", State: execution.Queued, CreatedAt: at,
					Timeout:  time.Minute,
					Callback: execution.Callback{URL: c.urls[i%len(c.urls)] + "/webhook"},
				}
				_, _, err := records.Enqueue(t.Context(), e, nil, execution.QueueLimits{})
				if err == nil {
					err = records.Finish(t.Context(), e.ID,
						execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: at},
						&execution.Delivery{
							Body: []byte(`{"execution_id":"` + string(e.ID) + `"}`), NextAt: at,
							CreatedAt: at,
						})
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

func (c *receivers) open(t testing.TB) *store.Store {
	t.Helper()
	records, err := store.Open(t.Context(), c.dir, store.Defaults(), servertest.Silent())
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// serverConfigEnv names the environment variable with which this test binary becomes a server. The variable holds the
// configuration as JSON.
const serverConfigEnv = "BOOMERANG_E2E_SERVE"

// runServer runs a server with a configuration until SIGTERM. A test can kill its process.
func runServer(text string) error {
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

// serve starts a server process on the data of the receivers. The function that serve returns ends it with a signal.
func (c *receivers) serve(t testing.TB, change ...func(*config.Config)) (end func(syscall.Signal)) {
	t.Helper()
	settings := defaults()
	settings.DataDir = c.dir
	settings.Docker.Host = "unix://" + filepath.Join(c.dir, "no-engine.sock") // runs nothing
	settings.Dispatch.Slots = 1
	for _, f := range change {
		f(&settings)
	}
	end, _ = startProcess(t, settings)
	return end
}

// startProcess starts a server process and returns its ID, and a function that ends the process with a signal. The end
// of the test kills the process.
func startProcess(t testing.TB, settings config.Config) (end func(syscall.Signal), pid int) {
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
	process.Env = append(os.Environ(), serverConfigEnv+"="+string(text))
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

// sentTo returns the executions whose receiver has one of the behaviours.
func (c *receivers) sentTo(kinds ...behaviour) (ids []execution.ID) {
	for id, at := range c.at {
		if slices.Contains(kinds, c.kinds[at]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// eventually calls ok with the lock held until it returns true, and returns false if that takes longer than patience.
func (c *receivers) eventually(t testing.TB, ok func() bool) bool {
	t.Helper()
	return eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return ok()
	})
}

// allArrived reports whether a callback of every execution has arrived at the receivers that answer.
func (c *receivers) allArrived() bool {
	for _, id := range c.sentTo(healthy, slow) {
		if len(c.arrived[id]) == 0 {
			return false
		}
	}
	return true
}

func TestNoCallbackIsLostWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	c := newReceivers(t, 200*time.Millisecond, healthy, healthy, healthy, slow, hanging, closed, healthy, healthy)
	const n = 400
	c.storeDeliveries(t, n, time.Now().Add(4*time.Second), 3*time.Second)
	end := c.serve(t)
	if !c.eventually(t, func() bool { return c.answered >= 100 }) {
		t.Fatal("fewer than 100 callbacks arrived")
	}
	end(syscall.SIGKILL)
	end = c.serve(t)
	if !c.eventually(t, c.allArrived) {
		t.Error("some callbacks were lost")
	}
	end(syscall.SIGTERM) // after the last attempts are recorded

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
			t.Errorf("%s: the delivery counts %d attempts, %d are recorded", id, d.Attempts, len(attempts))
		}
		want := execution.Delivered
		if k := c.kinds[at]; k == hanging || k == closed {
			want = execution.Pending
		}
		if d.State != want {
			t.Errorf("delivery of %s to a %s receiver: got %s after %d attempts, want %s", id, c.kinds[at], d.State,
				d.Attempts, want)
		}
		repeated += max(0, len(c.arrived[id])-1)
	}
	if most := config.Defaults().Callback.Concurrency; repeated > most {
		t.Errorf("got %d repeated callbacks after the kill, want at most %d, which can be in flight", repeated, most)
	}
}

// BenchmarkArrivals measures the time from the end of an execution to the arrival of its callback at a healthy
// receiver. 10 000 executions end within 40 s; their callbacks go to 50 receivers, of which 10 are dead and 5 are slow.
// A callback that does not arrive within patience counts as two minutes.
func BenchmarkArrivals(b *testing.B) {
	kinds := slices.Concat(slices.Repeat([]behaviour{hanging, closed}, 5), slices.Repeat([]behaviour{slow}, 5),
		slices.Repeat([]behaviour{healthy}, 35))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "\n10 000 callbacks to 50 receivers\thealthy: p50 ms\tp99 ms\tmax ms\tattempts to the dead\t\n")
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
				fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t%d\t\n", c.name, waits.at(50), waits.at(99), waits.at(100),
					attempts)
				b.ReportMetric(waits.at(50), "ms-p50")
				b.ReportMetric(waits.at(99), "ms-p99")
			}
		})
	}
	_ = table.Flush()
}

func arrivals(b *testing.B, bounds callback.Destination, kinds []behaviour) (waits sample, attempts int) {
	b.Helper()
	c := newReceivers(b, time.Second, kinds...)
	begin := time.Now().Add(15 * time.Second)
	c.storeDeliveries(b, 10_000, begin, 40*time.Second)
	if late := time.Since(begin); late > 0 {
		b.Fatalf("storing took %s too long", late)
	}
	end := c.serve(b, func(s *config.Config) { s.Callback.Destination = bounds })
	c.eventually(b, c.allArrived)
	end(syscall.SIGKILL)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range c.sentTo(healthy) {
		wait := patience // at least: the callback has not arrived
		if at := c.arrived[id]; len(at) > 0 {
			wait = at[0].Sub(c.due[id])
		}
		waits = append(waits, wait)
	}
	records := c.open(b)
	defer func() { _ = records.Close() }()
	for _, id := range c.sentTo(hanging, closed) {
		d, err := records.Delivery(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		attempts += d.Attempts
	}
	return waits, attempts
}
