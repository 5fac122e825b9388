package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// accepted is the answer to a submission.
type accepted struct {
	ExecutionID execution.ID    `json:"execution_id"`
	Status      execution.State `json:"status"`
	CallbackURL string          `json:"callback_url"`
	Message     string          `json:"message"`
	Timestamp   time.Time       `json:"timestamp"` // when it was accepted
}

// submit accepts code and a place to post its result.
func (a *api) submit(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	s, err := a.readSubmission(w, r, p)
	if err != nil {
		return err
	}
	e, err := a.admit(w, r, s)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, accepted{
		ExecutionID: e.ID,
		Status:      execution.Queued, // also when replayed: it is the answer of the first time
		CallbackURL: e.Callback.URL,
		Message:     "Execution queued. The result will be posted to callback_url.",
		Timestamp:   wire.Time(e.CreatedAt),
	})
}

// process is the answer to a program in the background. It goes by the name of its execution.
type process struct {
	ProcessID   execution.ID    `json:"process_id"`
	ExecutionID execution.ID    `json:"execution_id"`
	Name        string          `json:"name"`
	Status      execution.State `json:"status"`
	StartTime   time.Time       `json:"start_time"`
	Message     string          `json:"message"`
}

// background accepts code whose result is kept and not posted.
func (a *api) background(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.backgroundAs(w, r, p, asItIs)
}

func (a *api) backgroundAs(
	w http.ResponseWriter, r *http.Request, p auth.Principal, as func(admission.Submission) (admission.Submission, error),
) error {
	s, err := a.readSubmission(w, r, p)
	if err != nil {
		return err
	}
	if s, err = as(s); err != nil {
		return err
	}
	s.Background, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, "", nil, nil
	e, err := a.admit(w, r, s)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, process{
		ProcessID: e.ID, ExecutionID: e.ID, Name: e.Name, Status: execution.Queued, StartTime: wire.Time(e.CreatedAt),
		Message: "Execution queued. Its record holds the result.",
	})
}

// readSubmission reads what is to be run and the headers that belong to it.
func (a *api) readSubmission(w http.ResponseWriter, r *http.Request, p auth.Principal) (s admission.Submission, err error) {
	body, err := a.readJSON(w, r)
	if err != nil {
		return s, err
	}
	if s, err = decodeSubmission(body); err != nil {
		return s, err
	}
	return withHeaders(s, r, p)
}

// withHeaders adds to a submission what comes beside its body.
func withHeaders(s admission.Submission, r *http.Request, p auth.Principal) (_ admission.Submission, err error) {
	s.Subject = p.Subject
	if s.IdempotencyKey, err = single(r, admission.HeaderKey); err != nil {
		return s, err
	}
	s.Depth, err = depth(r)
	return s, err
}

// admit stores a submission. After Admit has stored it nothing can go wrong any more: a client that reads a 5xx posts
// again, and the code would run twice.
func (a *api) admit(w http.ResponseWriter, r *http.Request, s admission.Submission) (execution.Execution, error) {
	e, replayed, err := a.Admission.Admit(r.Context(), s)
	if err != nil {
		return execution.Execution{}, err
	}
	a.Log.WithFields(logrus.Fields{
		"execution_id": e.ID, "language": e.Language, "subject": e.Subject, "request_id": exchangeOf(r).id, "replayed": replayed,
	}).Info("execution queued")
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	return e, nil
}

// readJSON reads a body that says it is JSON and is not too long.
func (a *api) readJSON(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkContent(r.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(a.config.Body)))
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fault.New(fault.PayloadTooLarge, "The body must have at most %d bytes.", tooLarge.Limit)
	}
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The body ended too early or came too slowly.").Because(err)
	}
	return body, nil
}

// checkContent refuses a body that does not say it is plain JSON.
func checkContent(h http.Header) error {
	given := h.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	switch {
	case given == "":
		return fault.New(fault.UnsupportedMediaType, "The request has no Content-Type; it must be application/json.").Field("Content-Type")
	case kind == "application/x-www-form-urlencoded":
		return fault.New(fault.UnsupportedMediaType,
			"The Content-Type must be application/json, not %s, which is what curl sends unless told otherwise.", kind).Field("Content-Type")
	case err != nil || kind != "application/json":
		return fault.New(fault.UnsupportedMediaType, "The Content-Type must be application/json, not %q.", clip(given)).Field("Content-Type")
	}
	if encoding := h.Get("Content-Encoding"); encoding != "" {
		return fault.New(fault.UnsupportedMediaType, "The body must be sent as it is, and its Content-Encoding is %q.", clip(encoding)).
			Field("Content-Encoding")
	}
	return nil
}

// single returns the value of a header that may be there once, and is not empty then.
func single(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1 || values[0] == "":
		return "", fault.New(fault.InvalidRequest, "%s must be given once and not be empty.", name).Field(name)
	}
	return values[0], nil
}

// depth reads how many callbacks of ours led to this request; 0 when it does not say.
func depth(r *http.Request) (int, error) {
	value, err := single(r, callback.HeaderDepth)
	if err != nil || value == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return 0, fault.New(fault.InvalidRequest, "%s must be a whole number.", callback.HeaderDepth).Field(callback.HeaderDepth)
	}
	return int(n), nil
}
