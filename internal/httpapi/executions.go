package httpapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// The largest values of query parameters, and the default of limit.
const (
	maxWait      = 60  // seconds
	maxPage      = 200 // executions
	standardPage = 50
)

// handleGet answers with the record, at once or, with the parameter wait, when the execution has ended.
func (a *api) handleGet(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	q := server.QueryOf(r)
	wait := time.Duration(q.Number("wait", 0, 0, maxWait)) * time.Second
	if q.Err() != nil {
		return q.Err()
	}
	e, err := a.Executions.Await(w, r, execution.ID(r.PathValue("id")), caller, wait)
	if err != nil {
		return err
	}
	return a.show(r.Context(), w, e)
}

// show answers with the record of e.
func (a *api) show(ctx context.Context, w http.ResponseWriter, e execution.Execution) error {
	d, err := a.Records.Delivery(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read delivery: %w", err)
	}
	if e, err = a.Executions.Complete(ctx, e); err != nil {
		return err
	}
	stdout, stderr, err := a.Executions.Shown(ctx, e)
	if err != nil {
		return err
	}
	return server.RespondWith(w, http.StatusOK, executionViewOf(e, d, a.Executions.Inline),
		func(w io.Writer, text []byte) error { return wire.InsertOutput(w, text, stdout, stderr) })
}

// handleCancel asks for the end of an execution. An ended execution stays as it is.
func (a *api) handleCancel(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	e, err := a.Executions.Find(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	if !e.State.Terminal() {
		if e, err = a.Executions.Cancel(r.Context(), e.ID); err != nil {
			return fmt.Errorf("cancel execution: %w", err)
		}
	}
	return a.show(r.Context(), w, e)
}

// page is one page of a list.
type page struct {
	Executions []executionSummary `json:"executions"`
	Count      int                `json:"count"`
	NextCursor *execution.ID      `json:"next_cursor"` // null on the last page
}

func (a *api) handleList(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	filter, err := a.filter(server.QueryOf(r))
	if err != nil {
		return err
	}
	if !caller.Admin {
		filter.Subject = caller.Subject
	}
	executions, err := a.Records.List(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list executions: %w", err)
	}
	answer := page{Executions: make([]executionSummary, 0, len(executions)), Count: len(executions)}
	for _, e := range executions {
		answer.Executions = append(answer.Executions, executionSummaryOf(e))
	}
	if len(executions) == filter.Limit { // another page may follow a full one
		answer.NextCursor = &executions[len(executions)-1].ID
	}
	return server.Respond(w, http.StatusOK, answer)
}

func (a *api) filter(q *server.Query) (execution.Filter, error) {
	f := execution.Filter{
		States:   server.Words(q, "status", execution.States()),
		Language: q.Text("language"),
		Since:    q.Instant("since"),
		Until:    q.Instant("until"),
		Batch:    execution.BatchID(q.Text("batch")),
		Before:   execution.ID(q.Text("cursor")),
		Limit:    q.Number("limit", standardPage, 1, maxPage),
	}
	if f.Before != "" && !f.Before.Valid() {
		q.Refuse("cursor", "cursor must be the next_cursor of an earlier answer.")
	}
	if f.Batch != "" && !f.Batch.Valid() {
		q.Refuse("batch", "batch must be the batch_id of an earlier answer.")
	}
	if l, err := a.Languages.Find(f.Language); f.Language != "" && err == nil {
		f.Language = l.Name // resolves an alias; the name of a removed language still matches
	}
	return f, q.Err()
}
