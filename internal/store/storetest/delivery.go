package storetest

import (
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func deliveryTests() map[string]func(*house) {
	return map[string]func(*house){
		"DueIsWhatHasComeTheLongestFirst":       dueIsWhatHasCome,
		"DueTakesSomeOfEachDestination":         dueOfEach,
		"DeliveryCarriesAllThatAnAttemptNeeds":  deliveryCarries,
		"BreakersAreKept":                       breakersAreKept,
		"DueLeavesOutWhatItIsTold":              dueLeavesOut,
		"DueLosesNothingInARestart":             dueLosesNothing,
		"NextDueIsTheFirst":                     nextDue,
		"RecordKeepsTheAttemptAndMovesOn":       recordMovesOn,
		"RecordEndsTheDelivery":                 recordEnds,
		"RecordRefusesAnAttemptOutOfOrder":      recordRefuses,
		"RecordRefusesAStateThatNoAttemptGives": recordRefusesNone,
		"AnEndedDeliveryCanStillBeSentAsItWas":  endedKeepsItsCallback,
		"ADeliveryDoesNotTouchItsExecution":     deliveryAlone,
		"ADeliveryBeginsWithoutAttempts":        noAttempts,
		"WhatHasBeenKeptLongEnoughIsRemoved":    removalOfEnded,
	}
}

// deliverable stores an ended execution whose delivery is due after d.
func (h *house) deliverable(d time.Duration) execution.ID {
	h.t.Helper()
	id := h.running("ann")
	delivery := h.delivery()
	delivery.NextAt = h.now.Add(d)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), delivery))
	return id
}

// attempt is one that failed. Each begins an hour after the one before.
func (h *house) attempt(id execution.ID, number int) execution.Attempt {
	return execution.Attempt{
		Execution: id, Number: number, StartedAt: h.now.Add(time.Duration(number)*time.Hour + time.Minute + 3), Duration: 1234567 * time.Nanosecond,
		Outcome: execution.AttemptStatus, StatusCode: 503, Detail: "The receiver answered 503.", Answer: []byte("busy\x00"),
		RetryAfter: 7 * time.Second,
	}
}

func (h *house) due(at time.Time, limit int) (ids []execution.ID) {
	h.t.Helper()
	list, err := h.Due(h.ctx(), at, limit, limit, nil, nil)
	h.ok(err)
	for _, d := range list {
		ids = append(ids, d.Execution)
	}
	return ids
}

func dueIsWhatHasCome(h *house) {
	third, first, second := h.deliverable(3*time.Hour), h.deliverable(time.Hour), h.deliverable(2*time.Hour)
	h.deliverable(9 * time.Hour)
	h.enqueue("ann")
	start := h.now
	h.same(h.due(start, 10), []execution.ID(nil))
	h.same(h.due(start.Add(4*time.Hour), 10), []execution.ID{first, second, third})
	h.same(h.due(start.Add(4*time.Hour), 2), []execution.ID{first, second})
	at, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.same(ok, true)
	h.same(h.due(at, 10), []execution.ID{first}) // not before, but at the very time
	h.same(h.due(at.Add(-1), 10), []execution.ID(nil))
	later, ok, err := h.NextDue(h.ctx(), at) // what is due now is not next
	h.ok(err)
	h.same(ok, true)
	h.same(h.due(later, 10), []execution.ID{first, second})
}

func dueLeavesOut(h *house) {
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
		h.same(len(list), c.want)
	}
}

func deliveryCarries(h *house) {
	given := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Finish(h.ctx(), given.ID, h.result(execution.Failed, execution.ImageUnavailable), h.delivery()))
	got, err := h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	want := *h.delivery()
	want.Execution, want.State, want.Callback = given.ID, execution.Pending, given.Callback
	h.same(got, want)
}

// dueOfEach has 50 deliveries wait for one destination, longer than three for another.
func dueOfEach(h *house) {
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
	for _, c := range []struct{ each, limit, wantBusy, wantCalm int }{{4, 64, 4, 3}, {2, 64, 2, 2}, {4, 5, 4, 1}, {100, 64, 50, 3}} {
		list, err := h.Due(h.ctx(), at, c.each, c.limit, nil, nil)
		h.ok(err)
		counts := map[string]int{}
		for _, d := range list {
			h.same(busy[d.Execution], d.Destination == busyAt)
			h.same(calm[d.Execution], d.Destination == calmAt)
			counts[d.Destination]++
		}
		h.same(counts, map[string]int{busyAt: c.wantBusy, calmAt: c.wantCalm})
	}
	first, err := h.Due(h.ctx(), at, 1, 1, nil, nil)
	h.ok(err)
	second, err := h.Due(h.ctx(), at, 1, 1, []execution.ID{first[0].Execution}, nil) // the next of the same one
	h.ok(err)
	h.same(second[0].Destination, busyAt)
	h.same(second[0].Execution == first[0].Execution, false)
}

func breakersAreKept(h *house) {
	open := execution.Breaker{Destination: "https://a.example:443", Openings: 2, OpenUntil: h.now.Add(time.Minute)}
	other := execution.Breaker{Destination: "https://b.example:443", Openings: 1, OpenUntil: h.now}
	h.ok(h.KeepBreaker(h.ctx(), other))
	h.ok(h.KeepBreaker(h.ctx(), execution.Breaker{Destination: open.Destination, Openings: 1, OpenUntil: h.now}))
	h.ok(h.KeepBreaker(h.ctx(), open))
	h.restart()
	list, err := h.Breakers(h.ctx())
	h.ok(err)
	h.same(list, []execution.Breaker{open, other})
	h.ok(h.KeepBreaker(h.ctx(), execution.Breaker{Destination: open.Destination}))
	list, err = h.Breakers(h.ctx())
	h.ok(err)
	h.same(list, []execution.Breaker{other})
}

func dueLosesNothing(h *house) {
	id := h.deliverable(0)
	h.restart()
	h.same(h.due(h.now, 10), []execution.ID{id})
}

func nextDue(h *house) {
	_, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.same(ok, false)
	h.deliverable(2 * time.Hour)
	first := h.deliverable(time.Hour)
	want := h.now.Add(time.Hour)
	at, ok, err := h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.same(ok, true)
	h.same(at, want)
	h.ok(h.Record(h.ctx(), h.attempt(first, 1), execution.Delivered, "", time.Time{}))
	at, _, err = h.NextDue(h.ctx(), h.now)
	h.ok(err)
	h.same(at.After(want), true)
}

func recordMovesOn(h *house) {
	id := h.deliverable(0)
	var want []execution.Attempt
	for n := 1; n <= 11; n++ {
		next := h.now.Add(time.Duration(n) * time.Hour)
		a := h.attempt(id, n)
		want = append(want, a)
		h.ok(h.Record(h.ctx(), a, execution.Pending, "", next))
		d, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.same(d.State, execution.Pending)
		h.same(d.Attempts, n)
		h.same(d.NextAt, next)
		h.same(d.EndedAt.IsZero(), true)
	}
	h.restart()
	got, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	h.same(got, want)
}

func recordEnds(h *house) {
	for state, reason := range map[execution.DeliveryState]execution.DeadReason{execution.Delivered: "", execution.Dead: execution.Gone} {
		id := h.deliverable(0)
		a := h.attempt(id, 1)
		h.ok(h.Record(h.ctx(), a, state, reason, h.now)) // the time means nothing at the end
		d, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.same(d.State, state)
		h.same(d.Reason, reason)
		h.same(d.NextAt.IsZero(), true)
		h.same(d.EndedAt, a.StartedAt.Add(a.Duration))
		h.same(h.due(h.now.Add(time.Hour), 10), []execution.ID(nil))
		h.stale(h.Record(h.ctx(), h.attempt(id, 2), execution.Delivered, "", time.Time{}))
	}
}

func recordRefuses(h *house) {
	id := h.deliverable(0)
	h.stale(h.Record(h.ctx(), h.attempt(id, 2), execution.Pending, "", h.now))
	first := h.attempt(id, 1)
	h.ok(h.Record(h.ctx(), first, execution.Pending, "", h.now))
	h.stale(h.Record(h.ctx(), h.attempt(id, 1), execution.Delivered, "", time.Time{}))
	h.stale(h.Record(h.ctx(), h.attempt(id, 3), execution.Delivered, "", time.Time{}))
	h.stale(h.Record(h.ctx(), h.attempt(h.running("ann"), 1), execution.Delivered, "", time.Time{}))
	h.stale(h.Record(h.ctx(), h.attempt(execution.NewID(h.now), 1), execution.Delivered, "", time.Time{}))
	attempts, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	h.same(attempts, []execution.Attempt{first})
}

func recordRefusesNone(h *house) {
	id := h.deliverable(0)
	if err := h.Record(h.ctx(), h.attempt(id, 1), execution.NoDelivery, "", time.Time{}); err == nil {
		h.t.Fatal("the delivery went back to none")
	}
}

func endedKeepsItsCallback(h *house) {
	for state, reason := range map[execution.DeliveryState]execution.DeadReason{execution.Delivered: "", execution.Dead: execution.Exhausted} {
		id := h.deliverable(0)
		before, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.ok(h.Record(h.ctx(), h.attempt(id, 1), state, reason, time.Time{}))
		after, err := h.Delivery(h.ctx(), id)
		h.ok(err)
		h.same(after.Callback, before.Callback)
		h.same(after.Body, before.Body)
	}
}

func deliveryAlone(h *house) {
	id := h.deliverable(0)
	before := h.get(id)
	h.ok(h.Record(h.ctx(), h.attempt(id, 1), execution.Dead, execution.Blocked, time.Time{}))
	h.same(h.get(id), before)
}

func noAttempts(h *house) {
	attempts, err := h.Attempts(h.ctx(), h.ended("ann"))
	h.ok(err)
	h.same(len(attempts), 0)
}

func removalOfEnded(h *house) {
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
	h.ok(h.Record(h.ctx(), h.attempt(ids[2], 1), execution.Dead, execution.Gone, time.Time{})) // and ids[4] stays pending

	remove := func(ended, dead time.Time, limit, want int) {
		h.t.Helper()
		n, err := h.Remove(h.ctx(), ended, dead, limit)
		h.ok(err)
		h.same(n, want)
	}
	later := start.Add(1000 * time.Hour)
	remove(start.Add(-time.Hour), later, 10, 0) // none ended before
	remove(later, start, 1, 1)                  // the longest ended one alone
	_, err := h.Get(h.ctx(), ids[0])
	h.fault(err, fault.ExecutionNotFound)
	_, err = h.Attempts(h.ctx(), ids[0])
	h.ok(err)
	remove(later, start, 10, 2) // not the dead one yet, and not the pending one
	remove(later, start, 10, 0)
	remove(later, later, 10, 1)
	for _, id := range []execution.ID{ids[4], queued} {
		_, err := h.Get(h.ctx(), id)
		h.ok(err)
	}
	h.same(h.due(later, 10), []execution.ID{ids[4]})
}
