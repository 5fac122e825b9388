package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
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

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/store"
)

// plain is an Unsealer of fields that are not sealed.
type plain struct{}

func (plain) Unseal(_ execution.ID, _ string, sealed execution.Sealed) ([]byte, error) {
	return sealed, nil
}

// attack is a store and a deliverer, with hostile receivers on many addresses of 127.0.0.0/8.
type attack struct {
	t         testing.TB
	records   *store.Store
	deliverer *callback.Deliverer
	urls      []func(i int) string // of each kind of hostile receiver
	arrived   chan time.Time       // callbacks at the victim's receiver
	victimURL string
	hung      atomic.Int64 // connections at the hanging receivers so far
	giveUp    func()       // ends the connections of the hanging receivers
}

func newAttack(t testing.TB, set func(*callback.Config)) *attack {
	t.Helper()
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	log := logrus.NewEntry(logger)
	records, err := store.Open(t.Context(), t.TempDir(), store.Defaults(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &attack{t: t, records: records, arrived: make(chan time.Time, 1000)}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		select {
		case a.arrived <- time.Now():
		default: // the measurement has ended
		}
	}))
	t.Cleanup(receiver.Close)
	a.victimURL = receiver.URL + "/victim"
	hosts := func(l net.Listener) func(int) string {
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return func(i int) string { return fmt.Sprintf("http://127.1.%d.%d:%s/", i/250, 1+i%250, port) }
	}
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	hanging, hung := listen(), make(chan struct{})
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := hanging.Accept()
			if err != nil {
				return
			}
			a.hung.Add(1)
			connections.Go(func() {
				<-hung
				_ = conn.Close()
			})
		}
	})
	a.giveUp = sync.OnceFunc(func() {
		_ = hanging.Close()
		close(hung)
		connections.Wait()
	})
	t.Cleanup(a.giveUp)
	failing := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	_ = failing.Listener.Close()
	failing.Listener = listen()
	failing.Start()
	t.Cleanup(failing.Close)
	refusing := listen()
	_ = refusing.Close()
	a.urls = []func(int) string{hosts(hanging), hosts(refusing), hosts(failing.Listener)}

	c := callback.Defaults()
	c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	set(&c)
	policy, err := callback.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	a.deliverer = callback.NewDeliverer(c, callback.Deps{
		Store: records, Unsealer: plain{}, Policy: policy, Version: "test", Log: log,
	})
	return a
}

// end stores an ended execution of a subject whose result is due at url now.
func (a *attack) end(subject, url string) {
	ctx, now := a.t.Context(), time.Now()
	e := execution.Execution{
		ID: execution.NewID(now), Subject: subject, Language: "bash", WorkingDir: "/workspace", Timeout: time.Minute,
		CreatedAt: now, State: execution.Queued, Callback: execution.Callback{URL: url},
	}
	_, _, err := a.records.Enqueue(ctx, e, nil, execution.QueueLimits{Total: 1e9, PerSubject: 1e9})
	if err == nil {
		err = a.records.Finish(ctx, e.ID,
			execution.Result{State: execution.Failed, Reason: execution.ImageUnavailable, CompletedAt: now},
			&execution.Delivery{Body: []byte("{}"), NextAt: now, CreatedAt: now})
	}
	if err != nil && ctx.Err() == nil {
		a.t.Errorf("store a delivery: %v", err)
	}
}

// hostile makes one delivery of the subject mallory due at each of n destinations. Without kind they are a third each.
func (a *attack) hostile(n int, kind ...int) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range next {
				k := i % len(a.urls)
				if len(kind) > 0 {
					k = kind[0]
				}
				a.end("mallory", a.urls[k](i))
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// run runs the deliverer until the returned function is called.
func (a *attack) run() (stop func()) {
	ctx, quit := context.WithCancel(a.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.deliverer.Run(ctx) }()
	return func() {
		quit()
		a.giveUp()
		if err := <-done; err != nil {
			a.t.Errorf("Run: %v", err)
		}
	}
}

// victim sends n callbacks of another subject, one after another, and returns how long each took, in ascending order.
// A callback that takes longer than patience counts as that, and ends the measurement.
func (a *attack) victim(n int, patience time.Duration) (took []time.Duration) {
	for range n {
		time.Sleep(50 * time.Millisecond) // the pause between two callbacks
		begin := time.Now()
		a.end("victim", a.victimURL)
		select {
		case at := <-a.arrived:
			took = append(took, at.Sub(begin))
		case <-time.After(patience):
			took = append(took, patience)
			slices.Sort(took)
			return took
		}
	}
	slices.Sort(took)
	return took
}

// cpu returns the processor time that the process used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHostileDestinationsCostAnotherSubjectNothing measures a victim's callbacks beside hostile destinations: all
// hang, all refuse, all answer 500, or a third of each. CALLBACK_ATTACK has other numbers, for example "0,255,10000".
func TestHostileDestinationsCostAnotherSubjectNothing(t *testing.T) {
	numbers, callbacks := "255", 20
	if chosen := os.Getenv("CALLBACK_ATTACK"); chosen != "" {
		numbers, callbacks = chosen, 100
	}
	for text := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		for name, kind := range map[string][]int{
			"all hang": {0}, "all refuse": {1}, "all fail": {2}, "a third each": nil,
		} {
			t.Run(text+" "+name, func(t *testing.T) {
				a := newAttack(t, func(*callback.Config) {})
				a.hostile(n, kind...)
				defer a.run()()
				time.Sleep(time.Second) // the attack begins
				begin, before := time.Now(), cpu()
				took := a.victim(callbacks, 10*time.Second)
				share := 100 * float64(cpu()-before) / float64(time.Since(begin))
				var memory runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&memory)
				t.Logf("%6d %s: p50 %v, p99 %v of %d callbacks; %.0f %% of a core; %d MiB of heap", n, name,
					took[len(took)/2].Round(time.Millisecond), took[(99*len(took)-1)/100].Round(time.Millisecond),
					len(took), share, memory.HeapAlloc>>20)
				if last := took[len(took)-1]; last > 2*time.Second {
					t.Errorf("a callback of another subject took %v", last)
				}
				if hangs := name == "all hang" && n > 0; hangs && a.hung.Load() < 48 {
					t.Errorf("%d attempts hung, want three quarters of the places taken", a.hung.Load())
				}
			})
		}
	}
}

// BenchmarkCallbacks measures callbacks of one subject to one receiver without limits, from the store to their record.
func BenchmarkCallbacks(b *testing.B) {
	a := newAttack(b, func(c *callback.Config) { c.Destination.Concurrency, c.Destination.Rate = 48, 0 })
	a.arrived = make(chan time.Time, b.N)
	var wg sync.WaitGroup
	var stored atomic.Int64
	for range 64 {
		wg.Go(func() {
			for stored.Add(1) <= int64(b.N) {
				a.end("ann", a.victimURL)
			}
		})
	}
	wg.Wait()
	stop := a.run()
	b.ResetTimer()
	before := cpu()
	for range b.N {
		<-a.arrived
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "µs-cpu/op")
	stop()
}
