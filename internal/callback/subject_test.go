package callback

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// shared returns a delivery of execution number n to a path of a receiver that several subjects use.
func shared(path string, n int) execution.Delivery {
	d := deliveryTo("shared.example.com", n)
	d.Callback.URL = "http://shared.example.com" + path
	return d
}

// hangAt answers 200 at once, except that hosts with that prefix do not answer.
func hangAt(prefix string) func(string) (int, time.Duration) {
	return func(host string) (int, time.Duration) {
		if strings.HasPrefix(host, prefix) {
			return 0, 0
		}
		return 200, 0
	}
}

func TestASubjectWithManyHangingDestinationsDelaysNoOtherSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 255 {
			m.addOf("mallory", deliveryTo(fmt.Sprintf("hanging%d.example.com", i), i))
		}
		n := newFakeNetwork(hangAt("hanging"))
		r := start(t, m, n, 64)
		sleep(time.Second)
		if got := n.count(); got != 48 {
			t.Errorf("%d attempts of a subject alone are in flight, want three quarters of 64", got)
		}
		for i := range 10 {
			began := time.Now()
			m.addOf(fmt.Sprint("victim", i), deliveryTo(fmt.Sprintf("good%d.example.com", i), 1000+i))
			synctest.Wait()
			if got := n.at(fmt.Sprintf("good%d.example.com", i), began); len(got) != 1 || got[0] != 0 {
				t.Errorf("the callback of another subject came at %v, want at once", got)
			}
			sleep(7 * time.Second)
		}
		r.stop()
	})
}

func TestTwoSubjectsShareThePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 400 {
			m.addOf("ann", deliveryTo(fmt.Sprintf("ann%d.example.com", i), i))
		}
		n := newFakeNetwork(always(0))
		r := start(t, m, n, 64)
		sleep(time.Second)
		for i := range 400 {
			m.addOf("bob", deliveryTo(fmt.Sprintf("bob%d.example.com", i), 1000+i))
		}
		sleep(90 * time.Second)
		flying := map[string]int{}
		m.mu.Lock()
		for destination, number := range m.flying {
			flying[destination[len("http://"):len("http://ann")]] += number
		}
		m.mu.Unlock()
		for _, name := range []string{"ann", "bob"} {
			if flying[name] > 32 || flying[name] < 24 {
				t.Errorf("%s has %d attempts in flight, want at most half of 64 and about as many as the other: %v",
					name, flying[name], flying)
			}
		}
		r.stop()
	})
}

func TestAnOperatorBoundsTheAttemptsOfASubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 100 {
			m.addOf("ann", deliveryTo(fmt.Sprintf("ann%d.example.com", i), i))
		}
		n := newFakeNetwork(func(string) (int, time.Duration) { return 200, time.Second })
		r := startBounded(t, m, n, 64, func(subject string) int { return len(subject) })
		sleep(time.Minute)
		r.stop()
		if n.most != len("ann") || m.delivered() != 100 {
			t.Errorf("%d at a time, %d delivered; want 3 and 100", n.most, m.delivered())
		}
	})
}

func TestASharedReceiverIsSharedBySubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 1000 {
			m.addOf("mallory", shared("/mallory", i))
		}
		n := newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		for i := range 20 {
			sleep(2 * time.Second)
			d := shared("/victim", 2000+i)
			m.addOf("victim", d)
			sleep(200 * time.Millisecond) // one token for mallory, one for the victim
			if got := m.get(d.Execution).State; got != execution.Delivered {
				t.Errorf("callback %d of the other subject is %s after 200 ms, want it delivered", i, got)
			}
		}
		r.stop()
		if got, most := n.count(), 10+10*45; got > most {
			t.Errorf("%d callbacks to one receiver in 44 s, want at most %d", got, most)
		}
	})
}

func TestHangingAttemptsOfASubjectLeaveAPlaceAtASharedReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 100 {
			m.addOf("mallory", shared("/mallory", i))
		}
		n := newFakeNetwork(nil)
		n.path = hangAt("shared.example.com/mallory")
		r := start(t, m, n, 64)
		for i := range 20 {
			sleep(3 * time.Second)
			d := shared("/victim", 2000+i)
			m.addOf("victim", d)
			sleep(200 * time.Millisecond)
			if got := m.get(d.Execution).State; got != execution.Delivered {
				t.Errorf("callback %d of the other subject is %s after 200 ms, want it delivered", i, got)
			}
		}
		r.stop()
		if most := m.most["http://shared.example.com:80"]; most > Defaults().Destination.Concurrency {
			t.Errorf("%d attempts at a time to one receiver, want at most 4", most)
		}
	})
}

func TestABreakerHoldsForOneSubjectAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 100 {
			m.addOf("mallory", shared("/mallory", i))
		}
		n := newFakeNetwork(nil)
		n.path = func(target string) (int, time.Duration) {
			if strings.HasSuffix(target, "/mallory") {
				return 500, 0
			}
			return 200, 0
		}
		r := start(t, m, n, 64)
		sleep(10 * time.Second)
		breakers, _ := m.Breakers(t.Context())
		if len(breakers) != 1 || breakers[0].Subject != "mallory" {
			t.Errorf("got the breakers %+v, want one of mallory", breakers)
		}
		before := n.count()
		d := shared("/victim", 1000)
		m.addOf("victim", d)
		synctest.Wait()
		if m.get(d.Execution).State != execution.Delivered || n.count() != before+1 {
			t.Errorf("the callback of the other subject is %+v after %d requests, want it delivered by one", m.get(
				d.Execution), n.count()-before)
		}
		r.stop()
	})
}

// outage runs a deliverer with 20 deliveries of each of several subjects to a receiver that refuses connections, and
// then with some of the subject newcomer. It returns the number of attempts of the newcomer within 20 s.
func outage(t *testing.T, subjects int) (attempts int) {
	t.Helper()
	m := newMemoryStore()
	for i := range 20 * subjects {
		m.addOf(fmt.Sprint("subject", i%subjects), deliveryTo("dead.example.com", i))
	}
	n := newFakeNetwork(always(200))
	n.down = func(host string) bool { return host == "dead.example.com" }
	r := start(t, m, n, 64)
	sleep(20 * time.Second)
	var late []execution.ID
	for i := range 5 {
		d := deliveryTo("dead.example.com", 1000+i)
		m.addOf("newcomer", d)
		late = append(late, d.Execution)
		sleep(4 * time.Second)
	}
	r.stop()
	for _, id := range late {
		attempts += m.get(id).Attempts
	}
	return attempts
}

func TestADestinationThatSeveralSubjectsCannotReachIsPausedAtTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := outage(t, 2); got != 1 {
			t.Errorf("a third subject made %d attempts, want one that opened its breaker", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if got := outage(t, 1); got < 5 {
			t.Errorf("beside one subject that fails, another made %d attempts, want one of each delivery", got)
		}
	})
}

func TestAnAnswerClearsADestinationOfSuspicion(t *testing.T) {
	var e evidence
	now := time.Unix(1_706_400_000, 0)
	for range 100 {
		e.add("mallory", now)
	}
	if e.unreachable(now) {
		t.Error("the failures of one subject are enough")
	}
	for range maxTestimonies {
		e.add("ann", now)
	}
	if !e.unreachable(now) {
		t.Error("the failures of two subjects are not enough")
	}
	if e.unreachable(now.Add(breakerWindow + time.Second)) {
		t.Error("old failures still count")
	}
	for i := range 1000 {
		e.add(fmt.Sprint("subject", i), now)
	}
	if len(e.failures) > maxWitnesses {
		t.Errorf("%d subjects are remembered, want at most %d", len(e.failures), maxWitnesses)
	}
}

func TestAttemptsThatFailAtOnceAreBoundedBySubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range 1500 {
			m.addOf("mallory", deliveryTo(fmt.Sprintf("r%d.example.com", i), i))
		}
		n := newFakeNetwork(always(404))
		r := start(t, m, n, 64)
		sleep(2 * time.Second)
		r.stop()
		if n.count() > 48*11 {
			t.Errorf("%d failed attempts of one subject in two seconds, want five a second at each of 48 places",
				n.count())
		}
	})
}

func TestMoreDestinationsThanMemoryKeepsAreAllServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = maxPairs + 500
		m := newMemoryStore()
		for i := range many {
			d := deliveryTo(fmt.Sprintf("r%d.example.com", i), i)
			if i%2 == 0 {
				d.NextAt = time.Now().Add(time.Hour) // they must not take the memory of those that are due
			}
			m.addOf("ann", d)
		}
		n := newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		sleep(time.Minute)
		if got := m.delivered(); got != many/2 {
			t.Errorf("%d were delivered within a minute, want the %d that are due", got, many/2)
		}
		sleep(time.Hour + 2*time.Minute)
		r.stop()
		if got := m.delivered(); got != many {
			t.Errorf("%d were delivered, want %d", got, many)
		}
	})
}

func TestMemoryForTheDestinationsOfASubjectIsBounded(t *testing.T) {
	now := time.Unix(1_706_400_000, 0)
	traffic := newTraffic(Defaults(), func(string) int { return 0 }, nil)
	for i := range 5 * maxPairs {
		traffic.add(execution.Due{
			Execution: execution.ID(strconv.Itoa(i)), Subject: "mallory", Destination: fmt.Sprint("http://", i),
			NextAt: now.Add(time.Duration(i%2) * time.Hour),
		}, true, now)
	}
	s := traffic.subjects["mallory"]
	if len(s.pairs) != maxPairs || !s.missing() || len(traffic.timers) > maxPairs {
		t.Errorf("%d pairs and %d timers in memory (missing: %v), want %d", len(s.pairs), len(traffic.timers),
			s.missing(), maxPairs)
	}
	traffic.add(execution.Due{Execution: "x", Subject: "victim", Destination: "http://1", NextAt: now}, true, now)
	if p := traffic.known("victim", "http://1"); p == nil || p.stand != ready {
		t.Errorf("another subject's pair is %+v, want it ready", p)
	}
}

func TestARedeliveryDuringAFailedAttemptFollowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deliveryTo("slow.example.com", 1)
		m := newMemoryStore(d)
		n := newFakeNetwork(func(string) (int, time.Duration) { return 503, 20 * time.Second })
		began := time.Now()
		r := start(t, m, n, 64)
		sleep(10 * time.Second)
		m.redeliver(d.Execution)
		sleep(11 * time.Second)
		r.stop()
		if got := n.at("slow.example.com", began); !slices.Equal(got, []time.Duration{0, 20 * time.Second}) {
			t.Errorf("attempts at %v, want the second at the end of the first", got)
		}
		sleep(time.Minute) // the receiver sees the closed connection
	})
}

func TestARedeliveryOfADeliveredCallbackIsSentOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := deliveryTo("a.example.com", 1)
		m, n := newMemoryStore(d), newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		sleep(time.Minute)
		m.redeliver(d.Execution)
		sleep(time.Hour)
		r.stop()
		if n.count() != 2 {
			t.Errorf("%d requests, want two", n.count())
		}
	})
}

func TestADeliveryThatNoNewsReportedIsFoundByTheNextWalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		sleep(time.Second)
		m.mu.Lock()
		for i, host := range []string{"a.example.com", "b.example.com", "b.example.com"} {
			d := deliveryTo(host, i)
			d.NextAt = time.Now()
			m.deliveries[d.Execution] = &d
		}
		m.mu.Unlock()
		sleep(2 * walkInterval)
		r.stop()
		if got := m.delivered(); got != 3 {
			t.Errorf("%d delivered, want 3", got)
		}
	})
}

func TestAClockSetBackDelaysNoDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(503))
		for i := range 50 {
			m.addOf("ann", deliveryTo("dead.example.com", i))
		}
		var back atomic.Int64
		r := startChanged(t, m, n, func(d *Deliverer) {
			d.sender.now = func() time.Time { return time.Now().Round(0).Add(time.Duration(-back.Load())) }
		})
		sleep(20 * time.Second) // the breaker is open
		before := n.count()
		back.Store(int64(24 * time.Hour))
		for i, subject := range []string{"ann", "bob"} {
			d := deliveryTo("dead.example.com", 100+i)
			d.NextAt = time.Now().Add(-24 * time.Hour)
			m.addOf(subject, d)
		}
		sleep(time.Second)
		if got := n.count() - before; got < 2 {
			t.Errorf("%d attempts after the clock was set back, want one of bob and the probe of ann", got)
		}
		r.stop()
	})
}

func TestABreakerThatNothingProbesExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		for i := range breakerMinAttempts {
			d := deliveryTo("dead.example.com", i)
			d.Attempts = len(Defaults().Schedule) // the next attempt is the last one
			m.addOf("ann", d)
		}
		n := newFakeNetwork(always(503))
		r := start(t, m, n, 64)
		sleep(time.Minute)
		if kept, _ := m.Breakers(t.Context()); len(kept) != 1 {
			t.Fatalf("got %d breakers, want one that is open", len(kept))
		}
		sleep(breakerMemory + 3*walkInterval)
		r.stop()
		if kept, _ := m.Breakers(t.Context()); len(kept) != 0 {
			t.Errorf("got %+v, want no breaker", kept)
		}
	})
}

// test sends a sample of a subject and returns its result on a channel.
func (r *runningDeliverer) test(ctx context.Context, subject, url string) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := r.Try(ctx, Sample{Subject: subject, URL: url})
		result <- err
	}()
	return result
}

func isRefusal(err error) bool {
	refusal, ok := errors.AsType[*fault.Error](err)
	return ok && refusal.Code == fault.RateLimitExceeded
}

func TestTestsOfOneSubjectAreBoundedAndRefuseNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(hangAt("hanging"))
		r := start(t, m, n, 64)
		for i := range maxTests {
			r.test(t.Context(), "mallory", fmt.Sprintf("http://hanging%d.example.com/", i))
		}
		synctest.Wait()
		if err := <-r.test(t.Context(), "mallory", "http://good.example.com/"); !isRefusal(err) {
			t.Errorf("one test too many: got %v, want RATE_LIMIT_EXCEEDED", err)
		}
		began := time.Now()
		if err := <-r.test(t.Context(), "ann", "http://good.example.com/"); err != nil || time.Since(began) != 0 {
			t.Errorf("a test of another subject: got %v after %s, want it at once", err, time.Since(began))
		}
		sleep(time.Minute)
		if err := <-r.test(t.Context(), "mallory", "http://good.example.com/"); err != nil {
			t.Errorf("after the others: got %v", err)
		}
		r.stop()
	})
}

func TestTestsTakeTheTokensAndPlacesOfTheirDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(200))
		r := start(t, m, n, 64)
		began := time.Now()
		for time.Since(began) < 10*time.Second {
			for range 2 * maxTests {
				r.test(t.Context(), "mallory", "http://shared.example.com/")
			}
			sleep(50 * time.Millisecond)
		}
		if most := 10 + 10*10 + 1; n.count() > most || n.count() < 100 {
			t.Errorf("%d tests at one receiver in ten seconds, want ten a second", n.count())
		}
		d := shared("/victim", 1)
		m.addOf("victim", d)
		sleep(300 * time.Millisecond)
		if got := m.get(d.Execution).State; got != execution.Delivered {
			t.Errorf("a callback of another subject is %s, want it delivered", got)
		}
		sleep(time.Minute)
		r.stop()
	})
}

func TestATestIsRefusedWhileTheBreakerIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(503))
		for i := range breakerMinAttempts {
			m.addOf("ann", deliveryTo("dead.example.com", i))
		}
		r := start(t, m, n, 64)
		sleep(10 * time.Second)
		before := n.count()
		err := <-r.test(t.Context(), "ann", "http://dead.example.com/")
		if !isRefusal(err) || !strings.Contains(err.Error(), "http://dead.example.com:80") || n.count() != before {
			t.Errorf("got %v after %d requests, want a refusal that names the destination", err, n.count()-before)
		}
		if err := <-r.test(t.Context(), "bob", "http://dead.example.com/"); err != nil {
			t.Errorf("a test of another subject: %v", err)
		}
		r.stop()
	})
}

func TestATestThatGetsNoTurnIsRefusedAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(0))
		for i := range 10 {
			m.addOf("ann", deliveryTo("hanging.example.com", i))
		}
		r := start(t, m, n, 64)
		sleep(time.Second)
		began := time.Now()
		if err := <-r.test(t.Context(), "ann", "http://hanging.example.com/"); !isRefusal(err) ||
			time.Since(began) != maxTurnWait {
			t.Errorf("got %v after %s, want a refusal after %s", err, time.Since(began), maxTurnWait)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		result := r.test(ctx, "ann", "http://hanging.example.com/")
		synctest.Wait()
		cause := errors.New("the client left")
		cancel(cause)
		if err := <-result; !errors.Is(err, cause) {
			t.Errorf("got %v, want the cause of the context", err)
		}
		sleep(2 * time.Minute)
		r.stop()
		if err := <-r.test(t.Context(), "ann", "http://hanging.example.com/"); err == nil {
			t.Error("a test after the end of Run: got no error")
		}
	})
}

// startChanged is start for a deliverer that change has changed.
func startChanged(t *testing.T, m Store, n *fakeNetwork, change func(*Deliverer)) *runningDeliverer {
	t.Helper()
	return startWith(t, m, n, func(*Config, *Deps) {}, change)
}

// startBounded is start with a bound for each subject.
func startBounded(
	t *testing.T, m Store, n *fakeNetwork, concurrency int, bound func(string) int,
) *runningDeliverer {
	t.Helper()
	return startWith(t, m, n, func(c *Config, deps *Deps) { c.Concurrency, deps.Bound = concurrency, bound },
		func(*Deliverer) {})
}

func TestAWarningOnADestinationNamesTheSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemoryStore(), newFakeNetwork(always(503))
		for i := range breakerMinAttempts {
			m.addOf("ann", deliveryTo("dead.example.com", i))
		}
		r := start(t, m, n, 64)
		sleep(10 * time.Second)
		r.stop()
		for _, entry := range r.hook.AllEntries() {
			if entry.Level == logrus.WarnLevel && entry.Data["subject"] == "ann" {
				return
			}
		}
		t.Error("no warning names the subject")
	})
}
