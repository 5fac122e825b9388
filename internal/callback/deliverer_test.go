package callback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/execution"
)

// deliveryTo returns a delivery of execution number n to host.
func deliveryTo(host string, n int) execution.Delivery {
	d := aDelivery("http://" + host + "/hook?token=hush")
	d.Execution = execution.ID(fmt.Sprintf("exec_%026d", n))
	return d
}

// runningDeliverer is a deliverer that runs until stop is called.
type runningDeliverer struct {
	*Deliverer
	hook *logtest.Hook
	stop func() // ends Run and waits for it
	quit context.CancelFunc
	done chan error
}

// start runs a deliverer in the bubble of the test, without jitter.
func start(t *testing.T, m Store, n *fakeNetwork, concurrency int) *runningDeliverer {
	t.Helper()
	return startWith(t, m, n, func(c *Config, _ *Deps) { c.Concurrency = concurrency }, func(*Deliverer) {})
}

// startWith is start with other settings, and with a deliverer that change has changed.
func startWith(
	t *testing.T, m Store, n *fakeNetwork, set func(*Config, *Deps), change func(*Deliverer),
) *runningDeliverer {
	t.Helper()
	logger, hook := logtest.NewNullLogger()
	c, deps := Defaults(), Deps{
		Store:    m,
		Unsealer: fakeUnsealer{},
		Policy:   newTestPolicy(t, defaultConfig),
		Version:  "1.2.3",
		Log:      logrus.NewEntry(logger),
	}
	set(&c, &deps)
	d := NewDeliverer(c, deps)
	d.jitter = func() float64 { return 0.5 }
	d.sender.transport.DialContext = n.dial
	change(d)
	ctx, quit := context.WithCancel(t.Context())
	r := &runningDeliverer{Deliverer: d, hook: hook, quit: quit, done: make(chan error, 1)}
	go func() { r.done <- d.Run(ctx) }()
	r.stop = func() {
		quit()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	return r
}

// sleep lets d pass in the bubble.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func always(status int) func(string) (int, time.Duration) {
	return func(string) (int, time.Duration) { return status, 0 }
}

func TestADeliveryArrivesAtOnceAndIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		sleep(time.Hour)
		began := time.Now()
		m.add(deliveryTo("a.example.com", 1))
		synctest.Wait()
		if got := n.at("a.example.com", began); len(got) != 1 || got[0] != 0 {
			t.Errorf("arrived at %v, want at once", got)
		}
		if d := m.get(deliveryTo("", 1).Execution); d.State != execution.Delivered || d.Attempts != 1 {
			t.Errorf("got %+v", d)
		}
		sleep(100 * time.Hour)
		r.stop()
		if len(n.arrivals) != 1 || len(m.attempts) != 1 {
			t.Errorf("%d arrivals, %d attempts recorded", len(n.arrivals), len(m.attempts))
		}
	})
}

func TestADeadReceiverIsCalledOnSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(500))
		r := start(t, m, n, 64)
		began := time.Now()
		sleep(200 * time.Hour)
		r.stop()
		want, at := []time.Duration{0}, time.Duration(0)
		for _, pause := range Defaults().Schedule {
			at += pause
			want = append(want, at)
		}
		if got := n.at("a.example.com", began); !slices.Equal(got, want) {
			t.Errorf("called at\n%v, want\n%v", got, want)
		}
		if d := m.get(deliveryTo("", 1).Execution); d.State != execution.Dead || d.Reason != execution.Exhausted ||
			d.Attempts != 11 {
			t.Errorf("got %+v", d)
		}
		for i, a := range n.arrivals {
			if got, want := a.header.Get("X-HopX-Attempt"), strconv.Itoa(i+1); got != want {
				t.Errorf("attempt header %q, want %q", got, want)
			}
			if got, want := a.header.Get("X-HopX-Timestamp"), strconv.FormatInt(a.at.Unix(), 10); got != want {
				t.Errorf("timestamp header %q, want %q", got, want)
			}
			if a.body != n.arrivals[0].body ||
				a.header.Get("webhook-id") != "msg_"+string(deliveryTo("", 1).Execution) {
				t.Errorf("attempt %d has another body or id: %q, %v", i+1, a.body, a.header)
			}
		}
	})
}

func TestGoneAndBlockedAreGivenUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		blocked := deliveryTo("a.example.com", 2)
		blocked.Callback.URL = "http://10.0.0.1/"
		m, n := newMemoryStore(deliveryTo("a.example.com", 1), blocked), newFakeNetwork(always(410))
		r := start(t, m, n, 64)
		sleep(100 * time.Hour)
		r.stop()
		for number, want := range map[int]execution.DeadReason{1: execution.Gone, 2: execution.Blocked} {
			if d := m.get(deliveryTo("", number).Execution); d.State != execution.Dead || d.Reason != want ||
				d.Attempts != 1 {
				t.Errorf("got %+v, want dead, %s", d, want)
			}
		}
		if len(n.arrivals) != 1 {
			t.Errorf("%d requests, want 1", len(n.arrivals))
		}
	})
}

func TestAHangingReceiverTakesThreePlacesAndDelaysNoOtherReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 1000 {
			m.add(deliveryTo("hanging.example.com", i))
		}
		sleep(time.Second) // the other deliveries are due later than these
		for i := range 50 {
			m.add(deliveryTo(fmt.Sprintf("good%d.example.com", i%5), 1000+i))
		}
		n := newFakeNetwork(func(host string) (int, time.Duration) {
			if host == "hanging.example.com" {
				return 0, 0
			}
			return 200, 100 * time.Millisecond
		})
		r := start(t, m, n, 64)
		sleep(time.Second)
		if got := m.delivered(); got != 50 {
			t.Errorf("%d of the others arrived within a second, want 50", got)
		}
		sleep(2 * time.Minute)
		r.stop()
		// the last place of a destination is for another subject
		most := Defaults().Destination.Concurrency - 1
		if got := m.most["http://hanging.example.com:80"]; got != most {
			t.Errorf("%d requests hung at a time, want %d", got, most)
		}
		if got := m.most["http://good0.example.com:80"]; got != most {
			t.Errorf("%d requests at a time to one of the others, want %d", got, most)
		}
	})
}

func TestConcurrencyBoundsAllDestinationsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 100 {
			m.addOf(fmt.Sprint("subject", i%10), deliveryTo(fmt.Sprintf("r%d.example.com", i), i))
		}
		n := newFakeNetwork(func(string) (int, time.Duration) { return 200, time.Second })
		r := start(t, m, n, 8)
		sleep(time.Minute)
		r.stop()
		if got := n.most; got != 8 {
			t.Errorf("%d requests at a time, want 8", got)
		}
		if got := m.delivered(); got != 100 {
			t.Errorf("%d arrived, want 100", got)
		}
	})
}

func TestADeliveryInFlightIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore(deliveryTo("slow.example.com", 1))
		n := newFakeNetwork(func(string) (int, time.Duration) { return 200, 20 * time.Second })
		r := start(t, m, n, 64)
		for i := range 10 {
			sleep(time.Second)
			m.add(deliveryTo("slow.example.com", 2+i)) // wakes the deliverer each time
		}
		sleep(10 * time.Minute)
		r.stop()
		if len(n.arrivals) != 11 {
			t.Errorf("%d requests for 11 deliveries", len(n.arrivals))
		}
	})
}

func TestALaterDeliveryIsSentOnTimeBesideAHangingOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		later := deliveryTo("later.example.com", 2)
		later.NextAt = began.Add(7 * time.Second)
		m := newMemoryStore(deliveryTo("hanging.example.com", 1), later)
		n := newFakeNetwork(func(host string) (int, time.Duration) {
			if host == "later.example.com" {
				return 200, 0
			}
			return 0, 0
		})
		r := start(t, m, n, 64)
		sleep(time.Minute)
		r.stop()
		if got := n.at("later.example.com", began); len(got) != 1 || got[0] != 7*time.Second {
			t.Errorf("sent at %v, want once after 7s", got)
		}
	})
}

func TestStopLetsAttemptsFinishAndStartsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore(deliveryTo("slow.example.com", 1))
		n := newFakeNetwork(func(string) (int, time.Duration) { return 200, 9 * time.Second })
		r := start(t, m, n, 64)
		sleep(time.Second)
		r.quit()
		m.add(deliveryTo("other.example.com", 2))
		r.stop()
		if d := m.get(deliveryTo("", 1).Execution); d.State != execution.Delivered {
			t.Errorf("the attempt in flight: got %+v", d)
		}
		if d := m.get(deliveryTo("", 2).Execution); d.State != execution.Pending || len(n.arrivals) != 1 {
			t.Errorf("the new one: got %+v, %d requests", d, len(n.arrivals))
		}
	})
}

func TestStopCancelsHangingAttemptsWithoutRecordingThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("hanging.example.com", 1)), newFakeNetwork(always(0))
		r := start(t, m, n, 64)
		sleep(time.Second)
		began := time.Now()
		r.stop()
		if took := time.Since(began); took != shutdownGrace {
			t.Errorf("stopped after %v, want %v", took, shutdownGrace)
		}
		if d := m.get(deliveryTo("", 1).Execution); d.State != execution.Pending || d.Attempts != 0 {
			t.Errorf("got %+v", d)
		}
	})
}

func TestStopRecordsASuccessWhoseBodyItCutsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(statusEndlessBody))
		r := start(t, m, n, 64)
		sleep(time.Second)
		r.stop()
		if d := m.get(deliveryTo("", 1).Execution); d.State != execution.Delivered {
			t.Errorf("got %+v", d)
		}
	})
}

func TestAfterACrashTheSameBytesAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(200))
		m.fail(nil, errors.New("the power fails before the record is written"))
		first := start(t, m, n, 64)
		synctest.Wait()
		began := time.Now()
		first.stop()
		if took := time.Since(began); took > shutdownGrace {
			t.Errorf("stopped after %v, although there was nothing to hope for", took)
		}
		m.fail(nil, nil)
		second := start(t, m, n, 64)
		synctest.Wait()
		second.stop()
		if len(n.arrivals) != 2 || len(m.attempts) != 1 {
			t.Fatalf("%d arrivals, %d attempts recorded, want 2 and 1", len(n.arrivals), len(m.attempts))
		}
		a, b := n.arrivals[0], n.arrivals[1]
		if a.body != b.body || a.header.Get("webhook-id") != b.header.Get("webhook-id") {
			t.Errorf("got\n%+v\n%+v", a, b)
		}
	})
}

func TestAnAttemptIsNotRepeatedWhileItsRecordIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(200))
		m.fail(nil, errors.New("disk full"))
		r := start(t, m, n, 64)
		sleep(5 * time.Minute)
		m.add(deliveryTo("b.example.com", 2)) // other destinations are tried meanwhile
		sleep(time.Minute)
		m.fail(nil, nil)
		sleep(maxRecordPause)
		r.stop()
		if len(n.arrivals) != 2 || m.delivered() != 2 {
			t.Errorf("%d requests, %d delivered; want 2 and 2", len(n.arrivals), m.delivered())
		}
		if got := logged(r.hook, logrus.ErrorLevel); got != 2 {
			t.Errorf("%d errors logged, want one for each delivery", got)
		}
	})
}

func TestAnAttemptThatIsNeverRecordedIsRepeatedRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(200))
		m.fail(nil, errors.New("disk full"))
		r := start(t, m, n, 64)
		began := time.Now()
		sleep(time.Hour - time.Second)
		got := n.at("a.example.com", began)
		r.stop()
		want := []time.Duration{
			0, maxRecordTime, 2 * maxRecordTime, 3 * maxRecordTime, 4 * maxRecordTime, 5 * maxRecordTime,
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent at %v, want %v", got, want)
		}
	})
}

func TestAnUnreadableStoreIsQueriedWithPausesAndReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(200))
		m.fail(errors.New("database is locked"), nil)
		r := start(t, m, n, 64)
		sleep(10 * time.Minute)
		if got, most := m.asked, int(10*time.Minute/storeRetryPause)+2; got > most {
			t.Errorf("asked %d times in ten minutes, want at most %d", got, most)
		}
		m.fail(nil, nil)
		sleep(storeRetryPause)
		if got := m.delivered(); got != 1 {
			t.Error("not delivered after the store came back")
		}
		m.fail(errors.New("database is locked again"), nil)
		sleep(10 * time.Minute)
		r.stop()
		if got := logged(r.hook, logrus.ErrorLevel); got != 2 {
			t.Errorf("%d errors logged, want one for each time", got)
		}
	})
}

func logged(hook *logtest.Hook, level logrus.Level) int {
	n := 0
	for _, entry := range hook.AllEntries() {
		if entry.Level == level {
			n++
		}
	}
	return n
}

func TestEachAttemptIsOneInfoLineWithoutPathAndQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore(deliveryTo("a.example.com:8080", 1))
		n := newFakeNetwork(func(string) (int, time.Duration) { return 410, 250 * time.Millisecond })
		r := start(t, m, n, 64)
		sleep(time.Minute)
		r.stop()
		entries := r.hook.AllEntries()
		if len(entries) != 1 || entries[0].Level != logrus.InfoLevel {
			t.Fatalf("got %d entries", len(entries))
		}
		want := logrus.Fields{
			"execution_id": deliveryTo("",
				1).Execution, "attempt": 1, "outcome": execution.AttemptStatus, "status": 410,
			"duration_ms": int64(250), "host": "a.example.com:8080", "state": execution.Dead, "reason": execution.Gone,
		}
		if got := entries[0].Data; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if line, err := entries[0].String(); err != nil || strings.Contains(line, "hush") ||
			strings.Contains(line, "/hook") {
			t.Errorf("got %s, %v", line, err)
		}
	})
}

// TestEveryPhaseOfAnAttemptHasATimeout lets receivers stall in every phase, with the real timeouts.
func TestEveryPhaseOfAnAttemptHasATimeout(t *testing.T) {
	drip := func(conn net.Conn, text string) {
		for i := 0; ; i = (i + 1) % len(text) {
			if _, err := conn.Write([]byte{text[i]}); err != nil {
				return
			}
			<-time.After(time.Second)
		}
	}
	for name, c := range map[string]struct {
		scheme string
		serve  func(conn net.Conn)
		want   execution.AttemptOutcome
		took   time.Duration
	}{
		"no answer": {
			"http", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, execution.AttemptTimeout,
			30 * time.Second,
		},
		"no handshake": {
			"https", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, execution.AttemptTimeout,
			5 * time.Second,
		},
		"dripping headers": {"http", func(conn net.Conn) {
			readRequest(conn)
			drip(conn, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: b\r\n", 100))
		}, execution.AttemptTimeout, 30 * time.Second},
		"dripping body": {"http", func(conn net.Conn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			drip(conn, "a")
		}, execution.AttemptSucceeded, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := testSender(newTestPolicy(t, defaultConfig))
				s.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					go func() {
						defer closeConn(server)
						c.serve(server)
					}()
					return client, nil
				}
				began := time.Now()
				a, err := s.send(t.Context(), aDelivery(c.scheme+"://hooks.example.com/"))
				if took := time.Since(began); a.Outcome != c.want || took != c.took || a.Duration != c.took {
					t.Errorf("got %q after %v (%v), want %q after %v", a.Outcome, took, err, c.want, c.took)
				}
				s.transport.CloseIdleConnections()
				sleep(time.Minute) // the receiver sees the closed connection
			})
		})
	}
}

func TestADestinationGetsTenAttemptsPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 100 {
			m.add(deliveryTo("a.example.com", i))
		}
		n := newFakeNetwork(always(200))
		began := time.Now()
		r := start(t, m, n, 64)
		sleep(20 * time.Second)
		r.stop()
		at := n.at("a.example.com", began)
		if len(at) != 100 {
			t.Fatalf("%d arrived, want 100", len(at))
		}
		for i, d := range at { // a burst of ten, then one every tenth of a second
			if want := max(0, time.Duration(i-9)*100*time.Millisecond); d < want || d > want+time.Millisecond {
				t.Errorf("arrival %d came after %s, want %s", i, d, want)
			}
		}
	})
}

func TestADeadDestinationIsPausedAndCostsNoAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 200 {
			m.add(deliveryTo("dead.example.com", i))
		}
		var well atomic.Bool
		n := newFakeNetwork(func(string) (int, time.Duration) {
			if well.Load() {
				return 200, 0
			}
			return 503, 0
		})
		r := start(t, m, n, 64)
		sleep(10 * time.Minute)
		if got := n.count(); got > 30 {
			t.Errorf("%d requests in ten minutes to a receiver that fails all, want a few probes after the first ten",
				got)
		}
		if got := logged(r.hook, logrus.WarnLevel); got < 2 {
			t.Errorf("%d warnings, want one each time that it is left alone", got)
		}
		attempts := 0
		for i := range 200 {
			attempts += m.get(deliveryTo("", i).Execution).Attempts
		}
		if attempts != n.count() {
			t.Errorf("%d attempts were counted, %d were made", attempts, n.count())
		}
		well.Store(true)
		sleep(11 * time.Minute) // one probe, then ten per second
		r.stop()
		if got := m.delivered(); got != 200 {
			t.Errorf("%d were delivered when it was well again, want all 200", got)
		}
		if len(m.breakers) != 0 {
			t.Errorf("still kept: %v", m.breakers)
		}
	})
}

func TestABreakerSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(503))
		for i := range 100 {
			m.add(deliveryTo("dead.example.com", i))
		}
		r := start(t, m, n, 64)
		sleep(2 * time.Minute) // it has opened twice: for 30 s, then for a minute
		r.stop()
		before := n.count()
		r = start(t, m, n, 64)
		defer func() { r.stop() }()
		sleep(time.Second)
		if got := n.count() - before; got != 0 {
			t.Errorf("%d requests after a restart to a destination that was left alone", got)
		}
		sleep(2 * time.Minute)
		if got := n.count() - before; got != 1 {
			t.Errorf("%d requests within two minutes, want one probe", got)
		}
	})
}

// Hanging destinations could take all slots, four each.
func TestManyHangingDestinationsLeaveASlotForAHealthyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 400 {
			m.add(deliveryTo(fmt.Sprintf("hanging%d.example.com", i%20), i))
		}
		n := newFakeNetwork(func(host string) (int, time.Duration) {
			if strings.HasPrefix(host, "hanging") {
				return 0, 0
			}
			return 200, 0
		})
		r := start(t, m, n, 64)
		sleep(time.Second)
		began := time.Now()
		m.add(deliveryTo("good.example.com", 1000))
		sleep(time.Second)
		if got := n.at("good.example.com", began); len(got) != 1 || got[0] != 0 {
			t.Errorf("the good one was called at %v, want at once", got)
		}
		r.stop()
	})
}

func TestAnUnreadableDeliveryIsRetriedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(deliveryTo("a.example.com", 1)), newFakeNetwork(always(200))
		m.unreadable = errors.New("disk I/O error")
		r := start(t, m, n, 64)
		sleep(time.Minute)
		// each time once more for other destinations
		if most := 2 * int(time.Minute/storeRetryPause+2); m.asked > most {
			t.Errorf("asked %d times in a minute, want at most %d", m.asked, most)
		}
		m.mu.Lock()
		m.unreadable = nil
		m.mu.Unlock()
		sleep(storeRetryPause)
		r.stop()
		if m.delivered() != 1 || logged(r.hook, logrus.ErrorLevel) != 1 {
			t.Errorf("%d delivered, %d errors logged, want 1 and 1", m.delivered(), logged(r.hook, logrus.ErrorLevel))
		}
	})
}
