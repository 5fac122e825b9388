// Package fault has the errors that a caller may read.
//
// A fault has two halves: a public sentence for the caller, and a private cause for the log. The package does not know
// HTTP: internal/server maps each code to a status.
package fault

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Code is the exact cause, in the spelling of the wire. Each transport maps the codes to its statuses in one place.
type Code string

// The codes.
const (
	InvalidJSON            Code = "INVALID_JSON"
	MissingParameter       Code = "MISSING_PARAMETER"
	InvalidRequest         Code = "INVALID_REQUEST"
	UnsupportedLanguage    Code = "UNSUPPORTED_LANGUAGE"
	CallbackNotAllowed     Code = "CALLBACK_NOT_ALLOWED"
	AuthenticationRequired Code = "AUTHENTICATION_REQUIRED"
	InvalidToken           Code = "INVALID_TOKEN"
	Forbidden              Code = "FORBIDDEN"
	ExecutionNotFound      Code = "EXECUTION_NOT_FOUND"
	ProcessNotFound        Code = "PROCESS_NOT_FOUND"
	RouteNotFound          Code = "ROUTE_NOT_FOUND"
	WorkspaceNotFound      Code = "WORKSPACE_NOT_FOUND"
	FileNotFound           Code = "FILE_NOT_FOUND"
	PreconditionFailed     Code = "PRECONDITION_FAILED"
	MethodNotAllowed       Code = "METHOD_NOT_ALLOWED"
	Conflict               Code = "CONFLICT"
	PayloadTooLarge        Code = "PAYLOAD_TOO_LARGE"
	UnsupportedMediaType   Code = "UNSUPPORTED_MEDIA_TYPE"
	RangeNotSatisfiable    Code = "RANGE_NOT_SATISFIABLE"
	RateLimitExceeded      Code = "RATE_LIMIT_EXCEEDED"
	QueueFull              Code = "QUEUE_FULL"
	QuotaExceeded          Code = "QUOTA_EXCEEDED"
	InternalError          Code = "INTERNAL_ERROR"
	ServiceUnavailable     Code = "SERVICE_UNAVAILABLE"
)

// Error is one fault. New makes one; the zero value is not useful.
type Error struct {
	Code       Code
	Sentence   string         // public: one sentence
	Details    map[string]any // public: "field" names the wrong part of the request
	RetryAfter time.Duration  // 0 names no time for another try
	cause      error          // private
}

// New makes a fault with its public sentence, which must not contain secrets or internals.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Sentence: fmt.Sprintf(format, args...)}
}

// Field returns a copy that names the wrong field of the request.
func (e *Error) Field(name string) *Error { return e.Detail("field", name) }

// Detail returns a copy with one more public detail.
func (e *Error) Detail(key string, value any) *Error {
	c := *e
	c.Details = maps.Clone(e.Details)
	if c.Details == nil {
		c.Details = make(map[string]any, 1)
	}
	c.Details[key] = value
	return &c
}

// After returns a copy that asks the caller to retry after d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Within returns a copy whose field lies within where, a part of the request such as "executions[3]".
func (e *Error) Within(where string) *Error {
	field, _ := e.Details["field"].(string)
	if field == "" {
		c := e.Field(where)
		c.Sentence = where + ": " + e.Sentence
		return c
	}
	c := e.Field(where + "." + field)
	if strings.HasPrefix(e.Sentence, field) {
		c.Sentence = where + "." + e.Sentence
	} else {
		c.Sentence = where + ": " + e.Sentence
	}
	return c
}

// Because returns a copy with a private cause, which is logged and never sent.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error returns both halves, for logs and never for a client.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Sentence + ": " + e.cause.Error()
	}
	return e.Sentence
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.cause }

// Of returns the fault in err; an error without one becomes an InternalError with err as its cause.
func Of(err error) *Error {
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	return New(InternalError, "Something went wrong on our side. The request id finds it in the log.").Because(err)
}
