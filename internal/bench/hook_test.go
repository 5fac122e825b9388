//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

const secret = "your-secret-key"

// hook receives the callbacks of all servers.
type hook struct {
	url string

	mu      sync.Mutex // guards what follows
	counts  map[execution.ID]int
	arrived map[execution.ID]receiver.Callback // and nobody has asked for it
	waiting map[execution.ID]chan receiver.Callback
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{
		counts: map[execution.ID]int{}, arrived: map[execution.ID]receiver.Callback{}, waiting: map[execution.ID]chan receiver.Callback{},
	}
	server := httptest.NewServer(receiver.New(receiver.Config{Secrets: []string{secret}, Handle: h.take}))
	t.Cleanup(server.Close)
	h.url = server.URL + "/callback"
	return h
}

func (h *hook) take(c receiver.Callback) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := c.Payload.ExecutionID
	if h.counts[id]++; h.counts[id] > 1 {
		return
	}
	if to, ok := h.waiting[id]; ok {
		to <- c
		delete(h.waiting, id)
		return
	}
	h.arrived[id] = c
}

// await returns the callback of an execution, which may have come before.
func (h *hook) await(ctx context.Context, id execution.ID) (receiver.Callback, error) {
	h.mu.Lock()
	if c, ok := h.arrived[id]; ok {
		delete(h.arrived, id)
		h.mu.Unlock()
		return c, nil
	}
	to := make(chan receiver.Callback, 1)
	h.waiting[id] = to
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case c := <-to:
		return c, errors.Join(c.Signature, c.Standard, c.Malformed)
	case <-ctx.Done():
		return receiver.Callback{}, fmt.Errorf("no callback of %s within %s", id, patience)
	}
}

// count is how often the callback of an execution came.
func (h *hook) count(id execution.ID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[id]
}
