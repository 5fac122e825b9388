package gateway

import (
	"net/http"
	"strconv"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/server"
)

// ReadSubmission reads a submission in the fields of POST /execute/async from the body and the headers of a request.
func ReadSubmission(w http.ResponseWriter, r *http.Request, caller auth.Principal) (s admission.Submission, err error) {
	body, err := server.ReadJSON(w, r)
	if err != nil {
		return s, err
	}
	if s, err = DecodeSubmission(body); err != nil {
		return s, err
	}
	return WithHeaders(s, r, caller)
}

// WithHeaders adds to a submission its subject, its idempotency key and its depth, which do not come with the body.
func WithHeaders(s admission.Submission, r *http.Request, caller auth.Principal) (_ admission.Submission, err error) {
	s.Subject = caller.Subject
	if s.IdempotencyKey, err = server.HeaderOnce(r, admission.HeaderKey); err != nil {
		return s, err
	}
	s.Depth, err = Depth(r)
	return s, err
}

// Submit stores a submission and, if an earlier submission was replayed, says so in a header of the answer. Nothing can
// fail after Admit has stored the execution: a client posts again after a 5xx, and the code would run twice.
func (x *Executions) Submit(
	w http.ResponseWriter, r *http.Request, s admission.Submission,
) (execution.Execution, error) {
	e, replayed, err := x.Admission.Admit(r.Context(), s)
	if err != nil {
		return execution.Execution{}, err
	}
	x.Log.WithFields(logrus.Fields{
		"execution_id": e.ID, "language": e.Language, "subject": e.Subject, "request_id": server.RequestID(r),
		"replayed": replayed,
	}).Info("execution queued")
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	return e, nil
}

// Depth returns the number of callbacks of this server that led to the request; 0 if the header is absent.
func Depth(r *http.Request) (int, error) {
	value, err := server.HeaderOnce(r, callback.HeaderDepth)
	if err != nil || value == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, fault.New(fault.InvalidRequest, "%s must be a whole number.", callback.HeaderDepth).
			Field(callback.HeaderDepth)
	}
	return int(n), nil
}
