package hopx

import (
	"cmp"
	"fmt"
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
	filter := execution.Filter{Limit: maxProcesses}
	if !caller.Admin {
		filter.Subject = caller.Subject
	}
	page, err := h.Records.List(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list executions: %w", err)
	}
	answer := struct {
		Processes []listed  `json:"processes"`
		Count     int       `json:"count"`
		Timestamp time.Time `json:"timestamp"`
	}{make([]listed, 0, len(page.Executions)), len(page.Executions), wire.Time(h.Now())}
	left := maxListed
	for _, e := range page.Executions {
		l := h.listedOf(e)
		if l.Stdout, l.StdoutTruncated, err = h.output(r, e, execution.Stdout, &left); err != nil {
			return err
		}
		if l.Stderr, l.StderrTruncated, err = h.output(r, e, execution.Stderr, &left); err != nil {
			return err
		}
		answer.Processes = append(answer.Processes, l)
	}
	return server.Respond(w, http.StatusOK, answer)
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

// output returns the output of e to a stream, as its record shows it, or nothing if it needs more than *left bytes of
// the answer.
func (h *door) output(
	r *http.Request, e execution.Execution, stream execution.Stream, left *int,
) (text string, cut bool, err error) {
	switch {
	case e.State == execution.Running && *left > 0:
		text, cut = h.Executions.PrintedSoFar(e.ID, stream)
	case e.Result != nil:
		printed := e.Result.Stdout.Bytes
		if stream == execution.Stderr {
			printed = e.Result.Stderr.Bytes
		}
		if printed == 0 || *left <= 0 {
			return "", printed > 0, nil
		}
		o, err := h.Records.Output(r.Context(), e.ID, stream)
		if err != nil {
			return "", false, fmt.Errorf("read output: %w", err)
		}
		var shown execution.Text
		shown, cut = o.Inline(h.Executions.Inline)
		text = shown.String()
	}
	*left -= written(text) - len(`""`)
	if *left < 0 { // the record of the execution has it
		return "", true, nil
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
