// Package httpapi is the main front door: the routes that submit executions, show them and their output, deliver and
// test callbacks, and keep workspaces, with the OpenAPI description of all routes.
//
// It does not know how executions are stored, run and delivered.
package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/admission"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/language"
	"boomerang/internal/server"
)

// Admission turns submissions into stored executions. Errors are faults; after one, nothing is stored.
type Admission interface {
	AdmitBatch(ctx context.Context, b admission.Batch) (all []execution.Execution, replayed bool, err error)
	// CheckCallback refuses a callback as Admit would.
	CheckCallback(s admission.Submission) error
}

// Records reads executions and deliveries. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// List returns executions newest first; their results have the counts of the output, not the output.
	List(ctx context.Context, f execution.Filter) ([]execution.Execution, error)
	// Delivery returns the delivery of an execution; its state is none while the execution has not ended.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)
}

// Deliveries is the record of the callbacks. Errors: faults EXECUTION_NOT_FOUND, CONFLICT if there is nothing to
// deliver, SERVICE_UNAVAILABLE.
type Deliveries interface {
	// Attempts returns all attempts of a delivery, the first one first.
	Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error)
	// Breaker returns the breaker of a subject's callbacks to a destination. Its Openings are 0 if it is closed.
	Breaker(ctx context.Context, subject, destination string) (execution.Breaker, error)
	// Deliveries lists deliveries, the newest first, without bodies and sealed fields.
	Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error)
	Redelivery
}

// Redelivery sends callbacks again.
type Redelivery interface {
	// Redeliver makes a delivery in any state due at now.
	Redeliver(ctx context.Context, id execution.ID, now time.Time) error
	// Recover makes the chosen dead deliveries due at now. It returns their number, also beside an error.
	Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error)
}

// ArtifactStore keeps the files that programs left. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type ArtifactStore interface {
	gateway.ArtifactLists
	// Artifact returns one file; false if there is none with this path.
	Artifact(ctx context.Context, id execution.ID, path string) (a execution.Artifact, found bool, err error)
	// Blob reads content, a piece at a time.
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
}

// Workspaces lists and removes workspaces and their files. Errors: those of gateway.Workspaces.
type Workspaces interface {
	Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error)
	RemoveWorkspace(ctx context.Context, subject, name string) error
	// Entries lists by path; a directory comes before its entries.
	Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error)
	// Delete removes an entry, of a directory with every entry below it.
	Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error
}

// Languages is the catalogue. Find resolves a name or an alias. Errors: fault UNSUPPORTED_LANGUAGE.
type Languages interface {
	Find(name string) (language.Language, error)
}

// Deps are the dependencies of the routes.
type Deps struct {
	Executions *gateway.Executions
	Files      *gateway.Files
	Admission  Admission
	Records    Records
	Deliveries Deliveries
	Artifacts  ArtifactStore
	Languages  Languages
	Workspaces Workspaces
	// Try sends a sample callback now. A failure on the way is part of the Trial, not an error.
	Try    func(ctx context.Context, s callback.Sample) (callback.Trial, error)
	Checks []Check
	Notes  func(ctx context.Context) []string // the warnings of /readyz; nil if there are none
	Log    *logrus.Entry
	Now    func() time.Time
}

// api answers requests for executions, and for the state of the server.
type api struct {
	Deps
	ready *readiness
}

// New makes the routes of the main front door.
func New(d Deps) server.Group {
	a := &api{Deps: d, ready: newReadiness(d.Checks, d.Now, d.Log)}
	return server.Group{Routes: a.routes()}
}
