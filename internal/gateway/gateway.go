// Package gateway holds the operations on executions and workspaces that every front door of the HTTP server offers in
// its own form: read a submission, submit it, wait for its result, find, follow and cancel an execution, read and write
// a file.
//
// It checks that a caller sees only the caller's own executions. It knows no route and no form of an answer.
package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/follow"
	"boomerang/internal/quota"
	"boomerang/internal/server"
)

// Admission turns a submission into a stored execution. Errors are faults; after one, nothing is stored.
type Admission interface {
	Admit(ctx context.Context, s admission.Submission) (e execution.Execution, replayed bool, err error)
}

// Records reads executions. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// Ended returns a channel that is closed when the execution ends from now on, and a function that releases it.
	Ended(id execution.ID) (ended <-chan struct{}, release func())
	// WorkspaceResult returns the result of the workspace that an execution could change; nil if there is none, or if
	// the execution has not ended.
	WorkspaceResult(ctx context.Context, id execution.ID) (*execution.WorkspaceResult, error)
	follow.Records
}

// ArtifactLists has the list of the files that an execution left. Errors: faults EXECUTION_NOT_FOUND,
// SERVICE_UNAVAILABLE.
type ArtifactLists interface {
	// Artifacts returns the result of the collection; nil if the submission asked for no files, or if the execution has
	// not ended.
	Artifacts(ctx context.Context, id execution.ID) (*execution.Artifacts, error)
}

// Live reads the output of programs that run.
type Live interface {
	// Live returns the bytes that a program has written to a stream so far; false if the program does not run here.
	// Earlier bytes are a prefix of later ones. It returns true until the result is stored.
	Live(id execution.ID, stream execution.Stream) (kept []byte, ok bool)
	follow.Live
}

// Deps are the dependencies of Executions.
type Deps struct {
	Admission Admission
	Records   Records
	Artifacts ArtifactLists
	Live      Live
	// Cancel asks for the end of an execution and returns its record after that; an ended execution stays as it is.
	Cancel func(ctx context.Context, id execution.ID) (execution.Execution, error)
	// Inline is the number of bytes of each stream that a record shows, the same as in a callback.
	Inline int
	Log    *logrus.Entry
}

// Executions are the executions that callers submit, wait for, read and cancel.
type Executions struct {
	Deps
	hub     *follow.Hub
	streams *quota.Quota
	most    int // streams of one subject
}

// New returns the Executions of a server. The parameter streams bounds the open streams of one subject; 0 means no
// limit.
func New(streams int, d Deps) *Executions {
	return &Executions{
		Deps: d, hub: follow.New(d.Records, d.Live, d.Log), streams: quota.New(streams), most: streams,
	}
}

// streamsRetry is the Retry-After of a client that has too many streams open.
const streamsRetry = 5 * time.Second

// AcquireStream counts a stream of the subject as open until release is called. Errors: fault RATE_LIMIT_EXCEEDED.
func (x *Executions) AcquireStream(subject string) (release func(), err error) {
	release, ok := x.streams.Acquire(subject)
	if !ok {
		return nil, fault.New(fault.RateLimitExceeded,
			"There are %d streams open already, which is as many as are allowed.", x.most).
			After(streamsRetry)
	}
	return release, nil
}

func unknownExecution() error {
	return fault.New(fault.ExecutionNotFound, "There is no such execution.")
}

// Find returns an execution that the caller may see. The error for the execution of another subject is that for an
// unknown one. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
func (x *Executions) Find(ctx context.Context, id execution.ID, caller auth.Principal) (execution.Execution, error) {
	if !id.Valid() {
		return execution.Execution{}, unknownExecution()
	}
	e, err := x.Records.Get(ctx, id)
	if err != nil {
		if fault.Of(err).Code == fault.ExecutionNotFound {
			return execution.Execution{}, unknownExecution()
		}
		return execution.Execution{}, fmt.Errorf("read execution: %w", err)
	}
	if !caller.Admin && e.Subject != caller.Subject {
		return execution.Execution{}, unknownExecution()
	}
	return e, nil
}

// Await returns an execution as Find does, as soon as it has ended, or as it is after wait or when the server stops.
func (x *Executions) Await(
	w http.ResponseWriter, r *http.Request, id execution.ID, caller auth.Principal, wait time.Duration,
) (execution.Execution, error) {
	if wait == 0 {
		return x.Find(r.Context(), id, caller)
	}
	ended, release := x.Records.Ended(id) // before the first look: an end between the two would be missed
	defer release()
	e, err := x.Find(r.Context(), id, caller)
	if err != nil || e.State.Terminal() {
		return e, err
	}
	if err := server.ExtendWrite(w, r, wait); err != nil {
		return e, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-server.Stopping(r.Context()):
	case <-r.Context().Done():
	}
	return x.Find(r.Context(), id, caller)
}

// Follow begins to follow an execution that the caller may see; Leave of the result ends it. Errors: those of Find.
func (x *Executions) Follow(ctx context.Context, id execution.ID, caller auth.Principal) (*follow.Followed, error) {
	if !id.Valid() {
		return nil, unknownExecution()
	}
	f, err := x.hub.Join(ctx, id)
	if err != nil {
		if fault.Of(err).Code == fault.ExecutionNotFound {
			return nil, unknownExecution()
		}
		return nil, err
	}
	if view, _ := f.Look(); !caller.Admin && view.Subject != caller.Subject {
		f.Leave()
		return nil, unknownExecution()
	}
	return f, nil
}
