package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/server"
)

const (
	// The limit maxHeld is the longest wait: an idempotency key may lead to a program with a longer timeout.
	maxHeld       = 300 * time.Second
	queueing      = 30 * time.Second // beyond the timeout of the program, for its turn and for its end
	endWait       = 5 * time.Second  // for the end of a cancelled program
	rereadTimeout = 5 * time.Second  // for the record
)

// Run submits a program without a callback and waits for its result. Errors are faults, and then nothing was stored.
func (x *Executions) Run(w http.ResponseWriter, r *http.Request, s admission.Submission) (execution.Execution, error) {
	select {
	case <-server.Stopping(r.Context()):
		return execution.Execution{}, fault.New(fault.ServiceUnavailable, "The server stops; nothing was stored.")
	default:
	}
	s.Background, s.Synchronous, s.CallbackURL, s.CallbackHeaders, s.Secrets = true, true, "", nil, nil
	release, err := x.AcquireStream(s.Subject)
	if err != nil {
		return execution.Execution{}, err
	}
	defer release()
	e, err := x.Submit(w, r, s)
	if err != nil {
		return execution.Execution{}, err
	}
	return x.wait(w, r, e, s.IdempotencyKey != ""), nil
}

// wait returns e with its result as soon as there is one. The code runs from here on even if something fails, so there
// is no error, only an execution without a result: a client posts again after a 5xx, and the code would run twice.
//
// The result of a program whose caller has hung up or waited too long would never be read, so the program is cancelled.
// A program with an idempotency key (returns) goes on, because the same request leads to it again.
func (x *Executions) wait(
	w http.ResponseWriter, r *http.Request, e execution.Execution, returns bool,
) execution.Execution {
	ended, release := x.Records.Ended(e.ID) // before the first look: an end between the two would be missed
	defer release()
	wait := min(e.Timeout, maxHeld) + queueing
	log := x.Log.WithFields(logrus.Fields{"execution_id": e.ID, "request_id": server.RequestID(r)})
	if err := server.ExtendWrite(w, r, wait+endWait+rereadTimeout); err != nil {
		log.WithError(err).Warn("extend the deadline of the answer")
	}
	if now := x.reread(r.Context(), e, log); now.Result != nil {
		return now
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-server.Stopping(r.Context()):
	case <-r.Context().Done():
		if !returns && !closed(server.Stopping(r.Context())) {
			log.Info("caller is gone, execution is cancelled")
			x.cancelAndWait(r.Context(), e, nil, log)
		}
	case <-timer.C:
		if !returns {
			log.Info("caller has waited for too long, execution is cancelled")
			x.cancelAndWait(r.Context(), e, ended, log)
		}
	}
	return x.reread(r.Context(), e, log)
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// cancelAndWait cancels e and waits for its end for at most endWait; it does not wait if ended is nil.
func (x *Executions) cancelAndWait(
	ctx context.Context, e execution.Execution, ended <-chan struct{}, log *logrus.Entry,
) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	if _, err := x.Cancel(ctx, e.ID); err != nil {
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

// reread returns e with its complete result as it is now, or e itself if its record cannot be read.
func (x *Executions) reread(ctx context.Context, e execution.Execution, log *logrus.Entry) execution.Execution {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadTimeout)
	defer cancel()
	now, err := x.Records.Get(ctx, e.ID)
	if err == nil {
		now, err = x.Complete(ctx, now)
	}
	if err != nil {
		log.WithError(err).Warn("read execution")
		return e
	}
	return now
}

// Kill cancels an execution and waits for its end for at most 5 s, so that a list read after it shows the end. An ended
// execution stays as it is.
func (x *Executions) Kill(w http.ResponseWriter, r *http.Request, e execution.Execution) (execution.Execution, error) {
	ended, release := x.Records.Ended(e.ID)
	defer release()
	e, err := x.Cancel(r.Context(), e.ID)
	if err != nil {
		return e, fmt.Errorf("cancel execution: %w", err)
	}
	if e.State.Terminal() {
		return e, nil
	}
	if err := server.ExtendWrite(w, r, endWait+rereadTimeout); err != nil {
		return e, err
	}
	timer := time.NewTimer(endWait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-server.Stopping(r.Context()):
	case <-r.Context().Done():
	}
	log := x.Log.WithFields(logrus.Fields{"execution_id": e.ID, "request_id": server.RequestID(r)})
	return x.reread(r.Context(), e, log), nil
}
