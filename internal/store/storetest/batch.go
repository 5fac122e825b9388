package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// newBatch returns n executions of subject "ann" in one batch, which are not stored yet.
func (h *harness) newBatch(n int, summary bool) (all []execution.Execution) {
	id := execution.NewBatchID(h.now)
	for range n {
		e := h.execution("ann")
		e.Batch = execution.Batch{ID: id, Summary: summary}
		all = append(all, e)
	}
	return all
}

// summaryDelivery returns the delivery of an execution whose batch has one callback. Its body lists the states of the
// batch.
func (h *harness) summaryDelivery() *execution.Delivery {
	d := h.delivery()
	d.Body = nil
	d.Summary = func(id execution.BatchID, all []execution.Execution) []byte {
		states := make([]execution.State, 0, len(all))
		for _, e := range all {
			states = append(states, e.Result.State)
		}
		text, err := json.Marshal(states)
		h.ok(err)
		return fmt.Appendf(nil, "%s %s", id, text)
	}
	return d
}

func testABatchIsStoredInItsOrder(h *harness) {
	given := h.newBatch(3, true)
	stored, replayed, err := h.EnqueueAll(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, false)
	h.equal(len(stored), 3)
	for i, e := range given {
		got, err := h.Get(h.ctx(), e.ID)
		h.ok(err)
		h.equal(got.Batch, e.Batch)
		h.equal(stored[i].ID, e.ID)
		h.equal(h.claim(), e.ID)
	}
	found, err := h.List(h.ctx(), execution.Filter{Batch: given[0].Batch.ID, Limit: 10})
	h.ok(err)
	h.equal(len(found.Executions), 3)
	none, err := h.List(h.ctx(), execution.Filter{Batch: execution.NewBatchID(h.now), Limit: 10})
	h.ok(err)
	h.equal(len(none.Executions), 0)
}

func testABatchIsStoredCompletelyOrNotAtAll(h *harness) {
	h.enqueue("ann")
	given := h.newBatch(3, false)
	for _, limits := range []execution.QueueLimits{{Total: 3}, {PerSubject: 3}} {
		_, _, err := h.EnqueueAll(h.ctx(), given, nil, limits)
		h.wantFault(err, fault.QueueFull)
	}
	if _, _, err := h.EnqueueAll(h.ctx(), []execution.Execution{given[0], given[1], given[0]}, nil,
		execution.QueueLimits{}); err == nil {
		h.t.Error("EnqueueAll stored one ID twice")
	}
	found, err := h.List(h.ctx(), execution.Filter{Limit: 10})
	h.ok(err)
	h.equal(len(found.Executions), 1)
	_, _, err = h.EnqueueAll(h.ctx(), given, nil, execution.QueueLimits{Total: 4, PerSubject: 4})
	h.ok(err)
}

func testABatchIsReplayedCompletely(h *harness) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	first := h.newBatch(3, true)
	_, _, err := h.EnqueueAll(h.ctx(), first, key, execution.QueueLimits{})
	h.ok(err)
	again, replayed, err := h.EnqueueAll(h.ctx(), h.newBatch(3, true), key, execution.QueueLimits{Total: 3})
	h.ok(err)
	h.equal(replayed, true)
	h.equal(len(again), 3)
	for i, e := range again {
		h.equal(e.ID, first[i].ID)
	}
	_, _, err = h.EnqueueAll(h.ctx(), h.newBatch(2, true), &execution.Idempotency{Key: "k", Fingerprint: "g"},
		execution.QueueLimits{})
	h.wantFault(err, fault.Conflict)
}

func testTheLastExecutionOfABatchGetsTheDelivery(h *harness) {
	all := h.newBatch(3, true)
	_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
	h.ok(err)
	other := h.newBatch(1, true) // another batch changes nothing
	_, _, err = h.EnqueueAll(h.ctx(), other, nil, execution.QueueLimits{})
	h.ok(err)

	h.ok(h.Finish(h.ctx(), all[1].ID, h.result(execution.Failed, execution.StartFailed), h.summaryDelivery()))
	_, err = h.Cancel(h.ctx(), all[2].ID, h.now, func(execution.Execution) (execution.Result, *execution.Delivery) {
		return h.result(execution.Cancelled, execution.WasCancelled), h.summaryDelivery()
	})
	h.ok(err)
	for _, e := range all {
		d, err := h.Delivery(h.ctx(), e.ID)
		h.ok(err)
		h.equal(d.State, execution.NoDelivery)
	}
	h.ok(h.Start(h.ctx(), all[0].ID, h.run()))
	h.ok(h.Finish(h.ctx(), all[0].ID, h.result(execution.Completed, execution.Exited), h.summaryDelivery()))
	d, err := h.Delivery(h.ctx(), all[0].ID)
	h.ok(err)
	h.equal(d.State, execution.Pending)
	h.equal(string(d.Body), string(all[0].Batch.ID)+` ["completed","failed","cancelled"]`)
	for _, e := range all[1:] {
		d, err := h.Delivery(h.ctx(), e.ID)
		h.ok(err)
		h.equal(d.State, execution.NoDelivery)
	}
}

func testRemoveKeepsABatchUntilItsSummary(h *harness) {
	all := h.newBatch(2, true)
	_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Finish(h.ctx(), all[0].ID, h.result(execution.Failed, execution.StartFailed), h.summaryDelivery()))
	later := h.now.Add(1000 * time.Hour)
	n, err := h.Remove(h.ctx(), later, later, 10)
	h.ok(err)
	h.equal(n, 0)
	h.ok(h.Finish(h.ctx(), all[1].ID, h.result(execution.Failed, execution.StartFailed), h.summaryDelivery()))
	d, err := h.Delivery(h.ctx(), all[1].ID)
	h.ok(err)
	h.equal(string(d.Body), string(all[0].Batch.ID)+` ["failed","failed"]`)
	n, err = h.Remove(h.ctx(), later, later, 10)
	h.ok(err)
	h.equal(n, 1) // the other execution has the pending delivery
}

func testABatchWithoutASummaryHasADeliveryForEach(h *harness) {
	all := h.newBatch(2, false)
	_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
	h.ok(err)
	for _, e := range all {
		h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Failed, execution.StartFailed), h.delivery()))
		d, err := h.Delivery(h.ctx(), e.ID)
		h.ok(err)
		h.equal(d.State, execution.Pending)
	}
}
