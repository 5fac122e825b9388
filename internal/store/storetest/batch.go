package storetest

import (
	"encoding/json"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// together makes n executions of one batch of ann's.
func (h *house) together(n int, summary bool) (all []execution.Execution) {
	id := execution.NewBatchID(h.now)
	for range n {
		e := h.execution("ann")
		e.Batch = execution.Batch{ID: id, Summary: summary}
		all = append(all, e)
	}
	return all
}

// summarised is the delivery of an execution of a batch that has one callback for all.
func (h *house) summarised() *execution.Delivery {
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

func batchTests() map[string]func(*house) {
	return map[string]func(*house){
		"ABatchIsStoredInItsOrder": func(h *house) {
			given := h.together(3, true)
			stored, replayed, err := h.EnqueueAll(h.ctx(), given, nil, execution.QueueLimits{})
			h.ok(err)
			h.same(replayed, false)
			h.same(len(stored), 3)
			for i, e := range given {
				got, err := h.Get(h.ctx(), e.ID)
				h.ok(err)
				h.same(got.Batch, e.Batch)
				h.same(stored[i].ID, e.ID)
				h.same(h.claim(), e.ID)
			}
			found, err := h.List(h.ctx(), execution.Filter{Batch: given[0].Batch.ID, Limit: 10})
			h.ok(err)
			h.same(len(found), 3)
			none, err := h.List(h.ctx(), execution.Filter{Batch: execution.NewBatchID(h.now), Limit: 10})
			h.ok(err)
			h.same(len(none), 0)
		},
		"ABatchIsStoredWholeOrNotAtAll": func(h *house) {
			h.enqueue("ann")
			given := h.together(3, false)
			for _, limits := range []execution.QueueLimits{{Total: 3}, {PerSubject: 3}} {
				_, _, err := h.EnqueueAll(h.ctx(), given, nil, limits)
				h.fault(err, fault.QueueFull)
			}
			if _, _, err := h.EnqueueAll(h.ctx(), []execution.Execution{given[0], given[1], given[0]}, nil, execution.QueueLimits{}); err == nil {
				h.t.Error("an id was stored twice")
			}
			found, err := h.List(h.ctx(), execution.Filter{Limit: 10})
			h.ok(err)
			h.same(len(found), 1)
			_, _, err = h.EnqueueAll(h.ctx(), given, nil, execution.QueueLimits{Total: 4, PerSubject: 4})
			h.ok(err)
		},
		"ABatchIsReplayedWhole": func(h *house) {
			key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
			first := h.together(3, true)
			_, _, err := h.EnqueueAll(h.ctx(), first, key, execution.QueueLimits{})
			h.ok(err)
			again, replayed, err := h.EnqueueAll(h.ctx(), h.together(3, true), key, execution.QueueLimits{Total: 3})
			h.ok(err)
			h.same(replayed, true)
			h.same(len(again), 3)
			for i, e := range again {
				h.same(e.ID, first[i].ID)
			}
			_, _, err = h.EnqueueAll(h.ctx(), h.together(2, true), &execution.Idempotency{Key: "k", Fingerprint: "g"}, execution.QueueLimits{})
			h.fault(err, fault.Conflict)
		},
		"TheLastOfABatchHasTheDelivery": func(h *house) {
			all := h.together(3, true)
			_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
			h.ok(err)
			other := h.together(1, true) // another batch changes nothing
			_, _, err = h.EnqueueAll(h.ctx(), other, nil, execution.QueueLimits{})
			h.ok(err)

			h.ok(h.Finish(h.ctx(), all[1].ID, h.result(execution.Failed, execution.StartFailed), h.summarised()))
			_, err = h.Cancel(h.ctx(), all[2].ID, h.now, func(execution.Execution) (execution.Result, *execution.Delivery) {
				return h.result(execution.Cancelled, execution.WasCancelled), h.summarised()
			})
			h.ok(err)
			for _, e := range all {
				d, err := h.Delivery(h.ctx(), e.ID)
				h.ok(err)
				h.same(d.State, execution.NoDelivery)
			}
			h.ok(h.Start(h.ctx(), all[0].ID, h.run()))
			h.ok(h.Finish(h.ctx(), all[0].ID, h.result(execution.Completed, execution.Exited), h.summarised()))
			d, err := h.Delivery(h.ctx(), all[0].ID)
			h.ok(err)
			h.same(d.State, execution.Pending)
			h.same(string(d.Body), string(all[0].Batch.ID)+` ["completed","failed","cancelled"]`)
			for _, e := range all[1:] {
				d, err := h.Delivery(h.ctx(), e.ID)
				h.ok(err)
				h.same(d.State, execution.NoDelivery)
			}
		},
		"WhatASummaryWillTellOfIsKept": func(h *house) {
			all := h.together(2, true)
			_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
			h.ok(err)
			h.ok(h.Finish(h.ctx(), all[0].ID, h.result(execution.Failed, execution.StartFailed), h.summarised()))
			later := h.now.Add(1000 * time.Hour)
			n, err := h.Remove(h.ctx(), later, later, 10)
			h.ok(err)
			h.same(n, 0)
			h.ok(h.Finish(h.ctx(), all[1].ID, h.result(execution.Failed, execution.StartFailed), h.summarised()))
			d, err := h.Delivery(h.ctx(), all[1].ID)
			h.ok(err)
			h.same(string(d.Body), string(all[0].Batch.ID)+` ["failed","failed"]`)
			n, err = h.Remove(h.ctx(), later, later, 10)
			h.ok(err)
			h.same(n, 1) // the other one has the delivery
		},
		"EachOfABatchMayHaveItsOwnDelivery": func(h *house) {
			all := h.together(2, false)
			_, _, err := h.EnqueueAll(h.ctx(), all, nil, execution.QueueLimits{})
			h.ok(err)
			for _, e := range all {
				h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Failed, execution.StartFailed), h.delivery()))
				d, err := h.Delivery(h.ctx(), e.ID)
				h.ok(err)
				h.same(d.State, execution.Pending)
			}
		},
	}
}
