package storetest

import (
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// recordBytes is the share of the rows of a result in its stored size.
const recordBytes = 1 << 10

// ended stores an execution of a subject that has ended with so many bytes of output and an artifact of as many. Its
// delivery is pending, and has a body of 2 bytes.
func (h *harness) endedWith(subject string, n int) execution.ID {
	h.t.Helper()
	h.now = h.now.Add(time.Minute)
	id := h.running(subject)
	r := h.result(execution.Completed, execution.Exited)
	r.Stdout, r.Stderr = execution.Output{Head: make([]byte, n), Bytes: int64(n)}, execution.Output{}
	file := execution.Artifact{Path: "f", Mode: 0o600, Blob: h.blob(strings.Repeat("x", n))}
	r.Artifacts = &execution.Artifacts{Files: []execution.Artifact{file}}
	r.CompletedAt = h.now
	d := h.delivery()
	d.Body = []byte("{}")
	h.ok(h.Finish(h.ctx(), id, r, d))
	return id
}

// stored checks the stored results of the subjects, the largest first.
func (h *harness) stored(want ...execution.Stored) {
	h.t.Helper()
	got, err := h.Stored(h.ctx())
	h.ok(err)
	var rest []execution.Stored
	for _, s := range got {
		if s.Results+s.Workspaces > 0 {
			rest = append(rest, s)
		}
	}
	h.equal(rest, want)
}

func (h *harness) delivered(id execution.ID) {
	h.t.Helper()
	h.ok(h.Record(h.ctx(), h.attempt(id, 1), execution.Delivered, "", time.Time{}))
}

func testStoredCountsOutputArtifactsAndBodies(h *harness) {
	h.stored()
	h.endedWith("ann", 100)
	first := h.endedWith("ben", 2000)
	h.endedWith("ben", 3000)
	size := func(n int64) int64 { return recordBytes + 2*n + 2 }
	h.stored(execution.Stored{Subject: "ben", Results: size(2000) + size(3000)},
		execution.Stored{Subject: "ann", Results: size(100)})
	h.restart()
	h.delivered(first)
	n, err := h.Remove(h.ctx(), h.now.Add(time.Hour), h.now, 10)
	h.ok(err)
	h.equal(n, 1)
	h.stored(execution.Stored{Subject: "ben", Results: size(3000)},
		execution.Stored{Subject: "ann", Results: size(100)})
}

func testEvictRemovesTheOldestOfTheSubjectAlone(h *harness) {
	others := h.endedWith("ann", 1000)
	h.delivered(others)
	var bens []execution.ID
	for range 5 {
		id := h.endedWith("ben", 1000)
		h.delivered(id)
		bens = append(bens, id)
	}
	const size = recordBytes + 2*1000 + 2
	freed, err := h.Evict(h.ctx(), "ben", 2*size+1, h.now)
	h.ok(err)
	h.equal(freed, int64(3*size))
	for i, id := range append(bens, others) {
		_, err := h.Get(h.ctx(), id)
		if i < 3 {
			h.wantFault(err, fault.ExecutionNotFound)
		} else {
			h.ok(err)
		}
	}
	h.stored(execution.Stored{Subject: "ben", Results: 2 * size}, execution.Stored{Subject: "ann", Results: size})
	swept, err := h.Sweep(h.ctx(), h.now.Add(-24*time.Hour), 10)
	h.ok(err)
	h.equal(swept, 3)
	freed, err = h.Evict(h.ctx(), "ben", 1<<40, h.now)
	h.ok(err)
	h.equal(freed, int64(2*size))
	freed, err = h.Evict(h.ctx(), "cid", 1, h.now)
	h.ok(err)
	h.equal(freed, int64(0))
}

func testEvictKeepsTheRecordAndTheBodyOfAPendingDelivery(h *harness) {
	id := h.endedWith("ann", 1000)
	freed, err := h.Evict(h.ctx(), "ann", 1<<40, h.now)
	h.ok(err)
	h.equal(freed, int64(2000))
	d, err := h.Delivery(h.ctx(), id)
	h.ok(err)
	h.equal(string(d.Body), "{}")
	h.equal(d.State, execution.Pending)
	out, err := h.Output(h.ctx(), id, execution.Stdout)
	h.ok(err)
	h.equal(out.LeftOut(), int64(1000)) // the record says that output is missing
	a, err := h.Artifacts(h.ctx(), id)
	h.ok(err)
	h.equal(len(a.Files), 0)
	h.equal(a.Cut, execution.CutEvicted)
	h.stored(execution.Stored{Subject: "ann", Results: recordBytes + 2})
	freed, err = h.Evict(h.ctx(), "ann", 1<<40, h.now) // nothing more can go
	h.ok(err)
	h.equal(freed, int64(0))
	h.delivered(id)
	freed, err = h.Evict(h.ctx(), "ann", 1<<40, h.now)
	h.ok(err)
	h.equal(freed, int64(recordBytes+2))
}

func testEnqueueRefusesASubjectThatStoresItsQuota(h *harness) {
	h.endedWith("ann", 1000)
	limits := execution.QueueLimits{SubjectStored: 3000}
	_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
	h.wantFault(err, fault.QuotaExceeded)
	h.equal(fault.Of(err).Details["quota"], "stored_size")
	h.equal(fault.Of(err).Details["use"], int64(recordBytes+2002))
	_, _, err = h.Enqueue(h.ctx(), h.execution("ben"), nil, limits)
	h.ok(err)
	limits.SubjectStored *= 2
	_, _, err = h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
	h.ok(err)
}

func testEnqueueRefusesTheLargestSubjectsOfAFullStore(h *harness) {
	h.endedWith("ann", 10_000)
	h.endedWith("ben", 100)
	limits := execution.QueueLimits{Stored: 20_000}
	_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
	h.wantFault(err, fault.QuotaExceeded)
	for _, subject := range []string{"ben", "cid"} { // both store less than an equal share
		_, _, err = h.Enqueue(h.ctx(), h.execution(subject), nil, limits)
		h.ok(err)
	}
	limits.Stored *= 2
	_, _, err = h.Enqueue(h.ctx(), h.execution("ann"), nil, limits)
	h.ok(err)
}

func testManyNewResultsAreSignalled(h *harness) {
	signalled := func() bool {
		select {
		case <-h.Grown():
			return true
		default:
			return false
		}
	}
	signalled() // a store begins with a signal
	h.endedWith("ann", 1000)
	h.equal(signalled(), false)
	h.endedWith("ann", 2<<20) // and an artifact of as many
	h.equal(signalled(), true)
	h.equal(signalled(), false)
}
