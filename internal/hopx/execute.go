package hopx

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// handleExecute runs code and holds the answer until the program ends.
func (h *door) handleExecute(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.execute(w, r, caller, asItIs)
}

// handleBackground accepts code whose result is kept, without a callback.
func (h *door) handleBackground(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.background(w, r, caller, asItIs)
}

// translation makes the submission that a client means of the one that it sent.
type translation func(admission.Submission) (admission.Submission, error)

// asItIs leaves a submission unchanged.
func asItIs(s admission.Submission) (admission.Submission, error) { return s, nil }

func (h *door) execute(w http.ResponseWriter, r *http.Request, caller auth.Principal, translate translation) error {
	s, err := gateway.ReadSubmission(w, r, caller)
	if err != nil {
		return err
	}
	if s, err = translate(s); err != nil {
		return err
	}
	e, err := h.Executions.Run(w, r, s)
	if err != nil {
		return err
	}
	return h.showResult(r.Context(), w, e)
}

// unfinished is the answer for a program that has not ended in time. It has the fields of a result, so that a client
// that reads those sees no success and the reason.
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

// showResult answers with the body of a callback of e, or without a result if it cannot be read: a client posts again
// after an error, and the code would run twice.
func (h *door) showResult(ctx context.Context, w http.ResponseWriter, e execution.Execution) error {
	u := unfinished{
		ExecutionID: e.ID, Status: e.State, Timestamp: wire.Time(h.Now()), Language: e.Language,
		Error: fmt.Sprintf("It has not ended yet, and goes on: GET /executions/%s has its result.", e.ID),
	}
	if e.Result != nil {
		stdout, stderr, err := h.Executions.Shown(ctx, e)
		if err == nil {
			err = respond(w, wire.ResultOf(e, *e.Result, h.Executions.Inline), stdout, stderr)
		}
		if err == nil {
			return nil
		}
		h.Log.WithField("execution_id", e.ID).WithError(err).Warn("read result")
		u.Error = fmt.Sprintf("Its result cannot be shown now: GET /executions/%s has it.", e.ID)
		return respond(w, u, nil, nil)
	}
	stdout, stdoutCut, err := h.Executions.ShownOf(ctx, e, execution.Stdout)
	if err != nil {
		stdout = nil
	}
	stderr, stderrCut, err := h.Executions.ShownOf(ctx, e, execution.Stderr)
	if err != nil {
		stderr = nil
	}
	u.StdoutTruncated, u.StderrTruncated = stdoutCut, stderrCut
	if e.Run != nil {
		u.StartedAt = wire.TimeOrNull(e.Run.StartedAt)
		u.ExecutionTime = wire.Seconds(max(h.Now().Sub(e.Run.StartedAt), 0))
	}
	return respond(w, u, stdout, stderr)
}

// respond answers with v and the output of a program.
func respond(w http.ResponseWriter, v any, stdout, stderr execution.Text) error {
	return server.RespondWith(w, http.StatusOK, v,
		func(w io.Writer, text []byte) error { return wire.InsertOutput(w, text, stdout, stderr) })
}

// process is the answer to a program in the background. The id of the process is that of the execution.
type process struct {
	ProcessID   execution.ID    `json:"process_id"`
	ExecutionID execution.ID    `json:"execution_id"`
	Name        string          `json:"name"`
	Status      execution.State `json:"status"`
	StartTime   time.Time       `json:"start_time"`
	Message     string          `json:"message"`
}

func (h *door) background(w http.ResponseWriter, r *http.Request, caller auth.Principal, translate translation) error {
	s, err := gateway.ReadSubmission(w, r, caller)
	if err != nil {
		return err
	}
	if s, err = translate(s); err != nil {
		return err
	}
	s.Background, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, "", nil, nil
	e, err := h.Executions.Submit(w, r, s)
	if err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, process{
		ProcessID: e.ID, ExecutionID: e.ID, Name: e.Name, Status: execution.Queued, StartTime: wire.Time(e.CreatedAt),
		Message: "Execution queued. Its record holds the result.",
	})
}
