package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/gateway"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// acceptedBatch is the answer to a batch.
type acceptedBatch struct {
	BatchID     execution.BatchID `json:"batch_id"`
	Status      execution.State   `json:"status"`
	CallbackURL *string           `json:"callback_url"` // null if each execution has its own
	Count       int               `json:"count"`
	Executions  []acceptedMember  `json:"executions"` // in the order of the request
	Message     string            `json:"message"`
	Timestamp   time.Time         `json:"timestamp"`
}

type acceptedMember struct {
	ExecutionID execution.ID    `json:"execution_id"`
	Name        string          `json:"name"`
	Status      execution.State `json:"status"`
	CallbackURL string          `json:"callback_url"`
}

// handleBatch accepts all submissions of a request or none.
func (a *api) handleBatch(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	body, err := server.ReadJSON(w, r)
	if err != nil {
		return err
	}
	b, err := decodeBatch(body)
	if err != nil {
		return err
	}
	b.Subject = caller.Subject
	if b.IdempotencyKey, err = server.HeaderOnce(r, admission.HeaderKey); err != nil {
		return err
	}
	if b.Depth, err = gateway.Depth(r); err != nil {
		return err
	}
	all, replayed, err := a.Admission.AdmitBatch(r.Context(), b)
	if err != nil {
		return err
	}
	a.Log.WithFields(logrus.Fields{
		"batch_id": all[0].Batch.ID, "executions": len(all), "subject": caller.Subject,
		"request_id": server.RequestID(r), "replayed": replayed,
	}).Info("batch queued")
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	return server.Respond(w, http.StatusOK, acceptedBatchOf(all))
}

func acceptedBatchOf(all []execution.Execution) acceptedBatch {
	first := all[0]
	answer := acceptedBatch{
		BatchID: first.Batch.ID, Status: execution.Queued, Count: len(all), Timestamp: wire.Time(first.CreatedAt),
		Message: "Executions queued. Each result will be posted to its callback_url.",
	}
	if first.Batch.Summary {
		answer.CallbackURL = &first.Callback.URL
		answer.Message = "Executions queued. One summary will be posted to callback_url when all have ended."
	}
	for _, e := range all {
		answer.Executions = append(answer.Executions, acceptedMember{e.ID, e.Name, execution.Queued, e.Callback.URL})
	}
	return answer
}

// decodeBatch reads the body of POST /executions/batch: the fields of a callback, and executions, a list of
// submissions.
func decodeBatch(body []byte) (b admission.Batch, err error) {
	o, err := server.ParseObject("body", body)
	if err != nil {
		return b, err
	}
	b = admission.Batch{
		CallbackURL:     o.Text("callback_url"),
		CallbackHeaders: o.Texts("callback_headers"),
		Secrets:         o.TextOrList("callback_signature_secret"),
		Body:            body,
	}
	var entries []json.RawMessage
	if raw, there := o.Value("executions"); !there {
		o.Fail(fault.New(fault.MissingParameter, "executions is required.").Field("executions"))
	} else {
		entries = o.Members("executions", "must be a list of objects", raw)
	}
	if o.Err() == nil {
		o.Fail(admission.CheckBatch(len(entries)))
	}
	if o.Err() != nil {
		return b, o.Err()
	}
	for i, entry := range entries {
		name := fmt.Sprintf("executions[%d]", i)
		member, ok := o.Inner(name, entry)
		if !ok {
			o.Mismatch(name, "must be an object", entry)
		}
		b.Submissions = append(b.Submissions, gateway.SubmissionOf(&member))
		o.Fail(member.Err())
		if o.Err() != nil {
			break
		}
	}
	return b, o.Err()
}
