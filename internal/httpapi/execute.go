package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

const (
	maxHeld      = 300 * time.Second // of a program that is waited for: an Idempotency-Key may lead to one that has more
	queueing     = 30 * time.Second  // how much longer than its timeout it is waited for: for its turn, and for its end
	endWait      = 5 * time.Second   // for the end of a program that was told to end
	lookPatience = 5 * time.Second   // for the record when nothing else is left to say
)

// execute runs code and holds the answer until it ends.
func (a *api) execute(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.executeAs(w, r, p, asItIs)
}

// asItIs leaves a submission as it was read.
func asItIs(s admission.Submission) (admission.Submission, error) { return s, nil }

func (a *api) executeAs(
	w http.ResponseWriter, r *http.Request, p auth.Principal, as func(admission.Submission) (admission.Submission, error),
) error {
	s, err := a.readSubmission(w, r, p)
	if err != nil {
		return err
	}
	if s, err = as(s); err != nil {
		return err
	}
	select {
	case <-stopping(r.Context()):
		return fault.New(fault.ServiceUnavailable, "The server stops; nothing was stored.")
	default:
	}
	s.Background, s.Synchronous, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, true, "", nil, nil
	returns := s.IdempotencyKey != ""
	leave, err := a.streams.take(p.Subject)
	if err != nil {
		return err
	}
	defer leave()
	e, err := a.admit(w, r, s)
	if err != nil {
		return err
	}
	return a.hold(w, r, e, returns)
}

// hold answers with the result of e as soon as there is one. From here on the code runs whatever goes wrong, so every answer
// is a 200: a client that reads a 5xx posts again, and the code would run twice.
//
// Nobody will ever read the result of a program whose caller is gone or no longer waits, so it is cancelled. Only with an
// Idempotency-Key (returns) does it go on: then the same request leads to it again.
func (a *api) hold(w http.ResponseWriter, r *http.Request, e execution.Execution, returns bool) error {
	ended, release := a.Records.Ended(e.ID) // before the first look: an end between the two would be missed
	defer release()
	wait := min(e.Timeout, maxHeld) + queueing
	log := a.Log.WithFields(logrus.Fields{"execution_id": e.ID, "request_id": exchangeOf(r).id})
	if err := a.extend(w, wait+endWait+lookPatience); err != nil {
		log.WithError(err).Warn("the answer may not be waited for")
	}
	if now := a.look(r.Context(), e, log); now.Result != nil {
		return a.result(w, now)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-stopping(r.Context()): // before the next: the connections of a server that stops are closed
	case <-r.Context().Done():
		if !returns && !closed(stopping(r.Context())) {
			log.Info("caller is gone, execution is cancelled")
			a.end(r.Context(), e, nil, log)
		}
	case <-timer.C:
		if !returns {
			log.Info("caller has waited for too long, execution is cancelled")
			a.end(r.Context(), e, ended, log)
		}
	}
	return a.result(w, a.look(r.Context(), e, log))
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// end cancels e and waits for its end for a short while; with nil it does not wait.
func (a *api) end(ctx context.Context, e execution.Execution, ended <-chan struct{}, log *logrus.Entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	if _, err := a.Cancel(ctx, e.ID); err != nil {
		log.WithError(err).Warn("cancel execution")
		return
	}
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// look returns e as it is now with all of its result, or as it was when that cannot be read.
func (a *api) look(ctx context.Context, e execution.Execution, log *logrus.Entry) execution.Execution {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookPatience)
	defer cancel()
	now, err := a.whole.Get(ctx, e.ID)
	if err != nil {
		log.WithError(err).Warn("read execution")
		return e
	}
	return now
}

// unfinished is the answer when a result was waited for and there is none yet: in the fields of a result, so that who
// reads those sees no success and why.
type unfinished struct {
	ExecutionID     execution.ID      `json:"execution_id"`
	Status          execution.State   `json:"status"` // queued or running
	Success         bool              `json:"success"`
	Stdout          string            `json:"stdout"` // so far
	Stderr          string            `json:"stderr"`
	ExitCode        *int              `json:"exit_code"`
	ExecutionTime   wire.Seconds      `json:"execution_time"` // so far
	StartedAt       *time.Time        `json:"started_at"`
	CompletedAt     *time.Time        `json:"completed_at"`
	Timestamp       time.Time         `json:"timestamp"` // of the answer
	Error           string            `json:"error"`
	Reason          *execution.Reason `json:"reason"`
	Language        string            `json:"language"`
	StdoutTruncated bool              `json:"stdout_truncated"`
	StderrTruncated bool              `json:"stderr_truncated"`
}

// result answers with what a callback of e would carry.
func (a *api) result(w http.ResponseWriter, e execution.Execution) error {
	if e.Result != nil {
		return respond(w, http.StatusOK, json.RawMessage(callback.Body(e, *e.Result, a.Inline)))
	}
	u := unfinished{
		ExecutionID: e.ID, Status: e.State, Timestamp: wire.Time(a.Now()), Language: e.Language,
		Error: fmt.Sprintf("It has not ended yet, and goes on: GET /executions/%s has its result.", e.ID),
	}
	u.Stdout, u.StdoutTruncated = a.printedSoFar(e.ID, execution.Stdout)
	u.Stderr, u.StderrTruncated = a.printedSoFar(e.ID, execution.Stderr)
	if e.Run != nil {
		u.StartedAt = wire.TimeOrNull(e.Run.StartedAt)
		u.ExecutionTime = wire.Seconds(max(a.Now().Sub(e.Run.StartedAt), 0))
	}
	return respond(w, http.StatusOK, u)
}

// printedSoFar is what a running program has printed, as a record would show it.
func (a *api) printedSoFar(id execution.ID, stream execution.Stream) (text string, cut bool) {
	kept, _ := a.Live.Live(id, stream)
	shown, cut := execution.Output{Head: kept, Bytes: int64(len(kept))}.Inline(a.Inline)
	return shown.String(), cut
}
