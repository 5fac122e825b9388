package hopx

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// processState is a state in the words of HopX's clients.
type processState string

const (
	processQueued    processState = "queued"
	processRunning   processState = "running"
	processCompleted processState = "completed"
	processFailed    processState = "failed"
	processKilled    processState = "killed"
)

func processStateOf(s execution.State) processState {
	switch s {
	case execution.Queued:
		return processQueued
	case execution.Running:
		return processRunning
	case execution.Completed:
		return processCompleted
	case execution.Failed, execution.Timeout:
		return processFailed
	case execution.Cancelled:
		return processKilled
	}
	return processFailed
}

// listed is one execution in the list of processes. Some values appear under two names, one for each of the clients.
type listed struct {
	ProcessID       execution.ID  `json:"process_id"`
	ExecutionID     execution.ID  `json:"execution_id"`
	Name            string        `json:"name"`
	Status          processState  `json:"status"`
	Language        string        `json:"language"`
	CreatedAt       time.Time     `json:"created_at"`
	StartTime       *time.Time    `json:"start_time"` // null: it has not started, or never ran
	StartedAt       *time.Time    `json:"started_at"`
	EndTime         *time.Time    `json:"end_time"` // null: it has not ended
	CompletedAt     *time.Time    `json:"completed_at"`
	Duration        *wire.Seconds `json:"duration"` // so far, while it runs; null: it has not started
	ExecutionTime   *wire.Seconds `json:"execution_time"`
	ExitCode        *int          `json:"exit_code"`
	PID             *int          `json:"pid"` // always null: the clients have no use for it
	Stdout          string        `json:"stdout"`
	Stderr          string        `json:"stderr"`
	StdoutTruncated bool          `json:"stdout_truncated"`
	StderrTruncated bool          `json:"stderr_truncated"`
}

const (
	maxProcesses = 200     // in one list
	maxListed    = 8 << 20 // bytes of output in one list, encoded as JSON: a control character has six bytes
)

// handleProcesses lists executions in the fields of HopX's clients, newest first, with their output up to maxListed
// bytes.
func (h *door) handleProcesses(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	filter := execution.Filter{}
	if !caller.Admin {
		filter.Subject = caller.Subject
	}
	count, left := 0, int64(maxListed)
	list := server.Pages(maxProcesses, func(limit int) ([]execution.Execution, error) {
		filter.Limit = limit
		page, err := h.Records.List(r.Context(), filter)
		if err != nil {
			return nil, fmt.Errorf("list executions: %w", err)
		}
		if len(page) > 0 {
			filter.Before = page[len(page)-1].ID
		}
		return page, nil
	})
	return server.RespondList(w, server.List[execution.Execution]{
		Name: "processes", Pages: list,
		Encode: func(w io.Writer, e execution.Execution) error {
			count++
			return h.writeListed(r.Context(), w, e, &left)
		},
		After: func() any {
			return struct {
				Count     int       `json:"count"`
				Timestamp time.Time `json:"timestamp"`
			}{count, wire.Time(h.Now())}
		},
	})
}

func (h *door) listedOf(e execution.Execution) listed {
	l := listed{
		ProcessID: e.ID, ExecutionID: e.ID, Name: e.Name, Status: processStateOf(e.State), Language: e.Language,
		CreatedAt: wire.Time(e.CreatedAt),
	}
	switch {
	case e.Result != nil:
		l.StartTime, l.EndTime, l.ExitCode = wire.TimeOrNull(e.Result.StartedAt), wire.TimeOrNull(e.Result.CompletedAt),
			e.Result.ExitCode
		l.Duration = new(wire.Seconds(e.Result.Duration))
	case e.Run != nil:
		l.StartTime = wire.TimeOrNull(e.Run.StartedAt)
		l.Duration = new(wire.Seconds(max(h.Now().Sub(e.Run.StartedAt), 0)))
	}
	l.StartedAt, l.CompletedAt, l.ExecutionTime = l.StartTime, l.EndTime, l.Duration
	return l
}

// writeListed writes the JSON of one execution in the list. It leaves the streams out that need more than *left bytes.
func (h *door) writeListed(ctx context.Context, w io.Writer, e execution.Execution, left *int64) (err error) {
	l := h.listedOf(e)
	var stdout, stderr execution.Text
	if stdout, l.StdoutTruncated, err = h.output(ctx, e, execution.Stdout, left); err != nil {
		return err
	}
	if stderr, l.StderrTruncated, err = h.output(ctx, e, execution.Stderr, left); err != nil {
		return err
	}
	return wire.EncodeWithOutput(w, l, stdout, stderr)
}

// output returns the output of e to a stream, as its record shows it, or nothing if it needs more than *left bytes of
// the answer.
func (h *door) output(
	ctx context.Context, e execution.Execution, stream execution.Stream, left *int64,
) (text execution.Text, cut bool, err error) {
	switch {
	case e.State == execution.Queued || e.Result != nil && e.Result.Output(stream).Bytes == 0:
		return nil, false, nil
	case *left <= 0:
		return nil, e.Result != nil, nil
	}
	if text, cut, err = h.Executions.ShownOf(ctx, e, stream); err != nil {
		return nil, false, err
	}
	length := counter(-len(`""`))
	if err := wire.EncodeText(&length, text); err != nil {
		return nil, false, fmt.Errorf("read output: %w", err)
	}
	*left -= int64(length)
	if *left < 0 { // the record of the execution has it
		return nil, true, nil
	}
	return text, cut, nil
}

// written returns the number of bytes that server.Respond writes for v.
func written(v any) int {
	var counted counter
	_ = wire.NewEncoder(&counted).Encode(v) // strings and our own types always encode
	return int(counted) - len("\n")
}

// counter counts the bytes written to it.
type counter int

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// killed is the answer to a kill.
type killed struct {
	ProcessID   execution.ID `json:"process_id"`
	ExecutionID execution.ID `json:"execution_id"`
	Status      processState `json:"status"`
	Message     string       `json:"message"`
}

// handleKillNamed ends the process that the path names. It does not read the body: some clients declare JSON and send
// nothing.
func (h *door) handleKillNamed(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	return h.kill(w, r, caller, r.PathValue("id"))
}

// handleKillAsked ends the process that the query names, or the body.
func (h *door) handleKillAsked(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	q := server.QueryOf(r)
	name := cmp.Or(q.Text("process_id"), q.Text("execution_id"))
	if q.Err() != nil {
		return q.Err()
	}
	if name == "" && r.ContentLength != 0 {
		o, err := server.ReadObject(w, r)
		if err != nil {
			return err
		}
		name = cmp.Or(o.Text("process_id"), o.Text("execution_id"))
		if o.Err() != nil {
			return o.Err()
		}
	}
	if name == "" {
		return fault.New(fault.MissingParameter, "process_id is required: in the query, or in a JSON body.").
			Field("process_id")
	}
	return h.kill(w, r, caller, name)
}

// kill ends a process and waits for its end for a short time. A process that has ended stays as it is.
func (h *door) kill(w http.ResponseWriter, r *http.Request, caller auth.Principal, name string) error {
	e, err := h.Executions.Find(r.Context(), execution.ID(name), caller)
	if err != nil {
		// HopX's clients take the words "not found" for a missing file
		if fault.Of(err).Code == fault.ExecutionNotFound {
			return fault.New(fault.ProcessNotFound, "There is no such process.")
		}
		return err
	}
	answer := killed{
		ProcessID: e.ID, ExecutionID: e.ID, Status: processStateOf(e.State),
		Message: "It had ended before.",
	}
	if e.State.Terminal() {
		return server.Respond(w, http.StatusOK, answer)
	}
	if e, err = h.Executions.Kill(w, r, e); err != nil {
		return err
	}
	answer.Status, answer.Message = processKilled, "It is being ended."
	if e.State.Terminal() {
		answer.Status, answer.Message = processStateOf(e.State), "It was ended."
	}
	if e.State.Terminal() && e.State != execution.Cancelled {
		answer.Message = "It ended by itself."
	}
	return server.Respond(w, http.StatusOK, answer)
}
