package storetest

import (
	"time"

	"boomerang/internal/execution"
)

func testOpenSetsEverySignal(h *harness) {
	for _, ch := range []<-chan struct{}{h.Queued(), h.Cancelling(), h.Pending()} {
		h.equal(signalled(ch), true)
		h.equal(signalled(ch), false)
	}
}

// clearSignals clears the signals that opening has set.
func (h *harness) clearSignals() {
	signalled(h.Queued())
	signalled(h.Cancelling())
	signalled(h.Pending())
}

func testAClaimableExecutionSignalsQueued(h *harness) {
	h.clearSignals()
	id := h.enqueue("ann")
	h.equal(signalled(h.Queued()), true)
	h.claim()
	h.equal(signalled(h.Queued()), false)
	h.ok(h.Release(h.ctx(), id))
	h.equal(signalled(h.Queued()), true)
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.equal(signalled(h.Queued()), false)
	h.ok(h.Requeue(h.ctx(), id))
	h.equal(signalled(h.Queued()), true)
}

func testARefusedExecutionDoesNotSignalQueued(h *harness) {
	h.enqueue("ann")
	h.clearSignals()
	if _, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{Total: 1}); err == nil {
		h.t.Fatal("Enqueue accepted an execution above the limit")
	}
	h.equal(signalled(h.Queued()), false)
}

func testARequestToEndSignalsCancelling(h *harness) {
	h.clearSignals()
	id := h.running("ann")
	h.equal(signalled(h.Cancelling()), false)
	_, err := h.Cancel(h.ctx(), id, h.now, h.noResult)
	h.ok(err)
	h.equal(signalled(h.Cancelling()), true)
}

func testADeliverySignalsPending(h *harness) {
	h.clearSignals()
	without := h.execution("ann")
	without.Callback = execution.Callback{}
	_, _, err := h.Enqueue(h.ctx(), without, nil, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Start(h.ctx(), without.ID, h.run()))
	h.ok(h.Finish(h.ctx(), without.ID, h.result(execution.Completed, execution.Exited), nil))
	h.equal(signalled(h.Pending()), false)
	h.ended("ann")
	h.equal(signalled(h.Pending()), true)
}

func testEndedIsClosedForEveryReceiver(h *harness) {
	id := h.running("ann")
	one, releaseOne := h.Ended(id)
	two, releaseTwo := h.Ended(id)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Timeout, execution.TimedOut), h.delivery()))
	h.equal(signalled(one), true)
	h.equal(signalled(two), true)
	releaseOne()
	releaseOne()
	releaseTwo()
}

func testEndedStaysOpenUntilTheEnd(h *harness) {
	id, other := h.running("ann"), h.running("ann")
	ch, release := h.Ended(id)
	defer release()
	h.ok(h.Requeue(h.ctx(), id))
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.ok(h.Finish(h.ctx(), other, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.wantStale(h.Finish(h.ctx(), other, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.equal(signalled(ch), false)
}

func testReleaseOfOneReceiverKeepsTheOthers(h *harness) {
	id := h.running("ann")
	_, release := h.Ended(id)
	ch, releaseOther := h.Ended(id)
	defer releaseOther()
	release()
	release()
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.equal(signalled(ch), true)
}

func testCancelOfAQueuedExecutionClosesEnded(h *harness) {
	id := h.enqueue("ann")
	ch, release := h.Ended(id)
	defer release()
	_, err := h.Cancel(h.ctx(), id, h.now, func(execution.Execution) (execution.Result, *execution.Delivery) {
		return h.result(execution.Cancelled, execution.WasCancelled), h.delivery()
	})
	h.ok(err)
	h.equal(signalled(ch), true)
}

func testAReceiverOfEndedReadsTheNewState(h *harness) {
	id := h.running("ann")
	ch, release := h.Ended(id)
	defer release()
	seen := make(chan execution.State, 1)
	go func() {
		<-ch
		e, err := h.Get(h.ctx(), id)
		if err != nil {
			h.t.Errorf("Get: %v", err)
		}
		seen <- e.State
	}()
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	select {
	case state := <-seen:
		h.equal(state, execution.Completed)
	case <-time.After(time.Minute):
		h.t.Fatal("the channel of Ended was not closed")
	}
}

func testEveryTransitionSignalsMoves(h *harness) {
	id, other := h.enqueue("ann"), h.enqueue("ann")
	one, releaseOne := h.Moves(id)
	two, releaseTwo := h.Moves(id)
	step := func(what string, err error) {
		h.t.Helper()
		h.ok(err)
		for _, ch := range []<-chan struct{}{one, two} {
			if !signalled(ch) || signalled(ch) {
				h.t.Errorf("%s: want exactly one signal", what)
			}
		}
	}
	h.ok(h.Start(h.ctx(), other, h.run()))
	h.equal(signalled(one), false)
	step("started", h.Start(h.ctx(), id, h.run()))
	step("taken over", h.Adopt(h.ctx(), id))
	step("queued again", h.Requeue(h.ctx(), id))
	h.ok(h.Start(h.ctx(), id, h.run()))
	releaseTwo()
	releaseTwo()
	signalled(one)
	signalled(two)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Completed, execution.Exited), h.delivery()))
	h.equal(signalled(one), true)
	h.equal(signalled(two), false)
	releaseOne()
}
