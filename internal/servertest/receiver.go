package servertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

// Secret signs the callbacks that a Receiver verifies.
const Secret = "your-secret-key"

// Answer is how a Receiver treats one callback.
type Answer int

const (
	// Accept verifies the callback and answers 200, or the status that says why the callback is invalid.
	Accept Answer = iota
	// Refuse keeps the callback and answers 503.
	Refuse
	// HangUp keeps the callback and closes the connection without an answer.
	HangUp
)

// Arrival is one callback that a Receiver got.
type Arrival struct {
	receiver.Callback
	Begun  time.Time // when the request began; Callback.At is when its body had been read
	Answer Answer
}

// Invalid returns the reason why a signature does not hold or why the body could not be parsed, or nil.
func (a Arrival) Invalid() error { return errors.Join(a.Signature, a.Standard, a.Malformed) }

// Receiver is an HTTP server that verifies callbacks and keeps them.
type Receiver struct {
	URL string

	answer func(*http.Request) Answer

	mu      sync.Mutex // guards the fields below
	arrived map[execution.ID][]Arrival
	changed chan struct{} // closed and replaced at each arrival
}

// NewReceiver starts a receiver until the test ends. It calls answer at the beginning of each request, and accepts all
// callbacks if answer is nil.
func NewReceiver(t testing.TB, answer func(*http.Request) Answer) *Receiver {
	t.Helper()
	if answer == nil {
		answer = func(*http.Request) Answer { return Accept }
	}
	r := &Receiver{answer: answer, arrived: map[execution.ID][]Arrival{}, changed: make(chan struct{})}
	server := httptest.NewServer(r.Handler(Secret))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// Handler returns a handler that verifies callbacks with other secrets, or with none, and keeps them in r.
func (r *Receiver) Handler(secrets ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		begun, answer := time.Now(), r.answer(request)
		verify := receiver.New(receiver.Config{
			Secrets: secrets, Handle: func(c receiver.Callback) { r.keep(Arrival{c, begun, answer}) },
		})
		if answer == Accept {
			verify.ServeHTTP(w, request)
			return
		}
		verify.ServeHTTP(httptest.NewRecorder(), request)
		if answer == HangUp {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
}

func (r *Receiver) keep(a Arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := a.Payload.ExecutionID
	r.arrived[id] = append(r.arrived[id], a)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Await returns the first callback of an execution, which may have arrived before, and an error if that callback is
// invalid or if ctx ends first. The callback of a batch has the execution ID "".
func (r *Receiver) Await(ctx context.Context, id execution.ID) (Arrival, error) {
	for {
		r.mu.Lock()
		arrived, changed := r.arrived[id], r.changed
		r.mu.Unlock()
		if len(arrived) > 0 {
			return arrived[0], arrived[0].Invalid()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Arrival{}, fmt.Errorf("no callback of execution %q arrived: %w", id, context.Cause(ctx))
		}
	}
}

// Arrivals returns the callbacks of an execution in the order in which they were verified.
func (r *Receiver) Arrivals(id execution.ID) []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.arrived[id])
}

// All returns the callbacks of all executions; those of one execution are in order.
func (r *Receiver) All() (all []Arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, arrived := range r.arrived {
		all = append(all, arrived...)
	}
	return all
}
