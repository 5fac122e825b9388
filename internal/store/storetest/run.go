package storetest

import (
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func runTests() map[string]func(*house) {
	return map[string]func(*house){
		"EveryWriteIsConditionalOnTheState":          everyWriteIsConditional,
		"FinishAllowsWhatTheTableOfTransitionsDoes":  finishAllows,
		"StartKeepsTheRunUnderThisEpoch":             startKeepsTheRun,
		"RequeueForgetsTheRunAndKeepsThePlace":       requeueForgets,
		"StartFailuresAreCountedAcrossRestarts":      startFailuresAreCounted,
		"FinishKeepsTheResultExactly":                finishKeepsTheResult,
		"FinishKeepsAResultThatKnowsNothing":         finishKeepsNothing,
		"FinishMakesTheDeliveryPending":              finishMakesTheDelivery,
		"FinishNeedsADeliveryIffThereIsACallback":    finishNeedsADelivery,
		"AnEarlierEpochsRunIsClosedUntilItIsAdopted": anEarlierEpoch,
		"RunningListsWhatRuns":                       runningLists,
		"ARestartBeginsTheNextEpochOfTheSameNode":    aRestartBeginsAnEpoch,
		"CancelEndsAQueuedExecution":                 cancelEndsAQueued,
		"CancelAsksARunningExecution":                cancelAsksARunning,
		"CancelLeavesAnEndedExecution":               cancelLeavesAnEnded,
		"CancelKnowsWhatIsNotThere":                  cancelKnows,
		"ARequestToEndOutlivesARequeue":              aRequestOutlives,
		"WritableWrites":                             func(h *house) { h.ok(h.Writable(h.ctx())) },
	}
}

// everyWriteIsConditional tries each write on an execution in each state that it can be found in.
func everyWriteIsConditional(h *house) {
	ctx := h.ctx()
	left := h.running("eve")
	h.restart()
	states := map[string]func() execution.ID{
		"waiting": func() execution.ID { return h.enqueue("ann") },
		"claimed": func() execution.ID {
			id := h.enqueue("new subject " + h.now.String()) // new, so it is served first
			h.same(h.claim(), id)
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
	for _, write := range []string{"start", "requeue", "release", "count", "finish", "adopt"} { // adopt last: it changes what is left
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
					h.t.Errorf("%s of one that is %s: %v", write, state, err)
				}
				continue
			}
			h.stale(err)
			after, _ := h.Get(ctx, id)
			h.same(after, before)
		}
	}
}

func finishAllows(h *house) {
	for _, from := range []execution.State{execution.Queued, execution.Running} {
		for _, to := range execution.States() {
			id := h.enqueue("ann")
			if from == execution.Running {
				h.ok(h.Start(h.ctx(), id, h.run()))
			}
			err := h.Finish(h.ctx(), id, h.result(to, execution.Exited), h.delivery())
			if want := from.CanBecome(to) && to.Terminal(); (err == nil) != want {
				h.t.Errorf("%s → %s: got error %v", from, to, err)
			}
			if want := from; err != nil && h.get(id).State != want {
				h.t.Errorf("%s → %s was refused and left %s", from, to, h.get(id).State)
			}
		}
	}
}

func startKeepsTheRun(h *house) {
	id := h.enqueue("ann")
	run := h.run()
	want := run
	run.Node, run.Epoch = "somebody else", 99
	h.ok(h.Start(h.ctx(), id, run))
	e := h.get(id)
	h.same(e.State, execution.Running)
	h.same(e.Run, &want)
	h.same(e.Result == nil, true)
}

// startFailuresAreCounted: the count is that of one execution, and a claim, a requeue and a restart keep it.
func startFailuresAreCounted(h *house) {
	count := func(id execution.ID, want int) {
		h.t.Helper()
		got, err := h.CountStartFailure(h.ctx(), id)
		h.ok(err)
		h.same(got, want)
	}
	id, other := h.enqueue("ann"), h.enqueue("ann")
	count(id, 1)
	h.same(h.claim(), id)
	count(id, 2)
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.ok(h.Requeue(h.ctx(), id))
	h.restart()
	count(id, 3)
	count(other, 1)
}

func requeueForgets(h *house) {
	first, second := h.enqueue("ann"), h.enqueue("ann")
	h.same(h.claim(), first)
	h.ok(h.Start(h.ctx(), first, h.run()))
	h.ok(h.Requeue(h.ctx(), first))
	e := h.get(first)
	h.same(e.State, execution.Queued)
	h.same(e.Run == nil, true)
	claims, err := h.Claim(h.ctx(), 2)
	h.ok(err)
	h.same(ids(claims), []execution.ID{first, second})
	h.same(string(claims[0].Code), "sealed code")
	h.ok(h.Start(h.ctx(), first, h.run()))
}

func finishKeepsTheResult(h *house) {
	id := h.running("ann")
	want := h.result(execution.Failed, execution.Exited)
	h.ok(h.Finish(h.ctx(), id, want, h.delivery()))
	e := h.get(id)
	h.same(e.State, execution.Failed)
	h.same(e.Result, &want)
	h.same(*e.Run, h.run())
	for stream, kept := range map[execution.Stream]execution.Output{execution.Stdout: want.Stdout, execution.Stderr: want.Stderr} {
		got, err := h.Output(h.ctx(), id, stream)
		h.ok(err)
		h.same(got, kept)
	}
}

func finishKeepsNothing(h *house) {
	id := h.running("ann")
	want := execution.Result{State: execution.Failed, Reason: execution.Lost, Error: "It is lost.", CompletedAt: h.now}
	h.ok(h.Finish(h.ctx(), id, want, h.delivery()))
	h.same(h.get(id).Result, &want)
}

func finishMakesTheDelivery(h *house) {
	given := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	d, err := h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	h.same(d, execution.Delivery{Execution: given.ID, State: execution.NoDelivery, Callback: given.Callback})
	h.ok(h.Start(h.ctx(), given.ID, h.run()))
	h.ok(h.Finish(h.ctx(), given.ID, h.result(execution.Completed, execution.Exited), h.delivery()))
	want := *h.delivery()
	want.Execution, want.State, want.Callback = given.ID, execution.Pending, given.Callback
	d, err = h.Delivery(h.ctx(), given.ID)
	h.ok(err)
	h.same(d, want)
}

func finishNeedsADelivery(h *house) {
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
			h.t.Fatalf("finished with delivery %v", d)
		}
		h.same(h.get(id).State, execution.Running)
	}
	h.ok(h.Finish(h.ctx(), with.ID, result, h.delivery()))
	h.ok(h.Finish(h.ctx(), without.ID, result, nil))
	d, err := h.Delivery(h.ctx(), without.ID)
	h.ok(err)
	h.same(d.State, execution.NoDelivery)
}

func anEarlierEpoch(h *house) {
	id := h.running("ann")
	h.restart()
	h.stale(h.Requeue(h.ctx(), id))
	h.stale(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Lost), h.delivery()))
	h.ok(h.Adopt(h.ctx(), id))
	h.ok(h.Adopt(h.ctx(), id))
	h.same(h.get(id).Run.Epoch, h.Epoch())
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Lost), h.delivery()))
}

func runningLists(h *house) {
	h.enqueue("ann")
	first := h.running("ann")
	h.ended("ben")
	second := h.running("cid")
	h.restart()
	list, err := h.Running(h.ctx())
	h.ok(err)
	h.same(list, []execution.Execution{h.get(first), h.get(second)})
	h.same(list[0].Run.Epoch, h.Epoch()-1)
}

func aRestartBeginsAnEpoch(h *house) {
	node, epoch := h.Node(), h.Epoch()
	h.same(node != "", true)
	h.same(epoch, int64(1))
	h.restart()
	h.same(h.Node(), node)
	h.same(h.Epoch(), epoch+1)
}

func cancelEndsAQueued(h *house) {
	id := h.enqueue("ann")
	before := h.get(id)
	result := execution.Result{State: execution.Cancelled, Reason: execution.WasCancelled, Error: "It was cancelled.", CompletedAt: h.now}
	after, err := h.Cancel(h.ctx(), id, h.now, func(e execution.Execution) (execution.Result, *execution.Delivery) {
		h.same(e, before)
		return result, h.delivery()
	})
	h.ok(err)
	h.same(after.State, execution.Cancelled)
	h.same(after.Result, &result)
	h.same(after, h.get(id))
	d, err := h.Delivery(h.ctx(), id)
	h.ok(err)
	h.same(d.State, execution.Pending)
	h.same(h.claim(), execution.ID(""))
	h.stale(h.Start(h.ctx(), id, h.run()))
}

// never is the result of an execution that has nothing to be asked for.
func (h *house) never(execution.Execution) (execution.Result, *execution.Delivery) {
	h.t.Error("a result was asked for")
	return execution.Result{}, nil
}

func cancelAsksARunning(h *house) {
	h.running("ann")
	id := h.running("ann")
	list, err := h.CancelRequested(h.ctx())
	h.ok(err)
	h.same(list, []execution.ID(nil))
	for range 2 {
		after, err := h.Cancel(h.ctx(), id, h.now, h.never)
		h.ok(err)
		h.same(after.State, execution.Running)
		h.same(after.CancelRequested, true)
	}
	list, err = h.CancelRequested(h.ctx())
	h.ok(err)
	h.same(list, []execution.ID{id})
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Cancelled, execution.WasCancelled), h.delivery()))
	list, err = h.CancelRequested(h.ctx())
	h.ok(err)
	h.same(list, []execution.ID(nil))
}

func cancelLeavesAnEnded(h *house) {
	id := h.ended("ann")
	before := h.get(id)
	after, err := h.Cancel(h.ctx(), id, h.now, h.never)
	h.ok(err)
	h.same(after, before)
}

func cancelKnows(h *house) {
	_, err := h.Cancel(h.ctx(), execution.NewID(h.now), time.Now(), h.never)
	h.fault(err, fault.ExecutionNotFound)
}

func aRequestOutlives(h *house) {
	id := h.running("ann")
	_, err := h.Cancel(h.ctx(), id, h.now, h.never)
	h.ok(err)
	h.ok(h.Requeue(h.ctx(), id))
	claims, err := h.Claim(h.ctx(), 1)
	h.ok(err)
	h.same(claims[0].CancelRequested, true)
	signalled(h.Cancelling())
	h.ok(h.Start(h.ctx(), id, h.run()))
	h.same(signalled(h.Cancelling()), true)
	list, err := h.CancelRequested(h.ctx())
	h.ok(err)
	h.same(list, []execution.ID{id})
}
