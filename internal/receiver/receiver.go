// Package receiver is the other end of a callback: it verifies what arrives, hands it to a function, and answers.
//
// It knows the wire of a callback. It refuses to know who made it: it needs no server of ours beside it.
package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"boomerang/internal/callback"
	"boomerang/internal/wire"
)

const (
	maxBody  = 32 << 20 // bytes
	farewell = 5 * time.Second
)

// Callback is one request that arrived.
type Callback struct {
	At      time.Time
	Header  http.Header
	Body    []byte
	Attempt int // X-HopX-Attempt; 0 when there is none

	Checked   bool  // whether there was a secret to check the signatures with
	Signature error // of X-HopX-Signature; nil when it holds or was not checked
	Standard  error // of webhook-signature, which covers the timestamp; nil when it holds or was not checked

	Payload   wire.Result       // what the body says
	Batch     *wire.BatchResult // what it says where it sums up a batch; Payload has then no execution
	Malformed error             // why it could not be read

	Status int // what the sender is answered
}

// Config is what a receiver does with callbacks.
type Config struct {
	Secrets   []string       // one of them must have signed; none: signatures are not checked
	FailFirst int            // how many requests are answered 500 before one is taken
	Handle    func(Callback) // gets every POST, one at a time and before it is answered; may be nil
}

// Receiver is an http.Handler that takes callbacks on any path. It answers 200, 401 when a signature does not hold, 400
// when the body is not a callback's, and 500 as often as it was told to.
type Receiver struct {
	secrets []string
	handle  func(Callback)

	mu   sync.Mutex // one callback at a time
	fail int
}

// New makes a receiver.
func New(c Config) *Receiver {
	if c.Handle == nil {
		c.Handle = func(Callback) {}
	}
	return &Receiver{secrets: c.Secrets, handle: c.Handle, fail: c.FailFirst}
}

// ServeHTTP takes one callback.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "callbacks are posted", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxBody))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	c := r.read(request.Header, body, time.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail > 0 {
		r.fail--
		c.Status = http.StatusInternalServerError
	}
	r.handle(c)
	w.WriteHeader(c.Status)
}

// read verifies and parses, in this order: what does not come from the sender is not worth parsing, but is shown.
func (r *Receiver) read(header http.Header, body []byte, now time.Time) Callback {
	c := Callback{At: now, Header: header, Body: body, Checked: len(r.secrets) > 0, Status: http.StatusOK}
	c.Attempt, _ = strconv.Atoi(header.Get(callback.HeaderAttempt))
	if c.Malformed = json.Unmarshal(body, &c.Payload); c.Malformed != nil {
		c.Status = http.StatusBadRequest
	} else if c.Payload.ExecutionID == "" && c.Payload.BatchID != "" {
		c.Batch = new(wire.BatchResult)
		if c.Malformed = json.Unmarshal(body, c.Batch); c.Malformed != nil {
			c.Status = http.StatusBadRequest
		}
	}
	if c.Checked {
		c.Signature = r.one(func(secret string) error { return callback.Verify(secret, header.Get(callback.HeaderSignature), body) })
		c.Standard = r.one(func(secret string) error { return callback.VerifyStandard(secret, header, body, now) })
	}
	if c.Signature != nil || c.Standard != nil {
		c.Status = http.StatusUnauthorized
	}
	return c
}

// one returns nil when a signature is by one of the secrets.
func (r *Receiver) one(verify func(secret string) error) (err error) {
	for _, secret := range r.secrets {
		if err = verify(secret); err == nil {
			break
		}
	}
	return err
}

// Serve answers on l until ctx ends, lets requests in flight finish for 5 s, and closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: farewell}
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err := server.Serve(l)
	if unhook() { // it ended by itself
		return fmt.Errorf("receive callbacks: %w", err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(fmt.Errorf("stop receiving callbacks: %w", err), server.Close())
	}
	return nil
}
