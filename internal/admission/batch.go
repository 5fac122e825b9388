package admission

import (
	"context"
	"fmt"
	"slices"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// maxBatch is the largest number of submissions in a batch.
const maxBatch = 1000

// maxBatches is the number of batches that are prepared at a time; other batches wait.
const maxBatches = 2

// maxBatchSize is the number of bytes that the programs of a batch may take in the store, or four times the body if
// that is more. Each execution holds the whole environment of its subject, so a body of a few KiB could become 64 MiB.
const maxBatchSize = 16 << 20

// CheckBatch refuses a batch of n submissions if it is empty or too large. The HTTP API calls it before decoding the
// submissions too, because a body of a few MiB has room for millions of empty ones. Errors are faults that name the
// field.
func CheckBatch(n int) error {
	if n < 1 || n > maxBatch {
		return invalid("executions", "executions must have 1 to %d entries, not %d.", maxBatch, n)
	}
	return nil
}

// Batch is a list of submissions that are stored together or not at all. A batch with a callback URL gets one callback
// when the last of its executions has ended. Without one, each submission has a callback of its own.
type Batch struct {
	Subject         string
	Submissions     []Submission // without the fields that the batch has for all of them
	CallbackURL     string       // "" = each submission has its own
	CallbackHeaders map[string]string
	Secrets         []string
	IdempotencyKey  string // "" = none
	Body            []byte // body of the request
	Depth           int
}

// AdmitBatch stores the submissions of a batch as queued executions, in their order. Results are those of Admit. Errors
// are faults that name the submission by its index, from 0, and then nothing was stored.
func (a *Admission) AdmitBatch(ctx context.Context, b Batch) (all []execution.Execution, replayed bool, err error) {
	if err := CheckBatch(len(b.Submissions)); err != nil {
		return nil, false, err
	}
	common := Submission{
		Subject: b.Subject, CallbackURL: b.CallbackURL, CallbackHeaders: b.CallbackHeaders, Secrets: b.Secrets,
		IdempotencyKey: b.IdempotencyKey, Depth: b.Depth,
	}
	if err := checkKey(common); err != nil {
		return nil, false, err
	}
	summary := b.CallbackURL != ""
	if summary {
		if err := a.CheckCallback(common); err != nil {
			return nil, false, err
		}
	} else if len(b.CallbackHeaders) > 0 || len(b.Secrets) > 0 {
		return nil, false, missing("callback_url")
	}
	select {
	case a.batches <- struct{}{}:
		defer func() { <-a.batches }()
	case <-ctx.Done():
		return nil, false, fault.New(fault.ServiceUnavailable, "Too many batches were submitted at once.").
			Because(context.Cause(ctx))
	}
	env, err := a.Environment(ctx, b.Subject)
	if err != nil {
		return nil, false, err
	}
	id := execution.NewBatchID(a.Now())
	size, most := int64(0), max(maxBatchSize, 4*int64(len(b.Body)))
	for i, s := range b.Submissions {
		s.Subject, s.Depth = b.Subject, b.Depth
		e, err := a.newBatchExecution(s, common, summary, env)
		if err != nil {
			return nil, false, fault.Of(err).Within(fmt.Sprintf("executions[%d]", i))
		}
		if size += e.ProgramSize(); size > most {
			return nil, false, fault.New(fault.PayloadTooLarge, "The executions of the batch are larger than %d bytes "+
				"together, each with the default environment of its subject.", most).
				Field("executions").Detail("max", most)
		}
		e.Batch = execution.Batch{ID: id, Summary: summary}
		all = append(all, e)
	}
	defer crash.Point("after-enqueue")
	return a.Store.EnqueueAll(ctx, all, a.idempotency(b.IdempotencyKey, b.Body), a.queueLimits(all[0].Subject))
}

// newBatchExecution returns the execution of one submission of a batch. The parameter env is the environment of the
// subject.
func (a *Admission) newBatchExecution(
	s, common Submission, summary bool, env map[string]string,
) (execution.Execution, error) {
	if summary {
		if s.CallbackURL != "" {
			return execution.Execution{}, invalid("callback_url",
				"callback_url must be given for the whole batch or for each of its executions, not for both.")
		}
		s.CallbackURL, s.CallbackHeaders, s.Secrets = common.CallbackURL, common.CallbackHeaders, common.Secrets
	}
	if i := slices.IndexFunc(s.Files, func(f File) bool { return f.URL != "" }); i >= 0 {
		field := fmt.Sprintf("files[%d].url", i)
		return execution.Execution{}, invalid(field, "%s: a batch fetches no files; send them as text or base64.",
			field)
	}
	l, err := a.validate(s)
	if err != nil {
		return execution.Execution{}, err
	}
	if s, err = a.withEnvironment(env, s); err != nil {
		return execution.Execution{}, err
	}
	return a.newExecution(s, l.Name)
}
