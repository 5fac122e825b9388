package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// The bounds of what a caller may ask for.
const (
	maxWait      = 60  // seconds
	maxPage      = 200 // executions
	standardPage = 50
)

// get answers with the record, and holds the answer until the execution ends if it is told to.
func (a *api) get(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	q := queryOf(r)
	wait := time.Duration(q.number("wait", 0, 0, maxWait)) * time.Second
	if q.err != nil {
		return q.err
	}
	e, err := a.await(w, r, p, wait)
	if err != nil {
		return err
	}
	return a.show(r.Context(), w, e)
}

// await returns the execution as soon as it has ended, and as it is when wait is over or the server stops.
func (a *api) await(w http.ResponseWriter, r *http.Request, p auth.Principal, wait time.Duration) (execution.Execution, error) {
	id := execution.ID(mux.Vars(r)["id"])
	if wait == 0 {
		return a.find(r.Context(), id, p)
	}
	ended, release := a.Records.Ended(id) // before the first look: an end between the two would be missed
	defer release()
	e, err := a.find(r.Context(), id, p)
	if err != nil || e.State.Terminal() {
		return e, err
	}
	if err := a.extend(w, wait); err != nil {
		return e, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-stopping(r.Context()):
	case <-r.Context().Done():
	}
	return a.find(r.Context(), id, p)
}

// find returns an execution that p may see. Another's does not exist, in the same words as one that does not.
func (a *api) find(ctx context.Context, id execution.ID, p auth.Principal) (execution.Execution, error) {
	unknown := fault.New(fault.ExecutionNotFound, "There is no such execution.")
	if !id.Valid() {
		return execution.Execution{}, unknown
	}
	e, err := a.Records.Get(ctx, id)
	if err != nil {
		if fault.Of(err).Code == fault.ExecutionNotFound {
			return execution.Execution{}, unknown
		}
		return execution.Execution{}, fmt.Errorf("read execution: %w", err)
	}
	if !p.Admin && e.Subject != p.Subject {
		return execution.Execution{}, unknown
	}
	return e, nil
}

// extend gives the answer of this request d beyond what every answer has.
func (a *api) extend(w http.ResponseWriter, d time.Duration) error {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + a.config.Timeout)); err != nil {
		return fmt.Errorf("extend write deadline: %w", err)
	}
	return nil
}

// show answers with the record of e.
func (a *api) show(ctx context.Context, w http.ResponseWriter, e execution.Execution) error {
	d, err := a.Records.Delivery(ctx, e.ID)
	if err != nil {
		return fmt.Errorf("read delivery: %w", err)
	}
	if e, err = a.whole.complete(ctx, e); err != nil {
		return err
	}
	return respond(w, http.StatusOK, recordOf(e, d, a.Inline))
}

// cancel asks for the end of an execution; for one that has ended it changes nothing.
func (a *api) cancel(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	e, err := a.find(r.Context(), execution.ID(mux.Vars(r)["id"]), p)
	if err != nil {
		return err
	}
	if !e.State.Terminal() {
		if e, err = a.Cancel(r.Context(), e.ID); err != nil {
			return fmt.Errorf("cancel execution: %w", err)
		}
	}
	return a.show(r.Context(), w, e)
}

// page is one answer of a list.
type page struct {
	Executions []summary     `json:"executions"`
	Count      int           `json:"count"`
	NextCursor *execution.ID `json:"next_cursor"` // null: there is nothing older
}

func (a *api) list(w http.ResponseWriter, r *http.Request, p auth.Principal) error {
	filter, err := a.filter(queryOf(r))
	if err != nil {
		return err
	}
	if !p.Admin {
		filter.Subject = p.Subject
	}
	executions, err := a.Records.List(r.Context(), filter)
	if err != nil {
		return fmt.Errorf("list executions: %w", err)
	}
	answer := page{Executions: make([]summary, 0, len(executions)), Count: len(executions)}
	for _, e := range executions {
		answer.Executions = append(answer.Executions, summaryOf(e))
	}
	if len(executions) == filter.Limit { // a full page may have another behind it
		answer.NextCursor = &executions[len(executions)-1].ID
	}
	return respond(w, http.StatusOK, answer)
}

func (a *api) filter(q *query) (execution.Filter, error) {
	f := execution.Filter{
		States:   words(q, "status", execution.States()),
		Language: q.text("language"),
		Since:    q.instant("since"),
		Until:    q.instant("until"),
		Batch:    execution.BatchID(q.text("batch")),
		Before:   execution.ID(q.text("cursor")),
		Limit:    q.number("limit", standardPage, 1, maxPage),
	}
	if f.Before != "" && !f.Before.Valid() {
		q.refuse("cursor", "cursor must be the next_cursor of an earlier answer.")
	}
	if f.Batch != "" && !f.Batch.Valid() {
		q.refuse("batch", "batch must be the batch_id of an earlier answer.")
	}
	if l, err := a.Languages.Find(f.Language); f.Language != "" && err == nil {
		f.Language = l.Name // an alias; a language that is gone from the catalogue is still found by its name
	}
	return f, q.err
}
