package storetest

import (
	"time"

	"boomerang/internal/execution"
)

func wakeTests() map[string]func(*house) {
	return map[string]func(*house){
		"OpenSignalsThatThereMayBeWork":     openSignals,
		"WhatBecomesClaimableSignals":       claimableSignals,
		"ARefusedExecutionDoesNotSignal":    refusedDoesNotSignal,
		"ACancelRequestSignals":             cancelSignals,
		"ADeliverySignals":                  deliverySignals,
		"EndedIsClosedForAllWhoWait":        endedIsClosed,
		"EndedStaysOpenWhileItGoesOn":       endedStaysOpen,
		"ReleaseLeavesTheOthersWaiting":     releaseLeavesOthers,
		"ACancelledQueuedExecutionHasEnded": cancelledHasEnded,
		"WhoeverIsWokenSeesWhatHappened":    wokenSees,
		"EveryStepOfAnExecutionSignals":     movesSignal,
	}
}

func openSignals(h *house) {
	for _, ch := range []<-chan struct{}{h.Queued(), h.Cancelling(), h.Pending()} {
		h.same(signalled(ch), true)
		h.same(signalled(ch), false)
	}
}

// quieten takes the signals that opening has set.
func (h *house) quieten() {
	signalled(h.Queued())
	signalled(h.Cancelling())
	signalled(h.Pending())
}

func claimableSignals(h *house) {
	h.quieten()
	id := h.enqueue("ann")
	h.same(signalled(h.Queued()), true)
	h.claim()
	h.same(signalled(h.Queued()), false)
	h.ok(h.Release(h.ctx(), id))
	h.same(signalled(h.Queued()), true)
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.same(signalled(h.Queued()), false)
	h.ok(h.Requeue(h.ctx(), id))
	h.same(signalled(h.Queued()), true)
}

func refusedDoesNotSignal(h *house) {
	h.enqueue("ann")
	h.quieten()
	if _, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{Total: 1}); err == nil {
		h.t.Fatal("the full queue took one more")
	}
	h.same(signalled(h.Queued()), false)
}

func cancelSignals(h *house) {
	h.quieten()
	id := h.running("ann")
	h.same(signalled(h.Cancelling()), false)
	_, err := h.Cancel(h.ctx(), id, h.now, h.never)
	h.ok(err)
	h.same(signalled(h.Cancelling()), true)
}

func deliverySignals(h *house) {
	h.quieten()
	without := h.execution("ann")
	without.Callback = execution.Callback{}
	_, _, err := h.Enqueue(h.ctx(), without, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Start(h.ctx(), without.ID, h.run()))
	h.ok(h.Finish(h.ctx(), without.ID, h.result(execution.Completed, execution.Exited), nil))
	h.same(signalled(h.Pending()), false)
	h.ended("ann")
	h.same(signalled(h.Pending()), true)
}

func endedIsClosed(h *house) {
	id := h.running("ann")
	one, releaseOne := h.Ended(id)
	two, releaseTwo := h.Ended(id)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Timeout, execution.TimedOut), h.delivery()))
	h.same(signalled(one), true)
	h.same(signalled(two), true)
	releaseOne()
	releaseOne()
	releaseTwo()
}

func endedStaysOpen(h *house) {
	id, other := h.running("ann"), h.running("ann")
	ch, release := h.Ended(id)
	defer release()
	h.ok(h.Requeue(h.ctx(), id))
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.ok(h.Finish(h.ctx(), other, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.stale(h.Finish(h.ctx(), other, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.same(signalled(ch), false)
}

func releaseLeavesOthers(h *house) {
	id := h.running("ann")
	_, release := h.Ended(id)
	ch, releaseOther := h.Ended(id)
	defer releaseOther()
	release()
	release()
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.same(signalled(ch), true)
}

func cancelledHasEnded(h *house) {
	id := h.enqueue("ann")
	ch, release := h.Ended(id)
	defer release()
	_, err := h.Cancel(h.ctx(), id, h.now, func(execution.Execution) (execution.Result, *execution.Delivery) {
		return h.result(execution.Cancelled, execution.WasCancelled), h.delivery()
	})
	h.ok(err)
	h.same(signalled(ch), true)
}

func wokenSees(h *house) {
	id := h.running("ann")
	ch, release := h.Ended(id)
	defer release()
	seen := make(chan execution.State, 1)
	go func() {
		<-ch
		e, err := h.Get(h.ctx(), id)
		if err != nil {
			h.t.Errorf("get: %v", err)
		}
		seen <- e.State
	}()
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	select {
	case state := <-seen:
		h.same(state, execution.Completed)
	case <-time.After(time.Minute):
		h.t.Fatal("nobody was woken")
	}
}

func movesSignal(h *house) {
	id, other := h.enqueue("ann"), h.enqueue("ann")
	one, releaseOne := h.Moves(id)
	two, releaseTwo := h.Moves(id)
	step := func(what string, err error) {
		h.t.Helper()
		h.ok(err)
		for _, ch := range []<-chan struct{}{one, two} {
			if !signalled(ch) || signalled(ch) {
				h.t.Errorf("%s: want one signal", what)
			}
		}
	}
	h.ok(h.Start(h.ctx(), other, h.run()))
	h.same(signalled(one), false)
	step("started", h.Start(h.ctx(), id, h.run()))
	step("taken over", h.Adopt(h.ctx(), id))
	step("queued again", h.Requeue(h.ctx(), id))
	h.ok(h.Start(h.ctx(), id, h.run()))
	releaseTwo()
	releaseTwo()
	signalled(one)
	signalled(two)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.same(signalled(one), true)
	h.same(signalled(two), false)
	releaseOne()
}
