package server

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// StatusOf maps a code to its HTTP status; an unknown code is a 500. Statuses 410 and 501 are never used, because
// HopX's clients give them another meaning.
func StatusOf(c fault.Code) int {
	switch c {
	case fault.InvalidJSON, fault.MissingParameter, fault.InvalidRequest, fault.UnsupportedLanguage,
		fault.CallbackNotAllowed:
		return http.StatusBadRequest
	case fault.AuthenticationRequired, fault.InvalidToken:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.ExecutionNotFound, fault.ProcessNotFound, fault.RouteNotFound, fault.WorkspaceNotFound,
		fault.FileNotFound:
		return http.StatusNotFound
	case fault.MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case fault.Conflict:
		return http.StatusConflict
	case fault.PreconditionFailed:
		return http.StatusPreconditionFailed
	case fault.PayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.UnsupportedMediaType:
		return http.StatusUnsupportedMediaType
	case fault.RangeNotSatisfiable:
		return http.StatusRequestedRangeNotSatisfiable
	case fault.RateLimitExceeded, fault.QueueFull:
		return http.StatusTooManyRequests
	case fault.ServiceUnavailable:
		return http.StatusServiceUnavailable
	case fault.InternalError:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// problem is the body of an error in the standard format. Error and Message carry the same sentence, because some
// clients read one and some read the other.
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

// Problem is an error as the client sees it.
type Problem struct {
	Code       fault.Code
	Sentence   string
	Details    map[string]any // nil if there are none
	RequestID  string
	Path       string
	Timestamp  time.Time
	RetryAfter int64 // seconds; 0 says nothing
}

// ErrorFormat is the form of errors below a path. Paths without a format of a front door have the format of
// /openapi.yaml.
type ErrorFormat struct {
	Prefix    string                    // of the paths, such as "/v1/"
	Body      func(Problem) any         // encoded as JSON
	Challenge func(*fault.Error) string // the header WWW-Authenticate of a 401
}

// standardErrors is the format of paths without another one.
var standardErrors = ErrorFormat{
	Body: func(p Problem) any {
		return problem{
			Error: p.Sentence, Message: p.Sentence, Code: p.Code, RequestID: p.RequestID, Timestamp: p.Timestamp,
			Path:    p.Path,
			Details: p.Details, RetryAfter: p.RetryAfter,
		}
	},
	Challenge: challenge,
}

// errorsOf returns the format of errors for a path.
func (s *Server) errorsOf(path string) ErrorFormat {
	for _, format := range s.formats {
		if strings.HasPrefix(path, format.Prefix) {
			return format
		}
	}
	return standardErrors
}

// retryAfterDefault is the Retry-After of a 429 whose fault names none.
const retryAfterDefault = time.Second

// refuse answers with the public half of err; the private half goes into the log line. If an answer has begun, it sends
// nothing.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := fault.Of(err)
	if StatusOf(f.Code) == http.StatusTooManyRequests && f.RetryAfter == 0 {
		f = f.After(retryAfterDefault)
	}
	x := exchangeOf(r)
	x.fault = f
	if x.status != 0 {
		return
	}
	p := Problem{
		Code: f.Code, Sentence: f.Sentence, Details: maps.Clone(f.Details), RequestID: x.id, Path: r.URL.Path,
		Timestamp: wire.Time(s.Now()), RetryAfter: int64((f.RetryAfter + time.Second - 1) / time.Second),
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(p.RetryAfter, 10))
	}
	format := s.errorsOf(r.URL.Path)
	if StatusOf(f.Code) == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", format.Challenge(f))
	}
	if err := Respond(w, StatusOf(f.Code), format.Body(p)); err != nil {
		s.Log.WithField("request_id", x.id).WithError(err).Debug("answer not sent")
	}
}

// challenge describes the error of a bearer token (RFC 6750, section 3). The sentences hold neither quotes nor
// backslashes.
func challenge(f *fault.Error) string {
	if f.Code == fault.AuthenticationRequired {
		return `Bearer realm="boomerang"`
	}
	return fmt.Sprintf(`Bearer realm="boomerang", error="invalid_token", error_description="%s"`, f.Sentence)
}
