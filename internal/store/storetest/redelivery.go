package storetest

import (
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// record records attempt number n of a delivery. The attempt failed unless state is delivered.
func (h *harness) record(id execution.ID, n int, state execution.DeliveryState) {
	h.t.Helper()
	reason := map[execution.DeliveryState]execution.DeadReason{execution.Dead: execution.Gone}[state]
	a := h.attempt(id, n)
	h.ok(h.Record(h.ctx(), a, state, reason, a.StartedAt.Add(time.Minute)))
}

func (h *harness) deliveryOf(id execution.ID) execution.Delivery {
	h.t.Helper()
	d, err := h.Delivery(h.ctx(), id)
	h.ok(err)
	return d
}

func (h *harness) attemptNumbers(id execution.ID) (numbers []int) {
	h.t.Helper()
	attempts, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	for _, a := range attempts {
		numbers = append(numbers, a.Number)
	}
	return numbers
}

func testRedeliverResumesAnEndedDeliveryAndKeepsItsAttempts(h *harness) {
	for _, end := range []execution.DeliveryState{execution.Delivered, execution.Dead} {
		id := h.deliverable(0)
		h.record(id, 1, execution.Pending)
		before := h.deliveryOf(id)
		h.record(id, 2, end)
		now := h.now.Add(100 * time.Hour)
		h.ok(h.Redeliver(h.ctx(), id, now))
		want := before
		want.Attempts, want.Resumed, want.NextAt = 2, 2, now
		h.equal(h.deliveryOf(id), want)
		h.equal(h.due(now, 1), []execution.ID{id})
		third := h.attempt(id, 3)
		third.StartedAt = now
		h.ok(h.Record(h.ctx(), third, execution.Delivered, "", time.Time{}))
		h.equal(h.attemptNumbers(id), []int{1, 2, 3})
		want.State, want.Attempts, want.NextAt, want.EndedAt = execution.Delivered, 3, time.Time{},
			now.Add(third.Duration)
		h.equal(h.deliveryOf(id), want)
	}
}

func testRedeliverMakesAPendingDeliveryDueAndKeepsItsSchedule(h *harness) {
	id := h.deliverable(0)
	h.record(id, 1, execution.Dead)
	h.ok(h.Redeliver(h.ctx(), id, h.now.Add(90*time.Minute)))
	h.record(id, 2, execution.Pending)
	want := h.deliveryOf(id)
	now := h.now.Add(100 * time.Hour)
	for range 2 { // another call changes only the time
		now = now.Add(time.Second)
		h.ok(h.Redeliver(h.ctx(), id, now))
		want.NextAt = now
		h.equal(h.deliveryOf(id), want)
	}
	h.equal(want.Resumed, 1)
}

func testRedeliverRefusesAnExecutionWithoutADelivery(h *harness) {
	running := h.running("ann")
	without := h.execution("ann")
	without.Callback = execution.Callback{}
	_, _, err := h.Enqueue(h.ctx(), without, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Finish(h.ctx(), without.ID, h.result(execution.Failed, execution.StartFailed), nil))
	h.clearSignals()
	words := map[string]bool{}
	for id, code := range map[execution.ID]fault.Code{
		running: fault.Conflict, without.ID: fault.Conflict, execution.NewID(h.now): fault.ExecutionNotFound,
	} {
		err := h.Redeliver(h.ctx(), id, h.now)
		h.wantFault(err, code)
		words[fault.Of(err).Sentence] = true
	}
	h.equal(len(words), 3) // each sentence says why there is no delivery
	h.equal(signalled(h.Pending()), false)
	h.ok(h.Finish(h.ctx(), running, h.result(execution.Completed, execution.Exited), h.delivery()))
}

// redeliverInFlight records n failed attempts of a delivery, and redelivers it while attempt n+1 is in flight.
func (h *harness) redeliverInFlight(n int) (id execution.ID, next execution.Attempt, asked time.Time) {
	h.t.Helper()
	id = h.deliverable(0)
	for i := range n {
		h.record(id, i+1, execution.Pending)
	}
	next = h.attempt(id, n+1)
	asked = next.StartedAt.Add(next.Duration / 2)
	h.ok(h.Redeliver(h.ctx(), id, asked))
	return id, next, asked
}

func testAFailedAttemptInFlightDoesNotUndoARedelivery(h *harness) {
	id, a, asked := h.redeliverInFlight(1)
	h.ok(h.Record(h.ctx(), a, execution.Pending, "", a.StartedAt.Add(24*time.Hour)))
	d := h.deliveryOf(id)
	h.equal([]any{d.State, d.Attempts, d.Resumed, d.NextAt}, []any{execution.Pending, 2, 0, asked})
	h.wantStale(h.Record(h.ctx(), a, execution.Pending, "", asked)) // not twice
	h.equal(h.attemptNumbers(id), []int{1, 2})

	h.record(id, 3, execution.Pending) // it began after the redelivery, so the schedule applies again
	h.equal(h.deliveryOf(id).NextAt, h.attempt(id, 3).StartedAt.Add(time.Minute))
}

func testTheLastAttemptInFlightDoesNotUndoARedelivery(h *harness) {
	for _, reason := range []execution.DeadReason{execution.Exhausted, execution.Gone, execution.Blocked} {
		id, a, asked := h.redeliverInFlight(2)
		h.ok(h.Record(h.ctx(), a, execution.Dead, reason, time.Time{}))
		d := h.deliveryOf(id)
		h.equal([]any{d.State, d.Reason, d.Attempts, d.Resumed, d.NextAt, d.EndedAt},
			[]any{execution.Pending, execution.DeadReason(""), 3, 3, asked, time.Time{}})
		h.record(id, 4, execution.Dead)
		h.equal(h.deliveryOf(id).State, execution.Dead)
	}
}

func testASuccessfulAttemptInFlightIsTheRedelivery(h *harness) {
	id, a, _ := h.redeliverInFlight(0)
	h.ok(h.Record(h.ctx(), a, execution.Delivered, "", time.Time{}))
	d := h.deliveryOf(id)
	h.equal([]any{d.State, d.Attempts, d.NextAt}, []any{execution.Delivered, 1, time.Time{}})
}

func testConcurrentRedeliveriesNeitherLoseNorCountAttempts(h *harness) {
	id := h.deliverable(0)
	var asker sync.WaitGroup
	for range 4 {
		asker.Go(func() {
			for i := range 25 {
				if err := h.Redeliver(h.ctx(), id, h.now.Add(time.Duration(i)*time.Minute)); err != nil {
					h.t.Errorf("Redeliver: %v", err)
				}
			}
		})
	}
	for n := 1; n <= 50; n++ {
		if d := h.deliveryOf(id); d.State != execution.Pending {
			h.ok(h.Redeliver(h.ctx(), id, h.now))
		}
		h.record(id, n, []execution.DeliveryState{execution.Pending, execution.Delivered, execution.Dead}[n%3])
	}
	asker.Wait()
	h.ok(h.Redeliver(h.ctx(), id, h.now))
	want := make([]int, 50)
	for i := range want {
		want[i] = i + 1
	}
	h.equal(h.attemptNumbers(id), want)
	d := h.deliveryOf(id)
	h.equal([]any{d.State, d.Attempts}, []any{execution.Pending, 50})
}

func testARedeliverySurvivesARestart(h *harness) {
	id := h.deliverable(0)
	h.record(id, 1, execution.Dead)
	h.ok(h.Redeliver(h.ctx(), id, h.now.Add(time.Hour)))
	before := h.deliveryOf(id)
	h.restart()
	h.equal(h.deliveryOf(id), before)
	h.equal(before.Resumed, 1)
}

func testRemoveKeepsAnExecutionWithARedelivery(h *harness) {
	later := h.now.Add(1000 * time.Hour)
	for _, end := range []execution.DeliveryState{execution.Delivered, execution.Dead} {
		id := h.deliverable(0)
		h.record(id, 1, end)
		h.ok(h.Redeliver(h.ctx(), id, later))
		n, err := h.Remove(h.ctx(), later, later, 10)
		h.ok(err)
		h.equal(n, 0)
		h.equal(h.due(later, 10), []execution.ID{id})
		h.record(id, 2, execution.Delivered)
		n, err = h.Remove(h.ctx(), later, later, 10)
		h.ok(err)
		h.equal(n, 1)
	}
}

func testRedeliverAndRecoverSignalPending(h *harness) {
	id := h.deliverable(0)
	h.clearSignals()
	h.ok(h.Redeliver(h.ctx(), id, h.now))
	h.equal(signalled(h.Pending()), true)
	n, err := h.Recover(h.ctx(), execution.Recovery{}, h.now.Add(time.Hour))
	h.ok(err)
	h.equal(n, 0)
	h.equal(signalled(h.Pending()), false)
	h.record(id, 1, execution.Dead)
	_, err = h.Recover(h.ctx(), execution.Recovery{}, h.now.Add(9*time.Hour))
	h.ok(err)
	h.equal(signalled(h.Pending()), true)
}

// deadDelivery stores an ended execution whose delivery was given up after its first attempt.
func (h *harness) deadDelivery(subject, url string) execution.ID {
	h.t.Helper()
	e := h.execution(subject)
	e.Callback.URL = url
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Failed, execution.StartFailed), h.delivery()))
	h.record(e.ID, 1, execution.Dead)
	return e.ID
}

const (
	oneURL   = "https://one.example/hook"
	oneHost  = "https://one.example:443"
	otherURL = "https://other.example/hook"
)

func testRecoverAppliesTheFilter(h *harness) {
	a, b, c := h.deadDelivery("ann", oneURL), h.deadDelivery("ann", otherURL), h.deadDelivery("ben", oneURL)
	h.deliverable(0) // pending: nothing to recover
	h.record(h.deliverable(0), 1, execution.Delivered)
	second := h.deliveryOf(b).CreatedAt
	now := h.now.Add(100 * time.Hour)
	for name, t := range map[string]struct {
		recovery execution.Recovery
		want     []execution.ID
	}{
		"all":         {execution.Recovery{}, []execution.ID{a, b, c}},
		"subject":     {execution.Recovery{Subject: "ann"}, []execution.ID{a, b}},
		"destination": {execution.Recovery{Destination: oneHost}, []execution.ID{a, c}},
		"since":       {execution.Recovery{Since: second}, []execution.ID{b, c}},
		"all at once": {execution.Recovery{Subject: "ben", Destination: oneHost, Since: second}, []execution.ID{c}},
		"nothing":     {execution.Recovery{Since: now}, nil},
	} {
		n, err := h.Recover(h.ctx(), t.recovery, now)
		h.ok(err)
		var got []execution.ID
		for _, id := range []execution.ID{a, b, c} {
			if d := h.deliveryOf(id); d.State == execution.Pending {
				h.equal([]any{d.Reason, d.Attempts, d.Resumed, d.NextAt, d.EndedAt},
					[]any{execution.DeadReason(""), d.Resumed, d.Attempts, now, time.Time{}})
				again := h.attempt(id, d.Attempts+1)
				again.StartedAt = now.Add(-again.Duration) // in flight during the recovery, which it must not undo
				h.ok(h.Record(h.ctx(), again, execution.Dead, execution.Gone, time.Time{}))
				h.equal(h.deliveryOf(id).State, execution.Pending)
				again.Number, again.StartedAt = again.Number+1, now
				h.ok(h.Record(h.ctx(), again, execution.Dead, execution.Gone, time.Time{}))
				got = append(got, id)
			}
		}
		if n != len(t.want) {
			h.t.Errorf("Recover by %s = %d, want %d", name, n, len(t.want))
		}
		h.equal(got, t.want)
		now = now.Add(time.Hour)
	}
}

func testRecoverResumesEachOfManyDeliveriesOnce(h *harness) {
	const many = 450
	for range many {
		h.deadDelivery("ann", oneURL)
	}
	now := h.now.Add(100 * time.Hour)
	for _, want := range []int{many, 0} {
		n, err := h.Recover(h.ctx(), execution.Recovery{Subject: "ann"}, now)
		h.ok(err)
		h.equal(n, want)
	}
	h.equal(len(h.due(now, 2*many)), many)
}

func testRecoverSkipsDeliveriesThatDieLater(h *harness) {
	id := h.deadDelivery("ann", oneURL)
	ended := h.deliveryOf(id).EndedAt
	n, err := h.Recover(h.ctx(), execution.Recovery{}, ended.Add(-1))
	h.ok(err)
	h.equal(n, 0)
	n, err = h.Recover(h.ctx(), execution.Recovery{}, ended)
	h.ok(err)
	h.equal(n, 1)
}

func (h *harness) deliveries(f execution.DeliveryFilter) (ids []execution.ID) {
	h.t.Helper()
	if f.Limit == 0 {
		f.Limit = 200
	}
	list, err := h.Deliveries(h.ctx(), f)
	h.ok(err)
	for _, d := range list.Deliveries {
		want := h.deliveryOf(d.Execution)
		want.Body, want.Callback.Headers, want.Callback.Secret = nil, nil, nil
		h.equal(d, want)
		ids = append(ids, d.Execution)
	}
	return ids
}

func testDeliveriesAreListedNewestFirst(h *harness) {
	early, late := h.running("ann"), h.running("ann")
	dead := h.deadDelivery("ann", oneURL)
	h.enqueue("ann") // without a delivery, because it has not ended
	h.ok(h.Finish(h.ctx(), late, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.now = h.now.Add(time.Hour)
	h.ok(h.Finish(h.ctx(), early, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.equal(h.deliveries(execution.DeliveryFilter{}), []execution.ID{early, late, dead})
	h.ok(h.Redeliver(h.ctx(), dead, h.now.Add(100*time.Hour))) // keeps the time of its creation
	h.equal(h.deliveries(execution.DeliveryFilter{Limit: 2}), []execution.ID{early, late})
}

func testDeliveriesApplyTheFilter(h *harness) {
	a, b, c := h.deadDelivery("ann", oneURL), h.deadDelivery("ann", otherURL), h.deadDelivery("ben", oneURL)
	pending := h.ended("ann")
	delivered := h.ended("ben")
	h.record(delivered, 1, execution.Delivered)
	at := func(id execution.ID) time.Time { return h.deliveryOf(id).CreatedAt }
	states := func(s ...execution.DeliveryState) []execution.DeliveryState { return s }
	for name, t := range map[string]struct {
		filter execution.DeliveryFilter
		want   []execution.ID
	}{
		"everything":      {execution.DeliveryFilter{}, []execution.ID{delivered, pending, c, b, a}},
		"subject":         {execution.DeliveryFilter{Subject: "ann"}, []execution.ID{pending, b, a}},
		"no such subject": {execution.DeliveryFilter{Subject: "cid"}, nil},
		"dead":            {execution.DeliveryFilter{States: states(execution.Dead)}, []execution.ID{c, b, a}},
		"two states": {
			execution.DeliveryFilter{States: states(execution.Pending, execution.Delivered)},
			[]execution.ID{delivered, pending},
		},
		"none":        {execution.DeliveryFilter{States: states(execution.NoDelivery)}, nil},
		"destination": {execution.DeliveryFilter{Destination: oneHost}, []execution.ID{c, a}},
		"since":       {execution.DeliveryFilter{Since: at(c)}, []execution.ID{delivered, pending, c}},
		"until":       {execution.DeliveryFilter{Until: at(c)}, []execution.ID{b, a}},
		"before":      {execution.DeliveryFilter{Before: h.deliveryOf(c).Cursor()}, []execution.ID{b, a}},
		"before what is gone": {
			execution.DeliveryFilter{Before: execution.DeliveryCursor{
				CreatedAt: at(c),
				Execution: execution.NewID(h.now),
			}},
			[]execution.ID{b, a},
		},
		"all at once": {
			execution.DeliveryFilter{
				Subject: "ann", States: states(execution.Dead), Destination: oneHost, Since: at(a), Until: at(pending),
				Before: h.deliveryOf(b).Cursor(),
			},
			[]execution.ID{a},
		},
	} {
		h.t.Log(name)
		h.equal(h.deliveries(t.filter), t.want)
	}
}

func testDeliveriesPageWithoutGapsOrRepeats(h *harness) {
	var want, got []execution.ID
	for i := range 11 {
		id := h.ended([]string{"ann", "ben"}[i%2])
		h.now = h.now.Add(-time.Millisecond) // all deliveries are created at the same time
		if i%3 == 0 {
			h.record(id, 1, execution.Dead)
		}
		want = append([]execution.ID{id}, want...)
	}
	filter := execution.DeliveryFilter{Limit: 4}
	for {
		page, err := h.Deliveries(h.ctx(), filter)
		h.ok(err)
		for _, d := range page.Deliveries {
			got = append(got, d.Execution)
		}
		if page.Next.Execution == "" {
			break
		}
		filter.Before = page.Next
	}
	h.equal(got, want)
}

// testEveryDeliveryWriteFollowsTheTableOfTransitions tries each write on a delivery in each state. A write either keeps
// the state or follows the table, and together they make every transition.
func testEveryDeliveryWriteFollowsTheTableOfTransitions(h *harness) {
	later := h.now.Add(1000 * time.Hour)
	record := func(to execution.DeliveryState) func(execution.ID) error {
		return func(id execution.ID) error {
			return h.Record(h.ctx(), h.attempt(id, h.deliveryOf(id).Attempts+1), to, execution.Gone, later)
		}
	}
	writes := map[string]func(id execution.ID) error{
		"finish": func(id execution.ID) error {
			return h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery())
		},
		"record none":      record(execution.NoDelivery),
		"record pending":   record(execution.Pending),
		"record delivered": record(execution.Delivered),
		"record dead":      record(execution.Dead),
		"redeliver":        func(id execution.ID) error { return h.Redeliver(h.ctx(), id, later) },
		"recover": func(execution.ID) error {
			_, err := h.Recover(h.ctx(), execution.Recovery{}, later)
			return err
		},
	}
	made := map[[2]execution.DeliveryState]bool{}
	for _, from := range append(execution.DeliveryStates(), execution.NoDelivery) {
		for name, write := range writes {
			var id execution.ID
			switch from {
			case execution.NoDelivery:
				id = h.running("ann")
			case execution.Pending:
				id = h.deliverable(0)
			case execution.Delivered, execution.Dead:
				id = h.deliverable(0)
				h.record(id, 1, from)
			}
			before := h.deliveryOf(id)
			h.equal(before.State, from)
			err := write(id)
			after := h.deliveryOf(id)
			switch {
			case err != nil:
				h.equal(after, before)
			case after.State == from:
			case from.CanBecome(after.State):
				made[[2]execution.DeliveryState{from, after.State}] = true
			default:
				h.t.Errorf("%s moved a delivery from %s to %s", name, from, after.State)
			}
		}
	}
	for _, want := range execution.DeliveryTransitions() {
		if !made[[2]execution.DeliveryState{want.From, want.To}] {
			h.t.Errorf("no write moves a delivery from %s to %s", want.From, want.To)
		}
	}
}
