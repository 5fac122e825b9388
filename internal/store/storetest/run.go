package storetest

import (
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// testEveryWriteIsConditionalOnTheState tries each write on an execution in each state.
func testEveryWriteIsConditionalOnTheState(h *harness) {
	ctx := h.ctx()
	left := h.running("eve")
	h.restart()
	states := map[string]func() execution.ID{
		"waiting": func() execution.ID { return h.enqueue("ann") },
		"claimed": func() execution.ID {
			id := h.enqueue("new subject " + h.now.String()) // a new subject is served first
			h.equal(h.claim(), id)
			return id
		},
		"running":          func() execution.ID { return h.running("ann") },
		"running, earlier": func() execution.ID { return left },
		"ended":            func() execution.ID { return h.ended("ann") },
		"not there":        func() execution.ID { return execution.NewID(h.now) },
	}
	writes := map[string]func(id execution.ID) error{
		"start":   func(id execution.ID) error { return h.Start(ctx, id, h.run()) },
		"requeue": func(id execution.ID) error { return h.Requeue(ctx, id) },
		"adopt":   func(id execution.ID) error { return h.Adopt(ctx, id) },
		"release": func(id execution.ID) error { return h.Release(ctx, id) },
		"count": func(id execution.ID) error {
			_, err := h.CountStartFailure(ctx, id)
			return err
		},
		"finish": func(id execution.ID) error {
			return h.Finish(ctx, id, h.result(execution.Failed, execution.StartFailed), h.delivery())
		},
	}
	allowed := map[string][]string{
		"start":   {"waiting", "claimed"},
		"requeue": {"running"},
		"adopt":   {"running", "running, earlier"},
		"release": {"claimed"},
		"count":   {"waiting", "claimed", "running", "running, earlier"},
		"finish":  {"waiting", "claimed", "running"},
	}
	// adopt last: it changes the execution that an earlier epoch left
	for _, write := range []string{"start", "requeue", "release", "count", "finish", "adopt"} {
		for state, find := range states {
			want := false
			for _, a := range allowed[write] {
				want = want || a == state
			}
			id := find()
			before, _ := h.Get(ctx, id)
			err := writes[write](id)
			if want {
				if err != nil {
					h.t.Errorf("%s of an execution that is %s: %v", write, state, err)
				}
				continue
			}
			h.wantStale(err)
			after, _ := h.Get(ctx, id)
			h.equal(after, before)
		}
	}
}

func testFinishFollowsTheTableOfTransitions(h *harness) {
	for _, from := range []execution.State{execution.Queued, execution.Running} {
		for _, to := range execution.States() {
			id := h.enqueue("ann")
			if from == execution.Running {
				h.ok(h.Start(h.ctx(), id, h.run()))
			}
			err := h.Finish(h.ctx(), id, h.result(to, execution.Exited), h.delivery())
			if want := from.CanBecome(to) && to.Terminal(); (err == nil) != want {
				h.t.Errorf("Finish %s → %s: error %v", from, to, err)
			}
			if want := from; err != nil && h.get(id).State != want {
				h.t.Errorf("Finish %s → %s was refused and left %s", from, to, h.get(id).State)
			}
		}
	}
}

func testStartStoresTheRunUnderThisEpoch(h *harness) {
	id := h.enqueue("ann")
	run := h.run()
	want := run
	run.Node, run.Epoch = "another node", 99
	h.ok(h.Start(h.ctx(), id, run))
	e := h.get(id)
	h.equal(e.State, execution.Running)
	h.equal(e.Run, &want)
	h.equal(e.Result == nil, true)
}

// testStartFailuresAreCountedAcrossRestarts checks that each execution has its own count, which survives a claim, a
// requeue and a restart.
func testStartFailuresAreCountedAcrossRestarts(h *harness) {
	count := func(id execution.ID, want int) {
		h.t.Helper()
		got, err := h.CountStartFailure(h.ctx(), id)
		h.ok(err)
		h.equal(got, want)
	}
	id, other := h.enqueue("ann"), h.enqueue("ann")
	count(id, 1)
	h.equal(h.claim(), id)
	count(id, 2)
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.ok(h.Requeue(h.ctx(), id))
	h.restart()
	count(id, 3)
	count(other, 1)
}

func testRequeueDeletesTheRunAndKeepsThePlace(h *harness) {
	first, second := h.enqueue("ann"), h.enqueue("ann")
	h.equal(h.claim(), first)
	h.ok(h.Start(h.ctx(), first, h.run()))
	h.ok(h.Requeue(h.ctx(), first))
	e := h.get(first)
	h.equal(e.State, execution.Queued)
	h.equal(e.Run == nil, true)
	claims, err := h.Claim(h.ctx(), 2)
	h.ok(err)
	h.equal(ids(claims), []execution.ID{first, second})
	h.equal(string(claims[0].Code), "sealed code")
	h.ok(h.Start(h.ctx(), first, h.run()))
}

func testFinishStoresEveryFieldOfTheResult(h *harness) {
	id := h.running("ann")
	want := h.result(execution.Failed, execution.Exited)
	h.ok(h.Finish(h.ctx(), id, want, h.delivery()))
	e := h.get(id)
	h.equal(e.State, execution.Failed)
	h.equal(*e.Run, h.run())
	for stream, kept := range map[execution.Stream]*execution.Output{
		execution.Stdout: &want.Stdout, execution.Stderr: &want.Stderr,
	} {
		h.equal(h.output(id, stream), *kept)
		// A record has the sizes of the output in place of its bytes.
		*kept = execution.Output{
			Bytes: kept.Bytes, Stored: execution.Sizes{Head: int64(len(kept.Head)), Tail: int64(len(kept.Tail))},
		}
	}
	h.equal(e.Result, &want)
}

// output reads the kept part of a stream.
func (h *harness) output(id execution.ID, stream execution.Stream) execution.Output {
	h.t.Helper()
	p, err := h.Output(h.ctx(), id, stream)
	h.ok(err)
	part := func(at, size int64) []byte {
		if size == 0 {
			return nil
		}
		b := make([]byte, size)
		n, err := p.ReadAt(b, at)
		if n < len(b) {
			h.ok(err)
		}
		return b[:n]
	}
	return execution.Output{Head: part(0, p.Head), Tail: part(p.Head, p.Tail), Bytes: p.Bytes}
}

func testFinishStoresAMinimalResult(h *harness) {
	id := h.running("ann")
	want := execution.Result{State: execution.Failed, Reason: execution.Lost, Error: "It is lost.", CompletedAt: h.now}
	h.ok(h.Finish(h.ctx(), id, want, h.delivery()))
	h.equal(h.get(id).Result, &want)
}

func testFinishMakesTheDeliveryPending(h *harness) {
	given := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	d, err := h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	h.equal(d, execution.Delivery{Execution: given.ID, State: execution.NoDelivery, Callback: given.Callback})
	h.ok(h.Start(h.ctx(), given.ID, h.run()))
	h.ok(h.Finish(h.ctx(), given.ID, h.result(execution.Completed, execution.Exited), h.delivery()))
	want := *h.delivery()
	want.Execution, want.State, want.Callback = given.ID, execution.Pending, given.Callback
	d, err = h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	h.equal(d, want)
}

func testFinishNeedsADeliveryIffThereIsACallback(h *harness) {
	with, without := h.execution("ann"), h.execution("ann")
	without.Callback = execution.Callback{}
	for _, e := range []execution.Execution{with, without} {
		_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
		h.ok(err)
		h.ok(h.Start(h.ctx(), e.ID, h.run()))
	}
	result := h.result(execution.Completed, execution.Exited)
	for id, d := range map[execution.ID]*execution.Delivery{with.ID: nil, without.ID: h.delivery()} {
		if err := h.Finish(h.ctx(), id, result, d); err == nil {
			h.t.Fatalf("Finish accepted the delivery %v", d)
		}
		h.equal(h.get(id).State, execution.Running)
	}
	h.ok(h.Finish(h.ctx(), with.ID, result, h.delivery()))
	h.ok(h.Finish(h.ctx(), without.ID, result, nil))
	d, err := h.Delivery(h.ctx(), without.ID)
	h.ok(err)
	h.equal(d.State, execution.NoDelivery)
}

func testARunOfAnEarlierEpochMustBeAdopted(h *harness) {
	id := h.running("ann")
	h.restart()
	h.wantStale(h.Requeue(h.ctx(), id))
	h.wantStale(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Lost), h.delivery()))
	h.ok(h.Adopt(h.ctx(), id))
	h.ok(h.Adopt(h.ctx(), id))
	h.equal(h.get(id).Run.Epoch, h.Epoch())
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Lost), h.delivery()))
}

func testRunningListsTheRunningExecutions(h *harness) {
	h.enqueue("ann")
	first := h.running("ann")
	h.ended("ben")
	second := h.running("cid")
	h.restart()
	list, err := h.Running(h.ctx())
	h.ok(err)
	h.equal(list, []execution.Execution{h.get(first), h.get(second)})
	h.equal(list[0].Run.Epoch, h.Epoch()-1)
}

func testARestartBeginsTheNextEpochOfTheSameNode(h *harness) {
	node, epoch := h.Node(), h.Epoch()
	h.equal(node != "", true)
	h.equal(epoch, int64(1))
	h.restart()
	h.equal(h.Node(), node)
	h.equal(h.Epoch(), epoch+1)
}

func testCancelEndsAQueuedExecution(h *harness) {
	id := h.enqueue("ann")
	before := h.get(id)
	result := execution.Result{
		State: execution.Cancelled, Reason: execution.WasCancelled, Error: "It was cancelled.",
		CompletedAt: h.now,
	}
	after, err := h.Cancel(h.ctx(), id, h.now, func(e execution.Execution) (execution.Result, *execution.Delivery) {
		h.equal(e, before)
		return result, h.delivery()
	})
	h.ok(err)
	h.equal(after.State, execution.Cancelled)
	h.equal(after.Result, &result)
	h.equal(after, h.get(id))
	d, err := h.Delivery(h.ctx(), id)
	h.ok(err)
	h.equal(d.State, execution.Pending)
	h.equal(h.claim(), execution.ID(""))
	h.wantStale(h.Start(h.ctx(), id, h.run()))
}

// noResult is the finish function of a Cancel that must not call it.
func (h *harness) noResult(execution.Execution) (execution.Result, *execution.Delivery) {
	h.t.Error("Cancel asked for a result")
	return execution.Result{}, nil
}

func testCancelRequestsTheEndOfARunningExecution(h *harness) {
	h.running("ann")
	id := h.running("ann")
	list, err := h.CancelRequested(h.ctx())
	h.ok(err)
	h.equal(list, []execution.ID(nil))
	for range 2 {
		after, err := h.Cancel(h.ctx(), id, h.now, h.noResult)
		h.ok(err)
		h.equal(after.State, execution.Running)
		h.equal(after.CancelRequested, true)
	}
	list, err = h.CancelRequested(h.ctx())
	h.ok(err)
	h.equal(list, []execution.ID{id})
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Cancelled, execution.WasCancelled), h.delivery()))
	list, err = h.CancelRequested(h.ctx())
	h.ok(err)
	h.equal(list, []execution.ID(nil))
}

func testCancelDoesNotChangeAnEndedExecution(h *harness) {
	id := h.ended("ann")
	before := h.get(id)
	after, err := h.Cancel(h.ctx(), id, h.now, h.noResult)
	h.ok(err)
	h.equal(after, before)
}

func testCancelOfAnUnknownExecutionIsNotFound(h *harness) {
	_, err := h.Cancel(h.ctx(), execution.NewID(h.now), time.Now(), h.noResult)
	h.wantFault(err, fault.ExecutionNotFound)
}

func testARequestToEndSurvivesARequeue(h *harness) {
	id := h.running("ann")
	_, err := h.Cancel(h.ctx(), id, h.now, h.noResult)
	h.ok(err)
	h.ok(h.Requeue(h.ctx(), id))
	claims, err := h.Claim(h.ctx(), 1)
	h.ok(err)
	h.equal(claims[0].CancelRequested, true)
	signalled(h.Cancelling())
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.equal(signalled(h.Cancelling()), true)
	list, err := h.CancelRequested(h.ctx())
	h.ok(err)
	h.equal(list, []execution.ID{id})
}

func testWritableSucceeds(h *harness) {
	h.ok(h.Writable(h.ctx()))
}
