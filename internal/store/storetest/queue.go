package storetest

import (
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func queueTests() map[string]func(*house) {
	return map[string]func(*house){
		"EnqueueKeepsWhatItWasGiven": func(h *house) {
			given := h.execution("ann")
			stored, replayed, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
			h.ok(err)
			h.same(replayed, false)
			h.same(stored, given)
			h.same(h.get(given.ID), bare(given))
			h.restart()
			h.same(h.get(given.ID), bare(given))
			claims, err := h.Claim(h.ctx(), 1)
			h.ok(err)
			given.Callback.Headers, given.Callback.Secret = nil, nil
			h.same(claims, []execution.Execution{given})
		},
		"EnqueueKeepsTheLeastThatIsAllowed": func(h *house) {
			given := execution.Execution{ID: execution.NewID(h.now), Subject: "ann", Timeout: time.Second, CreatedAt: h.now}
			stored, _, err := h.Enqueue(h.ctx(), given, nil, execution.QueueLimits{})
			h.ok(err)
			given.State = execution.Queued
			h.same(stored, given)
			h.same(h.get(given.ID), given)
		},
		"EnqueueRefusesAnIDTwice": func(h *house) {
			e := h.execution("ann")
			_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
			h.ok(err)
			if _, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{}); err == nil {
				h.t.Fatal("the id was stored a second time")
			}
			h.same(h.claim(), e.ID)
			h.same(h.claim(), execution.ID(""))
		},
		"AKeyReplaysTheFirstExecution":            aKeyReplays,
		"AKeyWithAnotherFingerprintIsAConflict":   aKeyConflicts,
		"AKeyIsForgottenAfter24Hours":             aKeyIsForgotten,
		"AKeyOfAnotherSubjectIsAnother":           aKeyOfAnotherSubject,
		"AFullQueueRefusesAndNamesTheLimit":       aFullQueueRefuses,
		"AClaimedExecutionIsStillQueued":          aClaimedIsQueued,
		"AFullQueueStillReplays":                  aFullQueueReplays,
		"LimitsHoldAfterARestart":                 limitsHoldAfterARestart,
		"ClaimTakesTheOldestFirst":                claimTakesTheOldest,
		"ClaimServesTheSubjectWithFewestActive":   claimServesFewestActive,
		"ClaimServesTheOneServedLongestAgo":       claimServesLongestAgo,
		"ClaimGivesEachOnce":                      claimGivesEachOnce,
		"ClaimOfNothingIsEmpty":                   func(h *house) { h.same(h.claim(), execution.ID("")) },
		"ReleaseGivesTheClaimBackInItsOldPlace":   releaseGivesBack,
		"ReleaseRefusesWhatIsNotClaimed":          releaseRefuses,
		"ClaimsAreVoidAfterARestart":              claimsAreVoid,
		"ManyMayEnqueueAndClaimAtTheSameTime":     manyAtTheSameTime,
		"AnEndedExecutionLeavesRoomForItsSubject": anEndedLeavesRoom,
	}
}

func aKeyReplays(h *house) {
	first, second := h.execution("ann"), h.execution("ann")
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	_, _, err := h.Enqueue(h.ctx(), first, key, execution.QueueLimits{})
	h.ok(err)
	h.ok(h.Start(h.ctx(), first.ID, h.run()))
	stored, replayed, err := h.Enqueue(h.ctx(), second, key, execution.QueueLimits{})
	h.ok(err)
	h.same(replayed, true)
	h.same(stored, h.get(first.ID))
	earlier, found, err := h.Earlier(h.ctx(), "ann", *key, second.CreatedAt)
	h.ok(err)
	h.same(found, true)
	h.same(earlier, stored)
	_, err = h.Get(h.ctx(), second.ID)
	h.fault(err, fault.ExecutionNotFound)
}

func aKeyConflicts(h *house) {
	_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), &execution.Idempotency{Key: "k", Fingerprint: "f"}, execution.QueueLimits{})
	h.ok(err)
	second := h.execution("ann")
	_, _, err = h.Enqueue(h.ctx(), second, &execution.Idempotency{Key: "k", Fingerprint: "g"}, execution.QueueLimits{})
	h.fault(err, fault.Conflict)
	_, _, err = h.Earlier(h.ctx(), "ann", execution.Idempotency{Key: "k", Fingerprint: "g"}, second.CreatedAt)
	h.fault(err, fault.Conflict)
	_, err = h.Get(h.ctx(), second.ID)
	h.fault(err, fault.ExecutionNotFound)
}

func aKeyIsForgotten(h *house) {
	first, late, later := h.execution("ann"), h.execution("ann"), h.execution("ann")
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	_, _, err := h.Enqueue(h.ctx(), first, key, execution.QueueLimits{})
	h.ok(err)
	late.CreatedAt = first.CreatedAt.Add(24*time.Hour - 1)
	_, replayed, err := h.Enqueue(h.ctx(), late, key, execution.QueueLimits{})
	h.ok(err)
	h.same(replayed, true)
	later.CreatedAt = first.CreatedAt.Add(24 * time.Hour)
	_, found, err := h.Earlier(h.ctx(), "ann", *key, later.CreatedAt)
	h.ok(err)
	h.same(found, false)
	other := &execution.Idempotency{Key: "k", Fingerprint: "g"}
	stored, replayed, err := h.Enqueue(h.ctx(), later, other, execution.QueueLimits{})
	h.ok(err)
	h.same(replayed, false)
	h.same(stored.ID, later.ID)
	again := h.execution("ann")
	again.CreatedAt = later.CreatedAt.Add(time.Hour)
	stored, replayed, err = h.Enqueue(h.ctx(), again, other, execution.QueueLimits{})
	h.ok(err)
	h.same(replayed, true)
	h.same(stored.ID, later.ID)
}

func aKeyOfAnotherSubject(h *house) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	for _, subject := range []string{"ann", "ben"} {
		_, found, err := h.Earlier(h.ctx(), subject, *key, h.now)
		h.ok(err)
		h.same(found, false)
		_, replayed, err := h.Enqueue(h.ctx(), h.execution(subject), key, execution.QueueLimits{})
		h.ok(err)
		h.same(replayed, false)
	}
}

func aFullQueueRefuses(h *house) {
	limits := execution.QueueLimits{Total: 3, PerSubject: 2}
	for _, subject := range []string{"ann", "ann"} {
		_, _, err := h.Enqueue(h.ctx(), h.execution(subject), nil, limits)
		h.ok(err)
	}
	refused := h.execution("ann")
	_, _, err := h.Enqueue(h.ctx(), refused, nil, limits)
	h.fault(err, fault.QueueFull)
	h.same(fault.Of(err).Details["limit"], "subject")
	h.same(fault.Of(err).RetryAfter > 0, true)
	_, err = h.Get(h.ctx(), refused.ID)
	h.fault(err, fault.ExecutionNotFound)

	_, _, err = h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.ok(err)
	_, _, err = h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.fault(err, fault.QueueFull)
	h.same(fault.Of(err).Details["limit"], "total")

	first := h.claim()
	h.ok(h.Start(h.ctx(), first, h.run()))
	_, _, err = h.Enqueue(h.ctx(), h.execution("cid"), nil, limits)
	h.ok(err)
}

func aClaimedIsQueued(h *house) {
	id := h.enqueue("ann")
	h.same(h.claim(), id)
	h.same(h.get(id).State, execution.Queued)
	for _, limits := range []execution.QueueLimits{{Total: 1}, {PerSubject: 1}} {
		_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
		h.fault(err, fault.QueueFull)
	}
}

func aFullQueueReplays(h *house) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	for _, want := range []bool{false, true} {
		_, replayed, err := h.Enqueue(h.ctx(), h.execution("ann"), key, execution.QueueLimits{Total: 1, PerSubject: 1})
		h.ok(err)
		h.same(replayed, want)
	}
}

func limitsHoldAfterARestart(h *house) {
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
				h.t.Fatalf("limits %+v with two queued: got error %v", limits, err)
			}
			if err == nil { // make room again
				h.ok(h.Start(h.ctx(), e.ID, h.run()))
			}
		}
	}
}

func anEndedLeavesRoom(h *house) {
	limits := execution.QueueLimits{Total: 1, PerSubject: 1}
	for range 3 {
		e, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
		h.ok(err)
		h.ok(h.Finish(h.ctx(), e.ID, h.result(execution.Cancelled, execution.WasCancelled), h.delivery()))
	}
}

func claimTakesTheOldest(h *house) {
	var want []execution.ID
	for range 5 {
		want = append(want, h.enqueue("ann"))
	}
	for _, id := range want {
		h.same(h.claim(), id)
	}
}

func claimServesFewestActive(h *house) {
	h.running("ann")
	h.running("ann")
	h.running("ben")
	for range 3 {
		h.enqueue("ann")
		h.enqueue("ben")
		h.enqueue("cid")
	}
	claims, err := h.Claim(h.ctx(), 7)
	h.ok(err)
	// cid has 0, ben 1, ann 2: cid until it has as many as ben, both until they have as many as ann. Among equals, who was
	// never served comes first.
	h.same(subjects(claims), []string{"cid", "ben", "cid", "ann", "ben", "cid", "ann"})
}

func claimServesLongestAgo(h *house) {
	for range 3 {
		for _, subject := range []string{"ann", "ben", "cid"} {
			h.enqueue(subject)
		}
	}
	var order []string
	for range 9 { // one slot: each ends before the next is claimed
		claims, err := h.Claim(h.ctx(), 1)
		h.ok(err)
		h.ok(h.Start(h.ctx(), claims[0].ID, h.run()))
		h.ok(h.Finish(h.ctx(), claims[0].ID, h.result(execution.Completed, execution.Exited), h.delivery()))
		order = append(order, claims[0].Subject)
	}
	h.same(order[3:6], order[:3])
	h.same(order[6:], order[:3])
	h.same(order[0] != order[1] && order[1] != order[2] && order[0] != order[2], true)
}

func claimGivesEachOnce(h *house) {
	for i := range 10 {
		h.enqueue(numbered("subject", i%3))
	}
	seen := make(map[execution.ID]bool)
	for _, want := range []int{4, 4, 2, 0} {
		claims, err := h.Claim(h.ctx(), 4)
		h.ok(err)
		h.same(len(claims), want)
		for _, e := range claims {
			h.same(seen[e.ID], false)
			seen[e.ID] = true
		}
	}
}

func releaseGivesBack(h *house) {
	first, second := h.enqueue("ann"), h.enqueue("ann")
	h.same(h.claim(), first)
	h.ok(h.Release(h.ctx(), first))
	h.same(h.get(first).State, execution.Queued)
	h.same(h.claim(), first)
	h.same(h.claim(), second)
}

func releaseRefuses(h *house) {
	h.stale(h.Release(h.ctx(), h.enqueue("ann")))
	h.stale(h.Release(h.ctx(), h.running("ann")))
	h.stale(h.Release(h.ctx(), h.ended("ann")))
	h.stale(h.Release(h.ctx(), execution.NewID(h.now)))
}

func claimsAreVoid(h *house) {
	first := h.enqueue("ann")
	h.same(h.claim(), first)
	h.same(h.claim(), execution.ID(""))
	h.restart()
	h.same(h.claim(), first)
}

func manyAtTheSameTime(h *house) {
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
				// Whoever stores one claims one: so none is left, and none is missing.
				claims, err := h.Claim(h.ctx(), 1)
				if err != nil || len(claims) != 1 {
					h.t.Errorf("claimed %d, error %v", len(claims), err)
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
	h.same(len(finished), each*workers)
	h.same(h.claim(), execution.ID(""))
}
