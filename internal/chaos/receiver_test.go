//go:build chaos

package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// hook is a receiver that treats one callback in five badly: it refuses it, hangs up, or answers slowly.
type hook struct {
	*servertest.Receiver

	mu     sync.Mutex // guards chance
	chance *rand.Rand // nil for a receiver that treats all callbacks well
}

func newHook(t *testing.T, chance *rand.Rand) *hook {
	t.Helper()
	h := &hook{chance: chance}
	h.Receiver = servertest.NewReceiver(t, h.answer)
	return h
}

func (h *hook) answer(r *http.Request) servertest.Answer {
	switch chance := h.draw(); {
	case chance < 0.1:
		return servertest.Refuse
	case chance < 0.15:
		return servertest.HangUp
	case chance < 0.2:
		servertest.Rest(r.Context(), time.Second)
	}
	return servertest.Accept
}

func (h *hook) draw() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chance == nil {
		return 1
	}
	return h.chance.Float64()
}

// accepted reports whether the receiver accepted a callback as valid.
func accepted(a servertest.Arrival) bool { return a.Answer == servertest.Accept && a.Invalid() == nil }

// has reports whether a callback of the execution was accepted.
func (h *hook) has(id execution.ID) bool {
	return slices.ContainsFunc(h.Arrivals(id), accepted)
}

// awaitMore waits until callbacks of more further executions are accepted. It spreads faults over the work on machines
// of any speed. It waits for 15 s at most, as the work may wait for a fault.
func (h *hook) awaitMore(ctx context.Context, more int) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	target := h.count() + more
	servertest.Eventually(ctx, 20*time.Millisecond, func() bool { return h.count() >= target })
}

// count returns the number of executions of which a callback was accepted.
func (h *hook) count() int {
	ids := map[execution.ID]bool{}
	for _, a := range h.All() {
		if accepted(a) {
			ids[a.Payload.ExecutionID] = true
		}
	}
	return len(ids)
}

// arrivals returns all callbacks as the auditor reads them.
func (h *hook) arrivals() (arrivals []Arrival) {
	for _, a := range h.All() {
		arrivals = append(arrivals, Arrival{
			At: a.Begun, ID: a.Payload.ExecutionID, WebhookID: a.Header.Get("webhook-id"), Body: a.Body,
			Forged: a.Invalid(), Taken: accepted(a),
		})
	}
	return arrivals
}
