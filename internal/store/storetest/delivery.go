package storetest

import (
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// deliverable stores an ended execution whose delivery is due in d.
func (h *harness) deliverable(d time.Duration) execution.ID {
	h.t.Helper()
	id := h.running("ann")
	delivery := h.delivery()
	delivery.NextAt = h.now.Add(d)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), delivery))
	return id
}

// attempt returns a failed attempt. Attempt number n begins n hours from now.
func (h *harness) attempt(id execution.ID, number int) execution.Attempt {
	return execution.Attempt{
		Execution: id, Number: number, StartedAt: h.now.Add(time.Duration(number)*time.Hour + time.Minute + 3),
		Duration: 1234567 * time.Nanosecond,
		Outcome:  execution.AttemptStatus, StatusCode: 503, Detail: "The receiver answered 503.",
		Answer:     []byte("busy\x00"),
		RetryAfter: 7 * time.Second,
	}
}

func (h *harness) due(at time.Time, limit int) (ids []execution.ID) {
	h.t.Helper()
	list, err := h.Due(h.ctx(), at, limit, limit, nil, nil)
	h.ok(err)
	for _, d := range list {
		ids = append(ids, d.Execution)
	}
	return ids
}

func testDueListsTheLongestDueFirst(h *harness) {
	third, first, second := h.deliverable(3*time.Hour), h.deliverable(time.Hour), h.deliverable(2*time.Hour)
	h.deliverable(9 * time.Hour)
	h.enqueue("ann")
	start := h.now
	h.equal(h.due(start, 10), []execution.ID(nil))
	h.equal(h.due(start.Add(4*time.Hour), 10), []execution.ID{first, second, third})
	h.equal(h.due(start.Add(4*time.Hour), 2), []execution.ID{first, second})
	at, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.equal(ok, true)
	h.equal(h.due(at, 10), []execution.ID{first}) // due at this very time, but not before
	h.equal(h.due(at.Add(-1), 10), []execution.ID(nil))
	later, ok, err := h.NextDue(h.ctx(), at) // a delivery that is due at the time is not next
	h.ok(err)
	h.equal(ok, true)
	h.equal(h.due(later, 10), []execution.ID{first, second})
}

func testDueExcludesExecutionsInFlightAndClosedDestinations(h *harness) {
	first, second := h.deliverable(0), h.deliverable(time.Second)
	at := h.now.Add(time.Hour)
	d, err := h.Delivery(h.ctx(), first)
	h.ok(err)
	for _, c := range []struct {
		inFlight []execution.ID
		closed   []string
		want     int
	}{
		{nil, nil, 2},
		{[]execution.ID{first}, nil, 1},
		{[]execution.ID{first, second}, nil, 0},
		{nil, []string{"https://elsewhere.example:443"}, 2},
		{nil, []string{"https://elsewhere.example:443", d.Callback.Destination()}, 0},
	} {
		list, err := h.Due(h.ctx(), at, 10, 10, c.inFlight, c.closed)
		h.ok(err)
		h.equal(len(list), c.want)
	}
}

func testDeliveryReturnsEverythingThatAnAttemptNeeds(h *harness) {
	given := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Finish(h.ctx(), given.ID, h.result(execution.Failed, execution.ImageUnavailable), h.delivery()))
	got, err := h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	want := *h.delivery()
	want.Execution, want.State, want.Callback = given.ID, execution.Pending, given.Callback
	h.equal(got, want)
}

// testDueBoundsEachDestination stores 50 deliveries to one destination, and then three to another.
func testDueBoundsEachDestination(h *harness) {
	busy, calm := map[execution.ID]bool{}, map[execution.ID]bool{}
	to := func(url string, n int, ids map[execution.ID]bool) (destination string) {
		for range n {
			e := h.execution("ann")
			e.Callback.URL = url
			_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
			h.ok(err)
			h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Failed, execution.ImageUnavailable), h.delivery()))
			ids[e.ID] = true
			destination = e.Callback.Destination()
		}
		return destination
	}
	busyAt := to("https://busy.example/hook", 50, busy)
	calmAt := to("https://calm.example/hook", 3, calm)
	at := h.now.Add(time.Hour)
	for _, c := range []struct{ each, limit, wantBusy, wantCalm int }{
		{4, 64, 4, 3}, {2, 64, 2, 2}, {4, 5, 4, 1}, {100, 64, 50, 3},
	} {
		list, err := h.Due(h.ctx(), at, c.each, c.limit, nil, nil)
		h.ok(err)
		counts := map[string]int{}
		for _, d := range list {
			h.equal(busy[d.Execution], d.Destination == busyAt)
			h.equal(calm[d.Execution], d.Destination == calmAt)
			counts[d.Destination]++
		}
		h.equal(counts, map[string]int{busyAt: c.wantBusy, calmAt: c.wantCalm})
	}
	first, err := h.Due(h.ctx(), at, 1, 1, nil, nil)
	h.ok(err)
	// the next one of the same destination
	second, err := h.Due(h.ctx(), at, 1, 1, []execution.ID{first[0].Execution}, nil)
	h.ok(err)
	h.equal(second[0].Destination, busyAt)
	h.equal(second[0].Execution == first[0].Execution, false)
}

func testBreakersSurviveARestart(h *harness) {
	open := execution.Breaker{Destination: "https://a.example:443", Openings: 2, OpenUntil: h.now.Add(time.Minute)}
	other := execution.Breaker{Destination: "https://b.example:443", Openings: 1, OpenUntil: h.now}
	h.ok(h.KeepBreaker(h.ctx(), other))
	h.ok(h.KeepBreaker(h.ctx(), execution.Breaker{Destination: open.Destination, Openings: 1, OpenUntil: h.now}))
	h.ok(h.KeepBreaker(h.ctx(), open))
	h.restart()
	list, err := h.Breakers(h.ctx())
	h.ok(err)
	h.equal(list, []execution.Breaker{open, other})
	h.ok(h.KeepBreaker(h.ctx(), execution.Breaker{Destination: open.Destination}))
	list, err = h.Breakers(h.ctx())
	h.ok(err)
	h.equal(list, []execution.Breaker{other})
}

func testDueDeliveriesSurviveARestart(h *harness) {
	id := h.deliverable(0)
	h.restart()
	h.equal(h.due(h.now, 10), []execution.ID{id})
}

func testNextDueReturnsTheEarliest(h *harness) {
	_, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.equal(ok, false)
	h.deliverable(2 * time.Hour)
	first := h.deliverable(time.Hour)
	want := h.now.Add(time.Hour)
	at, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.equal(ok, true)
	h.equal(at, want)
	h.ok(h.Record(h.ctx(), h.attempt(first, 1), execution.Delivered, "", time.Time{}))
	at, _, err = h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.equal(at.After(want), true)
}

func testRecordStoresTheAttemptAndSchedulesTheNext(h *harness) {
	id := h.deliverable(0)
	var want []execution.Attempt
	for n := 1; n <= 11; n++ {
		next := h.now.Add(time.Duration(n) * time.Hour)
		a := h.attempt(id, n)
		want = append(want, a)
		h.ok(h.Record(h.ctx(), a, execution.Pending, "", next))
		d, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.equal(d.State, execution.Pending)
		h.equal(d.Attempts, n)
		h.equal(d.NextAt, next)
		h.equal(d.EndedAt.IsZero(), true)
	}
	h.restart()
	got, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	h.equal(got, want)
}

func testRecordEndsTheDelivery(h *harness) {
	for state, reason := range map[execution.DeliveryState]execution.DeadReason{
		execution.Delivered: "", execution.Dead: execution.Gone,
	} {
		id := h.deliverable(0)
		a := h.attempt(id, 1)
		h.ok(h.Record(h.ctx(), a, state, reason, h.now)) // ignored, because the delivery has ended
		d, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.equal(d.State, state)
		h.equal(d.Reason, reason)
		h.equal(d.NextAt.IsZero(), true)
		h.equal(d.EndedAt, a.StartedAt.Add(a.Duration))
		h.equal(h.due(h.now.Add(time.Hour), 10), []execution.ID(nil))
		h.wantStale(h.Record(h.ctx(), h.attempt(id, 2), execution.Delivered, "", time.Time{}))
	}
}

func testRecordRefusesAnAttemptOutOfOrder(h *harness) {
	id := h.deliverable(0)
	h.wantStale(h.Record(h.ctx(), h.attempt(id, 2), execution.Pending, "", h.now))
	first := h.attempt(id, 1)
	h.ok(h.Record(h.ctx(), first, execution.Pending, "", h.now))
	h.wantStale(h.Record(h.ctx(), h.attempt(id, 1), execution.Delivered, "", time.Time{}))
	h.wantStale(h.Record(h.ctx(), h.attempt(id, 3), execution.Delivered, "", time.Time{}))
	h.wantStale(h.Record(h.ctx(), h.attempt(h.running("ann"), 1), execution.Delivered, "", time.Time{}))
	h.wantStale(h.Record(h.ctx(), h.attempt(execution.NewID(h.now), 1), execution.Delivered, "", time.Time{}))
	attempts, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	h.equal(attempts, []execution.Attempt{first})
}

func testRecordRefusesTheStateNone(h *harness) {
	id := h.deliverable(0)
	if err := h.Record(h.ctx(), h.attempt(id, 1), execution.NoDelivery, "", time.Time{}); err == nil {
		h.t.Fatal("Record moved a delivery to the state none")
	}
}

func testAnEndedDeliveryKeepsItsCallbackAndBody(h *harness) {
	for state, reason := range map[execution.DeliveryState]execution.DeadReason{
		execution.Delivered: "", execution.Dead: execution.Exhausted,
	} {
		id := h.deliverable(0)
		before, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.ok(h.Record(h.ctx(), h.attempt(id, 1), state, reason, time.Time{}))
		after, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.equal(after.Callback, before.Callback)
		h.equal(after.Body, before.Body)
	}
}

func testRecordDoesNotChangeTheExecution(h *harness) {
	id := h.deliverable(0)
	before := h.get(id)
	h.ok(h.Record(h.ctx(), h.attempt(id, 1), execution.Dead, execution.Blocked, time.Time{}))
	h.equal(h.get(id), before)
}

func testADeliveryBeginsWithoutAttempts(h *harness) {
	attempts, err := h.Attempts(h.ctx(), h.ended("ann"))
	h.ok(err)
	h.equal(len(attempts), 0)
}

func testRemoveDeletesOldEndedExecutions(h *harness) {
	start := h.now
	var ids []execution.ID
	for range 5 {
		ids = append(ids, h.deliverable(0))
	}
	queued := h.enqueue("ann")
	delivered := func(i int) {
		h.ok(h.Record(h.ctx(), h.attempt(ids[i], 1), execution.Delivered, "", time.Time{}))
	}
	delivered(0)
	delivered(1)
	delivered(3)
	h.ok(h.Record(h.ctx(), h.attempt(ids[2], 1), execution.Dead, execution.Gone, time.Time{})) // ids[4] stays pending

	remove := func(ended, dead time.Time, limit, want int) {
		h.t.Helper()
		n, err := h.Remove(h.ctx(), ended, dead, limit)
		h.ok(err)
		h.equal(n, want)
	}
	later := start.Add(1000 * time.Hour)
	remove(start.Add(-time.Hour), later, 10, 0) // none ended before
	remove(later, start, 1, 1)                  // only the one that ended first
	_, err := h.Get(h.ctx(), ids[0])
	h.wantFault(err, fault.ExecutionNotFound)
	_, err = h.Attempts(h.ctx(), ids[0])
	h.ok(err)
	remove(later, start, 10, 2) // neither the dead nor the pending one
	remove(later, start, 10, 0)
	remove(later, later, 10, 1)
	for _, id := range []execution.ID{ids[4], queued} {
		_, err := h.Get(h.ctx(), id)
		h.ok(err)
	}
	h.equal(h.due(later, 10), []execution.ID{ids[4]})
}
