package storetest

import (
	"slices"
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

// due lists the deliveries that are due at a time, the longest due first, at most limit of each pair.
func (h *harness) due(at time.Time, limit int) (ids []execution.ID) {
	h.t.Helper()
	var due []execution.Due
	for _, head := range h.heads("", "", 1000) {
		list, err := h.Waiting(h.ctx(), head.Subject, head.Destination, limit)
		h.ok(err)
		h.equal(list[0], head)
		for _, d := range list {
			if !d.NextAt.After(at) {
				due = append(due, d)
			}
		}
	}
	slices.SortStableFunc(due, func(a, b execution.Due) int { return a.NextAt.Compare(b.NextAt) })
	for _, d := range due {
		ids = append(ids, d.Execution)
	}
	return ids
}

func (h *harness) heads(subject, destination string, limit int) []execution.Due {
	h.t.Helper()
	heads, err := h.Heads(h.ctx(), subject, destination, limit)
	h.ok(err)
	return heads
}

// news lists the deliveries behind the cursor, page by page, and moves the cursor behind them.
func (h *harness) news(cursor *execution.NewsCursor, page int) (ids []execution.ID) {
	h.t.Helper()
	for {
		list, next, err := h.News(h.ctx(), *cursor, page)
		h.ok(err)
		for _, d := range list {
			ids = append(ids, d.Execution)
		}
		if *cursor = next; len(list) < page {
			return ids
		}
	}
}

func testWaitingListsTheLongestDueFirst(h *harness) {
	third, first, second := h.deliverable(3*time.Hour), h.deliverable(time.Hour), h.deliverable(2*time.Hour)
	fourth := h.deliverable(9 * time.Hour)
	h.enqueue("ann")
	all := []execution.ID{first, second, third, fourth}
	h.equal(h.due(h.now, 10), []execution.ID(nil))
	h.equal(h.due(h.now.Add(9*time.Hour), 10), all)
	h.equal(h.due(h.now.Add(9*time.Hour), 2), all[:2])
	at := h.heads("", "", 10)[0].NextAt
	h.equal(h.due(at, 10), all[:1]) // due at this very time, but not before
	h.equal(h.due(at.Add(-1), 10), []execution.ID(nil))
	h.ok(h.Record(h.ctx(), h.attempt(first, 1), execution.Delivered, "", time.Time{}))
	h.equal(h.due(h.now.Add(9*time.Hour), 10), all[1:])
}

// deliverTo stores an ended execution of a subject whose delivery to url is due after a time.
func (h *harness) deliverTo(subject, url string, after time.Duration) execution.Due {
	h.t.Helper()
	e := h.execution(subject)
	e.Callback.URL = url
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.ok(err)
	delivery := h.delivery()
	delivery.NextAt = h.now.Add(after)
	h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Failed, execution.ImageUnavailable), delivery))
	return execution.Due{
		Execution: e.ID, Subject: subject, Destination: e.Callback.Destination(), NextAt: delivery.NextAt,
	}
}

func testHeadsListTheEarliestOfEachPair(h *harness) {
	const one, two = "https://one.example/a", "https://two.example/b"
	for range 50 {
		h.deliverTo("ann", one, time.Hour)
	}
	annOne := h.deliverTo("ann", one, time.Second)
	bobTwo := h.deliverTo("bob", two, 0)
	annTwo := h.deliverTo("ann", two, 30*time.Minute)
	bobOne := h.deliverTo("bob", one, time.Minute)
	all := []execution.Due{annOne, annTwo, bobOne, bobTwo}
	h.equal(h.heads("", "", 10), all)
	h.equal(h.heads("", "", 3), all[:3])
	h.equal(h.heads("ann", annOne.Destination, 10), all[1:])
	h.equal(h.heads("ann", "\U0010FFFF", 10), all[2:])
	h.equal(h.heads("bob", bobTwo.Destination, 10), []execution.Due(nil))
	h.ok(h.Record(h.ctx(), h.attempt(annTwo.Execution, 1), execution.Dead, execution.Gone, time.Time{}))
	h.equal(h.heads("ann", annOne.Destination, 10), all[2:])
}

func testNewsListEachDeliveryThatBecomesPendingOnce(h *harness) {
	cursor, err := h.LatestNews(h.ctx())
	h.ok(err)
	h.equal(h.news(&cursor, 10), []execution.ID(nil))
	first, second, third := h.deliverable(5*time.Hour), h.deliverable(time.Hour), h.deliverable(0)
	h.equal(h.news(&cursor, 2), []execution.ID{first, second, third})
	h.equal(h.news(&cursor, 2), []execution.ID(nil))

	h.ok(h.Record(h.ctx(), h.attempt(first, 1), execution.Delivered, "", time.Time{}))
	h.ok(h.Record(h.ctx(), h.attempt(second, 1), execution.Pending, "", h.now.Add(time.Hour)))
	h.ok(h.Record(h.ctx(), h.attempt(third, 1), execution.Delivered, "", time.Time{}))
	h.equal(h.news(&cursor, 2), []execution.ID(nil)) // the deliverer itself records attempts

	h.ok(h.Redeliver(h.ctx(), second, h.now.Add(200*time.Hour))) // it is still pending
	h.ok(h.Redeliver(h.ctx(), first, h.now.Add(200*time.Hour)))
	h.equal(h.news(&cursor, 2), []execution.ID{second, first})

	h.restart()
	latest, err := h.LatestNews(h.ctx())
	h.ok(err)
	h.equal(h.news(&latest, 2), []execution.ID(nil))
	fourth := h.deliverable(0)
	h.equal(h.news(&latest, 2), []execution.ID{fourth})
}

func testNewsListTheRecoveredDeliveriesInPages(h *harness) {
	var ids []execution.ID
	for range 7 {
		id := h.deliverable(0)
		h.ok(h.Record(h.ctx(), h.attempt(id, 1), execution.Dead, execution.Gone, time.Time{}))
		ids = append(ids, id)
	}
	cursor, err := h.LatestNews(h.ctx())
	h.ok(err)
	n, err := h.Recover(h.ctx(), execution.Recovery{}, h.now.Add(100*time.Hour))
	h.ok(err)
	h.equal(n, 7)
	h.equal(h.news(&cursor, 3), ids)
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

func testBreakersSurviveARestart(h *harness) {
	open := execution.Breaker{
		Subject: "ann", Destination: "https://a.example:443", Openings: 2, OpenUntil: h.now.Add(time.Minute),
	}
	same := open
	same.Subject, same.Openings = "bob", 1
	other := execution.Breaker{Subject: "ann", Destination: "https://b.example:443", Openings: 1, OpenUntil: h.now}
	first := open
	first.Openings, first.OpenUntil = 1, h.now
	for _, b := range []execution.Breaker{other, first, open, same} {
		h.ok(h.KeepBreaker(h.ctx(), b))
	}
	h.restart()
	list, err := h.Breakers(h.ctx())
	h.ok(err)
	h.equal(list, []execution.Breaker{open, other, same})
	for _, want := range []execution.Breaker{open, same} {
		got, err := h.Breaker(h.ctx(), want.Subject, want.Destination)
		h.ok(err)
		h.equal(got, want)
	}
	closed := execution.Breaker{Subject: open.Subject, Destination: open.Destination}
	h.ok(h.KeepBreaker(h.ctx(), closed))
	got, err := h.Breaker(h.ctx(), open.Subject, open.Destination)
	h.ok(err)
	h.equal(got, closed)
	list, err = h.Breakers(h.ctx())
	h.ok(err)
	h.equal(list, []execution.Breaker{other, same})
}

func testBreakersAreForgottenAfterATime(h *harness) {
	for i := range 5 {
		h.ok(h.KeepBreaker(h.ctx(), execution.Breaker{
			Subject: "ann", Destination: numbered("https://", i), Openings: 1,
			OpenUntil: h.now.Add(time.Duration(i) * time.Minute),
		}))
	}
	h.ok(h.ForgetBreakers(h.ctx(), h.now.Add(3*time.Minute)))
	list, err := h.Breakers(h.ctx())
	h.ok(err)
	h.equal(len(list), 2)
	h.equal(list[0].OpenUntil, h.now.Add(3*time.Minute))
}

func testDueDeliveriesSurviveARestart(h *harness) {
	id := h.deliverable(0)
	h.restart()
	h.equal(h.due(h.now, 10), []execution.ID{id})
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
