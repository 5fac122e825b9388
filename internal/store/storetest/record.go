package storetest

import (
	"slices"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func testListShowsTheNewestFirst(h *harness) {
	var want []execution.ID
	for range 4 {
		want = append(want, h.enqueue("ann"))
	}
	slices.Reverse(want)
	list, err := h.List(h.ctx(), execution.Filter{Limit: 3})
	h.ok(err)
	h.equal(ids(list), want[:3])
}

func testListAppliesTheFilter(h *harness) {
	queued := h.enqueue("ann")
	running := h.running("ann")
	ended := h.ended("ann")
	other := h.enqueue("ben")
	node := h.execution("ben")
	node.Language = "node"
	_, _, err := h.Enqueue(h.ctx(), node, nil, execution.QueueLimits{})
	h.ok(err)
	at := func(id execution.ID) time.Time { return h.get(id).CreatedAt }
	for name, c := range map[string]struct {
		filter execution.Filter
		want   []execution.ID
	}{
		"everything":      {execution.Filter{}, []execution.ID{node.ID, other, ended, running, queued}},
		"subject":         {execution.Filter{Subject: "ann"}, []execution.ID{ended, running, queued}},
		"no such subject": {execution.Filter{Subject: "cid"}, nil},
		"one state": {
			execution.Filter{States: []execution.State{execution.Queued}},
			[]execution.ID{node.ID, other, queued},
		},
		"two states": {
			execution.Filter{States: []execution.State{execution.Failed, execution.Running}, Subject: "ann"},
			[]execution.ID{ended, running},
		},
		"language": {execution.Filter{Language: "node"}, []execution.ID{node.ID}},
		"since":    {execution.Filter{Since: at(ended)}, []execution.ID{node.ID, other, ended}},
		"until":    {execution.Filter{Until: at(ended)}, []execution.ID{running, queued}},
		"before":   {execution.Filter{Before: running}, []execution.ID{queued}},
		"all at once": {
			execution.Filter{
				Subject: "ann", States: execution.States(), Language: "python", Since: at(queued), Until: at(other),
				Before: ended,
			},
			[]execution.ID{running, queued},
		},
	} {
		c.filter.Limit = 200
		list, err := h.List(h.ctx(), c.filter)
		h.ok(err)
		if got := ids(list); !slices.Equal(got, c.want) {
			h.t.Errorf("List by %s = %v, want %v", name, got, c.want)
		}
	}
}

func testListPagesWithoutGapsOrRepeats(h *harness) {
	var want, got []execution.ID
	for i := range 11 {
		want = append(want, h.enqueue(numbered("subject", i%2)))
	}
	slices.Reverse(want)
	filter := execution.Filter{Limit: 4}
	for {
		page, err := h.List(h.ctx(), filter)
		h.ok(err)
		if len(page) == 0 {
			break
		}
		got = append(got, ids(page)...)
		filter.Before = page[len(page)-1].ID
	}
	h.equal(got, want)
}

func testListReturnsCountsWithoutOutput(h *harness) {
	id := h.ended("ann")
	list, err := h.List(h.ctx(), execution.Filter{Limit: 1})
	h.ok(err)
	want := h.get(id)
	h.equal(list, []execution.Execution{want})
	h.equal(list[0].Result.Stdout.Bytes, int64(1<<33))
}

func testUnknownExecutionsAreNotFound(h *harness) {
	id := execution.NewID(h.now)
	_, err := h.Get(h.ctx(), id)
	h.wantFault(err, fault.ExecutionNotFound)
	_, err = h.Output(h.ctx(), id, execution.Stdout)
	h.wantFault(err, fault.ExecutionNotFound)
	_, err = h.Delivery(h.ctx(), id)
	h.wantFault(err, fault.ExecutionNotFound)
	attempts, err := h.Attempts(h.ctx(), id)
	h.ok(err)
	h.equal(len(attempts), 0)
}

func testOutputIsEmptyUntilTheEnd(h *harness) {
	h.equal(h.output(h.running("ann"), execution.Stdout), execution.Output{})
}

func testAheadCountsTheSubjectsOwnExecutions(h *harness) {
	first, _, second, third := h.enqueue("ann"), h.enqueue("bob"), h.enqueue("ann"), h.enqueue("ann")
	ahead := func(id execution.ID, want int) {
		h.t.Helper()
		n, err := h.Ahead(h.ctx(), id)
		h.ok(err)
		h.equal(n, want)
	}
	ahead(first, 0)
	ahead(second, 1)
	ahead(third, 2)
	h.equal(h.claim(), first) // a claimed execution is no longer ahead
	ahead(third, 1)
	h.ok(h.Start(h.ctx(), first, h.run()))
	ahead(first, 0)
	ahead(third, 1)
	_, err := h.Ahead(h.ctx(), "exec_00000000000000000000000000")
	h.wantFault(err, fault.ExecutionNotFound)
}
