package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// statusOf is the only place where a kind of fault becomes a status. 410 and 501 are never used: clients that follow the
// same wire read them as something else.
func statusOf(f *fault.Error) int {
	switch f.Code.Kind() {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.NotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unsupported:
		return http.StatusUnsupportedMediaType
	case fault.OutOfRange:
		return http.StatusRequestedRangeNotSatisfiable
	case fault.Unmet:
		return http.StatusPreconditionFailed
	case fault.Busy:
		return http.StatusTooManyRequests
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// problem is the body of every error. Error and Message carry the same sentence: of the clients that exist, some read
// the one and some the other.
type problem struct {
	Error      string         `json:"error"`
	Message    string         `json:"message"`
	Code       fault.Code     `json:"code"`
	RequestID  string         `json:"request_id"`
	Timestamp  time.Time      `json:"timestamp"`
	Path       string         `json:"path"`
	Details    map[string]any `json:"details,omitempty"`
	RetryAfter int64          `json:"retry_after,omitempty"` // seconds
}

// nested is the body of an error below controlPaths, as the clients that call there read it.
type nested struct {
	Error      reading `json:"error"`
	RequestID  string  `json:"request_id"`
	RetryAfter int64   `json:"retry_after,omitempty"` // seconds
}

type reading struct {
	Message string         `json:"message"`
	Code    fault.Code     `json:"code"`
	Details map[string]any `json:"details,omitempty"`
}

// patience is what a client is asked for that came too often and was not told how long to wait.
const patience = time.Second

// refuse answers with the public half of err; the private half goes into the line of the log. Only when nothing was sent
// yet: an answer that was begun cannot be taken back.
func (a *api) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	if f.Code.Kind() == fault.Busy && f.RetryAfter == 0 {
		f = f.After(patience)
	}
	x := exchangeOf(r)
	x.fault = f
	if x.status != 0 {
		return
	}
	p := problem{
		Error: f.Sentence, Message: f.Sentence, Code: f.Code, RequestID: x.id, Timestamp: wire.Time(a.Now()), Path: r.URL.Path,
		Details: maps.Clone(f.Details), RetryAfter: int64((f.RetryAfter + time.Second - 1) / time.Second),
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	var body any = p
	control := strings.HasPrefix(r.URL.Path, controlPaths)
	if control {
		body = nested{Error: reading{Message: p.Message, Code: p.Code, Details: p.Details}, RequestID: p.RequestID, RetryAfter: p.RetryAfter}
	}
	if f.Code.Kind() == fault.Unauthenticated {
		w.Header().Set("WWW-Authenticate", challenge(f, control))
	}
	if err := respond(w, statusOf(f), body); err != nil {
		a.Log.WithField("request_id", x.id).WithError(err).Debug("answer not sent")
	}
}

// challenge says what is wrong with the token (RFC 6750, section 3). Our sentences hold neither quotes nor backslashes. For an
// API key there is no scheme of its own.
func challenge(f *fault.Error, control bool) string {
	if control {
		return `APIKey realm="boomerang"`
	}
	if f.Code == fault.AuthenticationRequired {
		return `Bearer realm="boomerang"`
	}
	return fmt.Sprintf(`Bearer realm="boomerang", error="invalid_token", error_description="%s"`, f.Sentence)
}

// respond writes v as JSON. It is encoded whole before the first byte is sent, so an error here can still be answered.
func respond(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // a program's output is not HTML
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // an error here means that the client has gone
	return nil
}
