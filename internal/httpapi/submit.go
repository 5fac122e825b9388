package httpapi

import (
	"net/http"
	"time"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// accepted is the answer to a submission.
type accepted struct {
	ExecutionID execution.ID    `json:"execution_id"`
	Status      execution.State `json:"status"`
	CallbackURL string          `json:"callback_url"`
	Message     string          `json:"message"`
	Timestamp   time.Time       `json:"timestamp"` // of the acceptance
}

// handleSubmit accepts code and the URL for its result.
func (a *api) handleSubmit(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	s, err := gateway.ReadSubmission(w, r, caller)
	if err != nil {
		return err
	}
	e, err := a.Executions.Submit(w, r, s)
	if err != nil {
		return err
	}
	return server.Respond(w, http.StatusOK, accepted{
		ExecutionID: e.ID,
		Status:      execution.Queued, // a replay repeats the first answer
		CallbackURL: e.Callback.URL,
		Message:     "Execution queued. The result will be posted to callback_url.",
		Timestamp:   wire.Time(e.CreatedAt),
	})
}
