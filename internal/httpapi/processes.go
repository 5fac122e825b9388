package httpapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
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

// listed is one execution in the list of processes. What is there twice bears the names that one client and the other reads.
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
	PID             *int          `json:"pid"` // always null: it is none of this machine's business
	Stdout          string        `json:"stdout"`
	Stderr          string        `json:"stderr"`
	StdoutTruncated bool          `json:"stdout_truncated"`
	StderrTruncated bool          `json:"stderr_truncated"`
}

const (
	maxProcesses = 200     // that are listed
	maxListed    = 8 << 20 // bytes of what they printed, in one list, as JSON writes them: six for a control character
)

// processes lists executions as HopX's clients know them, newest first, with what they printed while that is not too much.
func (a *api) processes(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	filter := execution.Filter{Limit: maxProcesses}
	if !p.Admin {
		filter.Subject = p.Subject
	}
	executions, err := a.Records.List(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list executions: %w", err)
	}
	answer := struct {
		Processes []listed  `json:"processes"`
		Count     int       `json:"count"`
		Timestamp time.Time `json:"timestamp"`
	}{make([]listed, 0, len(executions)), len(executions), wire.Time(a.Now())}
	room := maxListed
	for _, e := range executions {
		l := a.listedOf(e)
		if l.Stdout, l.StdoutTruncated, err = a.text(r, e, execution.Stdout, &room); err != nil {
			return err
		}
		if l.Stderr, l.StderrTruncated, err = a.text(r, e, execution.Stderr, &room); err != nil {
			return err
		}
		answer.Processes = append(answer.Processes, l)
	}
	return respond(w, http.StatusOK, answer)
}

func (a *api) listedOf(e execution.Execution) listed {
	l := listed{
		ProcessID: e.ID, ExecutionID: e.ID, Name: e.Name, Status: processStateOf(e.State), Language: e.Language, CreatedAt: wire.Time(e.CreatedAt),
	}
	switch {
	case e.Result != nil:
		l.StartTime, l.EndTime, l.ExitCode = wire.TimeOrNull(e.Result.StartedAt), wire.TimeOrNull(e.Result.CompletedAt), e.Result.ExitCode
		l.Duration = new(wire.Seconds(e.Result.Duration))
	case e.Run != nil:
		l.StartTime = wire.TimeOrNull(e.Run.StartedAt)
		l.Duration = new(wire.Seconds(max(a.Now().Sub(e.Run.StartedAt), 0)))
	}
	l.StartedAt, l.CompletedAt, l.ExecutionTime = l.StartTime, l.EndTime, l.Duration
	return l
}

// text is what e has printed to a stream, as its record shows it, or nothing where there is no room for it.
func (a *api) text(r *http.Request, e execution.Execution, stream execution.Stream, room *int) (text string, cut bool, err error) {
	switch {
	case e.State == execution.Running && *room > 0:
		text, cut = a.printedSoFar(e.ID, stream)
	case e.Result != nil:
		printed := e.Result.Stdout.Bytes
		if stream == execution.Stderr {
			printed = e.Result.Stderr.Bytes
		}
		if printed == 0 || *room <= 0 {
			return "", printed > 0, nil
		}
		o, err := a.Records.Output(r.Context(), e.ID, stream)
		if err != nil {
			return "", false, fmt.Errorf("read output: %w", err)
		}
		var shown execution.Text
		shown, cut = o.Inline(a.Inline)
		text = shown.String()
	}
	*room -= written(text) - len(`""`)
	if *room < 0 { // the answer stays short; who wants it whole asks for it alone
		return "", true, nil
	}
	return text, cut, nil
}

// written is how many bytes respond writes for v.
func written(v any) int {
	var counted counter
	encoder := json.NewEncoder(&counted)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // strings and our own types always encode
	return int(counted) - len("\n")
}

// counter counts what is written to it.
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

// killNamed ends the process that the path names. The body is not read: some clients send none and say that it is JSON.
func (a *api) killNamed(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	return a.kill(w, r, p, mux.Vars(r)["id"])
}

// killAsked ends the process that the query names, or the body.
func (a *api) killAsked(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	q := queryOf(r)
	name := cmp.Or(q.text("process_id"), q.text("execution_id"))
	if q.err != nil {
		return q.err
	}
	if name == "" && r.ContentLength != 0 {
		o, err := a.readObject(w, r)
		if err != nil {
			return err
		}
		name = cmp.Or(o.text("process_id"), o.text("execution_id"))
		if o.err != nil {
			return o.err
		}
	}
	if name == "" {
		return fault.New(fault.MissingParameter, "process_id is required: in the query, or in a JSON body.").Field("process_id")
	}
	return a.kill(w, r, p, name)
}

// kill ends a process and waits for its end for a short while, so that who lists the processes next sees it. One that has
// ended stays as it is.
func (a *api) kill(w http.ResponseWriter, r *http.Request, p auth.Principal, name string) error {
	e, err := a.find(r.Context(), execution.ID(name), p)
	if err != nil {
		if fault.Of(err).Code == fault.ExecutionNotFound { // HopX's clients take the words "not found" for a file's
			return fault.New(fault.ProcessNotFound, "There is no such process.")
		}
		return err
	}
	answer := killed{ProcessID: e.ID, ExecutionID: e.ID, Status: processStateOf(e.State), Message: "It had ended before."}
	if e.State.Terminal() {
		return respond(w, http.StatusOK, answer)
	}
	ended, release := a.Records.Ended(e.ID)
	defer release()
	if e, err = a.Cancel(r.Context(), e.ID); err != nil {
		return fmt.Errorf("cancel execution: %w", err)
	}
	log := a.Log.WithFields(logrus.Fields{"execution_id": e.ID, "request_id": exchangeOf(r).id})
	if !e.State.Terminal() {
		if err := a.extend(w, endWait+lookPatience); err != nil {
			return err
		}
		timer := time.NewTimer(endWait)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
		case <-stopping(r.Context()):
		case <-r.Context().Done():
		}
		e = a.look(r.Context(), e, log)
	}
	answer.Status, answer.Message = processKilled, "It is being ended."
	if e.State.Terminal() {
		answer.Status, answer.Message = processStateOf(e.State), "It was ended."
	}
	if e.State.Terminal() && e.State != execution.Cancelled {
		answer.Message = "It ended by itself."
	}
	return respond(w, http.StatusOK, answer)
}
