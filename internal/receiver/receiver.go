// Package receiver receives callbacks: it verifies each request, passes it to a function, and answers.
//
// The package knows the wire format of a callback. It does not know the server that sent the callback.
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
	maxBody         = 32 << 20 // bytes
	shutdownTimeout = 5 * time.Second
)

// Callback is one request that arrived.
type Callback struct {
	At      time.Time
	Header  http.Header
	Body    []byte
	Attempt int // X-HopX-Attempt; 0 if the header is missing

	Checked   bool  // whether the receiver has a secret and checked the signatures
	Signature error // error of X-HopX-Signature; nil if it is valid or was not checked
	Standard  error // error of webhook-signature, which covers the timestamp; nil if it is valid or was not checked

	Payload   wire.Result       // decoded body
	Batch     *wire.BatchResult // decoded body if it sums up a batch, otherwise nil; Payload then has no ID
	Malformed error             // error of decoding the body

	Status int // HTTP status of the answer
}

// Config configures a receiver.
type Config struct {
	Secrets   []string       // one of them must have signed each callback; without secrets, signatures are not checked
	FailFirst int            // number of requests that are answered 500 before one is accepted
	Handle    func(Callback) // called with every POST request, one at a time, before the answer; may be nil
}

// Receiver is an http.Handler that receives callbacks on any path. It answers 200, or 401 if a signature is invalid, or
// 400 if the body is not the body of a callback. It answers 500 to the first FailFirst requests.
type Receiver struct {
	secrets []string
	handle  func(Callback)

	mu   sync.Mutex // admits one callback at a time, and guards fail
	fail int        // remaining requests to answer 500
}

// New returns a receiver.
func New(c Config) *Receiver {
	if c.Handle == nil {
		c.Handle = func(Callback) {}
	}
	return &Receiver{secrets: c.Secrets, handle: c.Handle, fail: c.FailFirst}
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "a callback is a POST request", http.StatusMethodNotAllowed)
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

// read decodes and verifies a callback. An invalid signature takes precedence over a malformed body.
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
		c.Signature = r.anySecret(func(secret string) error {
			return callback.Verify(secret, header.Get(callback.HeaderSignature), body)
		})
		c.Standard = r.anySecret(func(secret string) error {
			return callback.VerifyStandard(secret, header, body, now)
		})
	}
	if c.Signature != nil || c.Standard != nil {
		c.Status = http.StatusUnauthorized
	}
	return c
}

// anySecret returns nil if verify accepts one of the secrets, otherwise the last error.
func (r *Receiver) anySecret(verify func(secret string) error) (err error) {
	for _, secret := range r.secrets {
		if err = verify(secret); err == nil {
			break
		}
	}
	return err
}

// Serve answers requests on l until ctx ends. Then it waits up to 5 s for running requests, and closes l.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: shutdownTimeout}
	stopped := make(chan error, 1)
	unhook := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	})
	err := server.Serve(l)
	if unhook() { // the server ended before ctx
		return fmt.Errorf("receive callbacks: %w", err)
	}
	if err := <-stopped; err != nil {
		return errors.Join(fmt.Errorf("stop receiving callbacks: %w", err), server.Close())
	}
	return nil
}
