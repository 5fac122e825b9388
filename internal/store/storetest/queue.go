package storetest

import (
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func testAKeyReplaysTheFirstExecution(h *harness) {
	first, second := h.execution("ann"), h.execution("ann")
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	_, _, err := h.Enqueue(h.ctx(), first, key, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Start(h.ctx(), first.ID, h.run()))
	stored, replayed, err := h.Enqueue(h.ctx(), second, key, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, true)
	h.equal(stored, h.get(first.ID))
	earlier, found, err := h.Earlier(h.ctx(), "ann", *key, second.CreatedAt)
	h.ok(err)
	h.equal(found, true)
	h.equal(earlier, stored)
	_, err = h.Get(h.ctx(), second.ID)
	h.wantFault(err, fault.ExecutionNotFound)
}

func testAKeyWithAnotherFingerprintIsAConflict(h *harness) {
	_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), &execution.Idempotency{Key: "k", Fingerprint: "f"},
		execution.QueueLimits{})
	h.ok(err)
	second := h.execution("ann")
	_, _, err = h.Enqueue(h.ctx(), second, &execution.Idempotency{Key: "k", Fingerprint: "g"}, execution.QueueLimits{})
	h.wantFault(err, fault.Conflict)
	_, _, err = h.Earlier(h.ctx(), "ann", execution.Idempotency{Key: "k", Fingerprint: "g"}, second.CreatedAt)
	h.wantFault(err, fault.Conflict)
	_, err = h.Get(h.ctx(), second.ID)
	h.wantFault(err, fault.ExecutionNotFound)
}

func testAKeyExpiresAfter24Hours(h *harness) {
	first, late, later := h.execution("ann"), h.execution("ann"), h.execution("ann")
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	_, _, err := h.Enqueue(h.ctx(), first, key, execution.QueueLimits{})
	h.ok(err)
	late.CreatedAt = first.CreatedAt.Add(24*time.Hour - 1)
	_, replayed, err := h.Enqueue(h.ctx(), late, key, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, true)
	later.CreatedAt = first.CreatedAt.Add(24 * time.Hour)
	_, found, err := h.Earlier(h.ctx(), "ann", *key, later.CreatedAt)
	h.ok(err)
	h.equal(found, false)
	other := &execution.Idempotency{Key: "k", Fingerprint: "g"}
	stored, replayed, err := h.Enqueue(h.ctx(), later, other, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, false)
	h.equal(stored.ID, later.ID)
	again := h.execution("ann")
	again.CreatedAt = later.CreatedAt.Add(time.Hour)
	stored, replayed, err = h.Enqueue(h.ctx(), again, other, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, true)
	h.equal(stored.ID, later.ID)
}

func testKeysAreScopedToTheirSubject(h *harness) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	for _, subject := range []string{"ann", "ben"} {
		_, found, err := h.Earlier(h.ctx(), subject, *key, h.now)
		h.ok(err)
		h.equal(found, false)
		_, replayed, err := h.Enqueue(h.ctx(), h.execution(subject), key, execution.QueueLimits{})
		h.ok(err)
		h.equal(replayed, false)
	}
}

func testAFullQueueRefusesAndNamesTheLimit(h *harness) {
	limits := execution.QueueLimits{Total: 3, PerSubject: 2}
	for _, subject := range []string{"ann", "ann"} {
		_, _, err := h.Enqueue(h.ctx(), h.execution(subject), nil, limits)
		h.ok(err)
	}
	refused := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), refused, nil, limits)
	h.wantFault(err, fault.QueueFull)
	h.equal(fault.Of(err).Details["quota"], "queued")
	h.equal(fault.Of(err).RetryAfter > 0, true)
	_, err = h.Get(h.ctx(), refused.ID)
	h.wantFault(err, fault.ExecutionNotFound)

	_, _, err = h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.ok(err)
	_, _, err = h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.wantFault(err, fault.QueueFull)
	h.equal(fault.Of(err).Details["quota"], "total")

	first := h.claim()
	h.ok(h.Start(h.ctx(), first, h.run()))
	_, _, err = h.Enqueue(h.ctx(), h.execution("cid"), nil, limits)
	h.ok(err)
}

func testTheQueueIsBoundedInBytes(h *harness) {
	first := h.execution("ann")
	size := first.ProgramSize()
	limits := execution.QueueLimits{Size: 3 * size, SubjectSize: 2*size + 1}
	refused := func(subject, quota string, limit, use int64) {
		h.t.Helper()
		_, _, err := h.Enqueue(h.ctx(), h.execution(subject), nil, limits)
		h.wantFault(err, fault.QueueFull)
		h.equal(fault.Of(err).Details, map[string]any{"quota": quota, "limit": limit, "use": use})
	}
	for range 2 {
		_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
		h.ok(err)
	}
	refused("ann", "queued_size", 2*size+1, 2*size)
	_, _, err := h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.ok(err)
	refused("cid", "total", 3*size, 3*size)

	// The program of a running execution is still stored; that of an ended one is not.
	claimed := h.claim()
	h.ok(h.Start(h.ctx(), claimed, h.run()))
	refused("cid", "total", 3*size, 3*size)
	h.restart()
	refused("cid", "total", 3*size, 3*size)
	h.ok(h.Adopt(h.ctx(), claimed))
	h.ok(h.Finish(h.ctx(), claimed, h.result(execution.Completed, execution.Exited), h.delivery()))
	_, _, err = h.Enqueue(h.ctx(), h.execution("cid"), nil, limits)
	h.ok(err)

	large := h.execution("dan")
	large.Code = make([]byte, 2*size+2)
	_, _, err = h.Enqueue(h.ctx(), large, nil, execution.QueueLimits{SubjectSize: 2 * size})
	h.wantFault(err, fault.PayloadTooLarge)
}

func testAClaimedExecutionCountsAsQueued(h *harness) {
	id := h.enqueue("ann")
	h.equal(h.claim(), id)
	h.equal(h.get(id).State, execution.Queued)
	for _, limits := range []execution.QueueLimits{{Total: 1}, {PerSubject: 1}} {
		_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
		h.wantFault(err, fault.QueueFull)
	}
}

func testAFullQueueStillReplays(h *harness) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	for _, want := range []bool{false, true} {
		_, replayed, err := h.Enqueue(h.ctx(), h.execution("ann"), key, execution.QueueLimits{Total: 1, PerSubject: 1})
		h.ok(err)
		h.equal(replayed, want)
	}
}

func testLimitsHoldAfterARestart(h *harness) {
	h.enqueue("ann")
	h.enqueue("ann")
	h.running("ann")
	h.claim()
	h.restart()
	for limit, want := range map[int]bool{2: false, 3: true} {
		for _, limits := range []execution.QueueLimits{{Total: limit}, {PerSubject: limit}} {
			e := h.execution("ann")
			_, _, err := h.Enqueue(h.ctx(), e, nil, limits)
			if got := err == nil; got != want {
				h.t.Fatalf("Enqueue with limits %+v and two queued: error %v", limits, err)
			}
			if err == nil { // make room again
				h.ok(h.Start(h.ctx(), e.ID, h.run()))
			}
		}
	}
}

func testAnEndedExecutionMakesRoomInTheQueue(h *harness) {
	limits := execution.QueueLimits{Total: 1, PerSubject: 1}
	for range 3 {
		e, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
		h.ok(err)
		h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Cancelled, execution.WasCancelled), h.delivery()))
	}
}

func testClaimTakesTheOldestFirst(h *harness) {
	var want []execution.ID
	for range 5 {
		want = append(want, h.enqueue("ann"))
	}
	for _, id := range want {
		h.equal(h.claim(), id)
	}
}

func testClaimPrefersTheSubjectWithFewestActiveExecutions(h *harness) {
	h.running("ann")
	h.running("ann")
	h.running("ben")
	for range 3 {
		h.enqueue("ann")
		h.enqueue("ben")
		h.enqueue("cid")
	}
	claims, err := h.Claim(h.ctx(), 7, execution.ClaimLimits{})
	h.ok(err)
	// cid has 0 active executions, ben 1 and ann 2. cid is served until it has as many as ben, then both until they
	// have as many as ann. Among equals, a subject that was never served comes first.
	h.equal(subjects(claims), []string{"cid", "ben", "cid", "ann", "ben", "cid", "ann"})
}

func testClaimPrefersTheSubjectServedLongestAgo(h *harness) {
	for range 3 {
		for _, subject := range []string{"ann", "ben", "cid"} {
			h.enqueue(subject)
		}
	}
	var order []string
	for range 9 { // as with one slot: each execution ends before the next claim
		claims, err := h.Claim(h.ctx(), 1, execution.ClaimLimits{})
		h.ok(err)
		h.ok(h.Start(h.ctx(), claims[0].ID, h.run()))
		h.ok(h.Finish(h.ctx(), claims[0].ID, h.result(execution.Completed, execution.Exited), h.delivery()))
		order = append(order, claims[0].Subject)
	}
	h.equal(order[3:6], order[:3])
	h.equal(order[6:], order[:3])
	h.equal(order[0] != order[1] && order[1] != order[2] && order[0] != order[2], true)
}

func testClaimPassesOverASubjectAtItsLimit(h *harness) {
	for range 4 {
		h.enqueue("ann")
		h.enqueue("ben")
	}
	limits := execution.ClaimLimits{MaxRunning: func(subject string) int { return map[string]int{"ann": 2}[subject] }}
	claims, err := h.Claim(h.ctx(), 7, limits)
	h.ok(err)
	h.equal(subjects(claims), []string{"ann", "ben", "ann", "ben", "ben", "ben"})
	first := claims[0].ID
	h.ok(h.Start(h.ctx(), first, h.run()))
	claims, err = h.Claim(h.ctx(), 1, limits)
	h.ok(err)
	h.equal(len(claims), 0) // a running execution counts like a claimed one
	h.ok(h.Finish(h.ctx(), first, h.result(execution.Completed, execution.Exited), h.delivery()))
	claims, err = h.Claim(h.ctx(), 2, limits)
	h.ok(err)
	h.equal(subjects(claims), []string{"ann"})
}

func testClaimOfNewcomersLeavesOutSubjectsThatHaveSomethingRunning(h *harness) {
	h.running("ann")
	for _, subject := range []string{"ann", "ben", "ben", "cid"} {
		h.enqueue(subject)
	}
	newcomers := execution.ClaimLimits{Newcomers: true}
	claims, err := h.Claim(h.ctx(), 4, newcomers)
	h.ok(err)
	h.equal(subjects(claims), []string{"ben", "cid"})
	h.ok(h.Release(h.ctx(), claims[0].ID)) // ben has nothing claimed again
	claims, err = h.Claim(h.ctx(), 4, newcomers)
	h.ok(err)
	h.equal(subjects(claims), []string{"ben"})
}

func testClaimReturnsEachExecutionOnce(h *harness) {
	for i := range 10 {
		h.enqueue(numbered("subject", i%3))
	}
	seen := make(map[execution.ID]bool)
	for _, want := range []int{4, 4, 2, 0} {
		claims, err := h.Claim(h.ctx(), 4, execution.ClaimLimits{})
		h.ok(err)
		h.equal(len(claims), want)
		for _, e := range claims {
			h.equal(seen[e.ID], false)
			seen[e.ID] = true
		}
	}
}

func testReleaseKeepsThePlaceInTheOrder(h *harness) {
	first, second := h.enqueue("ann"), h.enqueue("ann")
	h.equal(h.claim(), first)
	h.ok(h.Release(h.ctx(), first))
	h.equal(h.get(first).State, execution.Queued)
	h.equal(h.claim(), first)
	h.equal(h.claim(), second)
}

func testReleaseRefusesAnExecutionWithoutAClaim(h *harness) {
	h.wantStale(h.Release(h.ctx(), h.enqueue("ann")))
	h.wantStale(h.Release(h.ctx(), h.running("ann")))
	h.wantStale(h.Release(h.ctx(), h.ended("ann")))
	h.wantStale(h.Release(h.ctx(), execution.NewID(h.now)))
}

func testClaimsAreVoidAfterARestart(h *harness) {
	first := h.enqueue("ann")
	h.equal(h.claim(), first)
	h.equal(h.claim(), execution.ID(""))
	h.restart()
	h.equal(h.claim(), first)
}

func testConcurrentEnqueueAndClaimLoseNothing(h *harness) {
	const each, workers = 25, 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	finished := make(map[execution.ID]int)
	for w := range workers {
		given := make([]execution.Execution, each)
		for i := range given {
			given[i] = h.execution(numbered("subject", w%3))
		}
		result, delivery, run := h.result(execution.Completed, execution.Exited), h.delivery(), h.run()
		wg.Go(func() {
			for _, e := range given {
				if _, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{}); err != nil {
					h.t.Errorf("enqueue: %v", err)
				}
				// Each worker claims one execution for each that it stores, so every claim finds one.
				claims, err := h.Claim(h.ctx(), 1, execution.ClaimLimits{})
				if err != nil || len(claims) != 1 {
					h.t.Errorf("Claim returned %d executions, error %v", len(claims), err)
					return
				}
				id := claims[0].ID
				if err := h.Start(h.ctx(), id, run); err != nil {
					h.t.Errorf("start: %v", err)
				}
				if err := h.Finish(h.ctx(), id, result, delivery); err != nil {
					h.t.Errorf("finish: %v", err)
				}
				mu.Lock()
				finished[id]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h.equal(len(finished), each*workers)
	h.equal(h.claim(), execution.ID(""))
}

func testEnqueueStoresEveryField(h *harness) {
	given := h.execution("ann")
	stored, replayed, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	h.equal(replayed, false)
	h.equal(stored, given)
	h.equal(h.get(given.ID), bare(given))
	h.restart()
	h.equal(h.get(given.ID), bare(given))
	claims, err := h.Claim(h.ctx(), 1, execution.ClaimLimits{})
	h.ok(err)
	given.Callback.Headers, given.Callback.Secret = nil, nil
	h.equal(claims, []execution.Execution{given})
}

func testEnqueueStoresAMinimalExecution(h *harness) {
	given := execution.Execution{ID: execution.NewID(h.now), Subject: "ann", Timeout: time.Second, CreatedAt: h.now}
	stored, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
	h.ok(err)
	given.State = execution.Queued
	h.equal(stored, given)
	h.equal(h.get(given.ID), given)
}

func testEnqueueRefusesADuplicateID(h *harness) {
	e := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.ok(err)
	if _, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{}); err == nil {
		h.t.Fatal("Enqueue stored the ID a second time")
	}
	h.equal(h.claim(), e.ID)
	h.equal(h.claim(), execution.ID(""))
}

func testClaimOfAnEmptyQueueReturnsNothing(h *harness) {
	h.equal(h.claim(), execution.ID(""))
}
