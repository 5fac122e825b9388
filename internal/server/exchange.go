package server

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

// exchange is one request with its answer.
type exchange struct {
	http.ResponseWriter
	config  *Config
	id      string // of the request
	subject string // of the caller; empty if the caller is unknown
	route   string // the path with the names of its parameters; empty if there is no such route
	status  int    // of the answer; 0 before the answer begins
	bytes   int64  // of the answer's body
	fault   *fault.Error
	stack   []byte // of a panic
}

type exchangeKey struct{}

// exchangeOf returns the exchange that ServeHTTP began; an empty one for a request that came another way.
func exchangeOf(r *http.Request) *exchange {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{config: new(Config)}
}

// RequestID returns the id of a request, which is in the answer and in the log.
func RequestID(r *http.Request) string { return exchangeOf(r).id }

// Patience returns how long a client may take to send or to receive one piece of a stream: Config.Timeout.
func Patience(r *http.Request) time.Duration { return exchangeOf(r).config.Timeout }

// BodyLimit returns the longest body, or frame, that r may send, in bytes: Config.Body.
func BodyLimit(r *http.Request) int64 { return int64(exchangeOf(r).config.Body) }

// LogFault puts err into the log line of a request whose answer has been sent, or taken over, already.
func LogFault(r *http.Request, err error) { exchangeOf(r).fault = fault.Of(err) }

// ExtendWrite moves the deadline of the answer to d plus Config.Timeout from now.
func ExtendWrite(w http.ResponseWriter, r *http.Request, d time.Duration) error {
	at := time.Now().Add(d + exchangeOf(r).config.Timeout)
	if err := http.NewResponseController(w).SetWriteDeadline(at); err != nil {
		return fmt.Errorf("extend write deadline: %w", err)
	}
	return nil
}

// ExtendRead moves the deadline of the request's body to d plus Config.Timeout from now.
func ExtendRead(w http.ResponseWriter, r *http.Request, d time.Duration) error {
	at := time.Now().Add(d + exchangeOf(r).config.Timeout)
	if err := http.NewResponseController(w).SetReadDeadline(at); err != nil {
		return fmt.Errorf("extend read deadline: %w", err)
	}
	return nil
}

// ServeHTTP answers one request: with an id, with headers that keep browsers from interpreting the answer, and with a
// line in the log.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, config: &s.config, id: requestID(r)}
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
	defer s.logLine(x, r, time.Now())
	defer s.catch(x, r)
	if !probe(r) {
		if err := s.addresses.spend(h, neighbourhood(address(r, s.config.TrustedProxies)), s.Now()); err != nil {
			s.refuse(x, r, err)
			return
		}
	}
	s.router.ServeHTTP(x, r)
}

// probe tells whether a request is that of a supervisor, which would end the server if its probes met a rate limit.
func probe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// sane matches the request ids of clients that are used; they go into the log and back to the client.
var sane = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-ID"); sane.MatchString(id) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return "req_" + hex.EncodeToString(b[:])
}

// catch turns a panic into the answer of an internal error. An answer that has begun is cut off, so that no client
// takes it for complete.
func (s *Server) catch(x *exchange, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // a value that net/http compares in the same way
		panic(v)
	}
	x.stack = debug.Stack()
	begun := x.status != 0
	s.refuse(x, r, fmt.Errorf("panic: %v", v))
	if begun {
		panic(http.ErrAbortHandler)
	}
}

// logLine writes the log line of a request, without the query and the headers, which may hold secrets.
func (s *Server) logLine(x *exchange, r *http.Request, started time.Time) {
	took := time.Since(started)
	s.Answered(knownMethod(r.Method), cmp.Or(x.route, "none"), x.status, took)
	log := s.Log.WithFields(logrus.Fields{
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
	if x.fault != nil && StatusOf(x.fault.Code) >= http.StatusInternalServerError && r.Context().Err() == nil {
		log.Error("request failed")
		return
	}
	log.Debug("request answered")
}

// knownMethod returns the method, or "other" for one that a client has invented.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodOptions:
		return method
	}
	return "other"
}

// WriteHeader implements http.ResponseWriter and notes the status.
func (x *exchange) WriteHeader(status int) {
	// The other 1xx come before the answer
	if x.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter and counts the bytes.
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
