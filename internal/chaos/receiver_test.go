//go:build chaos

package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

const secret = "your-secret-key"

// hook receives callbacks and treats one in five badly: an error, a connection that is cut, an answer that takes its time.
type hook struct {
	server *httptest.Server

	mu     sync.Mutex // guards what follows
	chance *rand.Rand // nil: always well
	got    []Arrival
	taken  map[execution.ID]bool
}

func newHook(chance *rand.Rand) *hook {
	h := &hook{chance: chance, taken: map[execution.ID]bool{}}
	h.server = httptest.NewServer(h)
	return h
}

// ServeHTTP takes one callback.
func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, chance := time.Now(), h.draw()
	if chance >= 0.15 && chance < 0.2 {
		rest(r.Context(), time.Second)
	}
	verify := receiver.New(receiver.Config{Secrets: []string{secret}, Handle: func(c receiver.Callback) { h.write(at, c, chance >= 0.15) }})
	switch {
	case chance < 0.1:
		verify.ServeHTTP(httptest.NewRecorder(), r)
		http.Error(w, "not today", http.StatusServiceUnavailable)
	case chance < 0.15:
		verify.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		verify.ServeHTTP(w, r)
	}
}

func (h *hook) draw() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.chance == nil {
		return 1
	}
	return h.chance.Float64()
}

func (h *hook) write(at time.Time, c receiver.Callback, taken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := Arrival{
		At: at, ID: c.Payload.ExecutionID, WebhookID: c.Header.Get("webhook-id"), Body: c.Body, Taken: taken,
	}
	for _, err := range []error{c.Signature, c.Standard, c.Malformed} {
		if err != nil {
			a.Forged, a.Taken = err, false
		}
	}
	h.got = append(h.got, a)
	if a.Taken {
		h.taken[a.ID] = true
	}
}

// has tells whether a callback of the execution was taken.
func (h *hook) has(id execution.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.taken[id]
}

// await waits until so many executions more have had their callback taken: that keeps faults spread over the work,
// however slow the machine is. It does not wait forever, for faults may be what everything waits for.
func (h *hook) await(ctx context.Context, more int) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for target := h.count() + more; h.count() < target && rest(ctx, 20*time.Millisecond); {
	}
}

func (h *hook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.taken)
}
