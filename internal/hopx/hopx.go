// Package hopx is the front door for the clients of HopX: the routes that its SDKs call beside POST /execute/async,
// which is a route of package httpapi. It translates their requests into submissions, and executions into the fields
// that they read.
//
// It does not know how executions are stored, run and delivered.
package hopx

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/gateway"
	"boomerang/internal/language"
	"boomerang/internal/server"
)

// Records reads executions. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// List returns executions newest first; their results have the counts of the output, not the output.
	List(ctx context.Context, f execution.Filter) ([]execution.Execution, error)
	// Output returns the kept part of one stream of an ended execution.
	// Share counts the executions of one subject.
	Share(ctx context.Context, subject string) (execution.Share, error)
}

// Environments keeps the variables that each program of a subject has by default. Errors are faults.
type Environments interface {
	Environment(ctx context.Context, subject string) (map[string]string, error)
	// SetEnvironment replaces the variables, or adds env to them if merge is true, and returns the new variables.
	SetEnvironment(ctx context.Context, subject string, env map[string]string, merge bool) (map[string]string, error)
}

// Issuer makes tokens.
type Issuer interface {
	Issue(subject string, ttl time.Duration, scopes ...string) (string, error)
}

// Workspaces keeps the files of the SDKs. Errors: those of gateway.Workspaces.
type Workspaces interface {
	// Entries lists by path; a directory comes before its entries.
	Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error)
	Entry(ctx context.Context, subject, name, path string) (execution.Entry, error)
	// Delete removes an entry, of a directory with every entry below it.
	Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error
	// Blob reads content, a piece at a time.
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
}

// Languages is the catalogue, sorted by name.
type Languages interface {
	Languages() []language.Language
}

// Deps are the dependencies of the routes.
type Deps struct {
	Executions   *gateway.Executions
	Files        *gateway.Files
	Records      Records
	Environments Environments
	Issuer       Issuer
	Workspaces   Workspaces
	Languages    Languages
	Version      string
	Log          *logrus.Entry
	Now          func() time.Time
}

// door answers requests for programs, and for the state of the server.
type door struct {
	Deps
	started time.Time
}

// New makes the routes of the front door.
func New(d Deps) server.Group {
	h := &door{Deps: d, started: d.Now()}
	return server.Group{Routes: h.routes(), Errors: []server.ErrorFormat{controlErrors}}
}

func (h *door) routes() []server.Route {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		remove = http.MethodDelete
	)
	environment, files, sandboxes := &environmentRoutes{h.Deps}, &fileRoutes{h.Deps}, &sandboxRoutes{h.Deps}
	routes := []server.Route{
		{Method: post, Path: "/execute", Handle: h.handleExecute},
		{Method: post, Path: "/execute/background", Handle: h.handleBackground},
		{Method: get, Path: "/execute/stream", Handle: h.handleStream},
		{Method: post, Path: "/commands/run", Handle: h.handleRunCommand},
		{Method: post, Path: "/commands/background", Handle: h.handleBackgroundCommand},

		{Method: get, Path: "/execute/processes", Handle: h.handleProcesses},
		{Method: post, Path: "/execute/kill/{id}", Handle: h.handleKillNamed},
		{
			Method: remove, Path: "/execute/kill", Handle: h.handleKillAsked,
			Parameters: server.AtLeast("process_id", "execution_id"),
		},

		{Method: get, Path: "/env", Handle: environment.handleGetEnv},
		{Method: http.MethodPut, Path: "/env", Handle: environment.handlePutEnv},
		{Method: http.MethodPatch, Path: "/env", Handle: environment.handlePatchEnv},
		{Method: remove, Path: "/env", Handle: environment.handleDeleteEnv},

		{Method: get, Path: "/files/read", Handle: files.handleReadFile, Parameters: server.AtLeast("path")},
		{Method: get, Path: "/files/download", Handle: files.handleDownloadFile, Parameters: server.AtLeast("path")},
		{Method: get, Path: "/files/exists", Handle: files.handleFileExists, Parameters: server.AtLeast("path")},
		{Method: get, Path: "/files/list", Handle: files.handleListFiles, Parameters: server.AtLeast("path")},
		{Method: post, Path: "/files/write", Handle: files.handleWriteFile},
		{Method: post, Path: "/files/upload", Handle: files.handleUploadFile, Parameters: server.AtLeast("path")},
		{Method: post, Path: "/files/mkdir", Handle: files.handleMakeDirectory},
		{Method: remove, Path: "/files/remove", Handle: files.handleRemoveFile, Parameters: server.AtLeast("path")},

		{Method: get, Path: "/v1/sandboxes", Handle: sandboxes.handleSandboxes, Auth: server.APIKey},
		{Method: post, Path: "/v1/sandboxes", Handle: sandboxes.handleCreateSandbox, Auth: server.APIKey},
		{Method: get, Path: "/v1/sandboxes/{id}", Handle: sandboxes.handleGetSandbox, Auth: server.APIKey},
		{Method: remove, Path: "/v1/sandboxes/{id}", Handle: sandboxes.handleDeleteSandbox, Auth: server.APIKey},
		{
			Method: post, Path: "/v1/sandboxes/{id}/token/refresh", Handle: sandboxes.handleRefreshToken,
			Auth: server.APIKey,
		},

		{Method: get, Path: "/metrics/snapshot", Handle: h.handleSnapshot},
		{Method: get, Path: "/info", Handle: h.handleInfo},
		{Method: get, Path: "/health", Handle: h.handleHealth, Auth: server.Public},
	}
	for i, r := range routes { // all of them are lenient
		if len(r.Parameters.Names()) == 0 {
			routes[i].Parameters = server.AtLeast()
		}
	}
	return routes
}
