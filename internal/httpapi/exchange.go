package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/fault"
)

// exchange is one request with its answer: what the log line of it needs to know.
type exchange struct {
	http.ResponseWriter
	id      string // of the request
	subject string // who asked; empty: nobody known
	route   string // the path with its parameters' names; empty: none of ours
	query   parameters
	status  int   // 0: nothing was sent yet
	bytes   int64 // of the answer's body
	fault   *fault.Error
	stack   []byte // where it panicked
}

type exchangeKey struct{}

// exchangeOf returns the exchange that ServeHTTP began.
func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// ServeHTTP answers one request: with an id, in the open about nothing, and with a line in the log.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, id: requestID(r)}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	h := w.Header()
	h.Set("X-Request-ID", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	defer a.logLine(x, r, time.Now())
	defer a.catch(x, r)
	if !probe(r) {
		if err := a.addresses.take(h, neighbourhood(address(r, a.config.TrustedProxies)), a.Now()); err != nil {
			a.refuse(x, r, err)
			return
		}
	}
	a.router.ServeHTTP(x, r)
}

// probe tells what a supervisor asks, who would end us if we told it that it asks too often.
func probe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// sane is what an id from outside may look like; it goes into the log and back to the client.
var sane = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-ID"); sane.MatchString(id) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return "req_" + hex.EncodeToString(b[:])
}

// catch turns a panic into the answer of an internal error. An answer that was already begun is cut off, so that nobody
// takes it for whole.
func (a *api) catch(x *exchange, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // a value that net/http compares in the same way
		panic(v)
	}
	x.stack = debug.Stack()
	begun := x.status != 0
	a.refuse(x, r, fmt.Errorf("panic: %v", v))
	if begun {
		panic(http.ErrAbortHandler)
	}
}

// logLine writes the one line of a request: without its query and its headers, which may hold secrets.
func (a *api) logLine(x *exchange, r *http.Request, started time.Time) {
	took := time.Since(started)
	a.Answered(knownMethod(r.Method), cmp.Or(x.route, "none"), x.status, took)
	log := a.Log.WithFields(logrus.Fields{
		"request_id": x.id, "method": r.Method, "path": r.URL.Path, "status": x.status, "bytes": x.bytes,
		"duration_ms": float64(took.Microseconds()) / 1000,
	})
	if x.subject != "" {
		log = log.WithField("subject", x.subject)
	}
	if x.fault != nil {
		log = log.WithField("code", x.fault.Code).WithError(x.fault)
	}
	if x.stack != nil {
		log = log.WithField("stack", string(x.stack))
	}
	if x.fault != nil && statusOf(x.fault) >= http.StatusInternalServerError && r.Context().Err() == nil {
		log.Error("request failed")
		return
	}
	log.Debug("request answered")
}

// knownMethod is "other" for what anybody may invent.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) { // the other 1xx come before the answer
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write counts what is sent.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }
