package httpapi

import (
	"net/http"

	"boomerang/internal/server"
)

// routes lists the routes of the main front door; openapi.yaml describes them and those of the other front doors.
func (a *api) routes() []server.Route {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		put    = http.MethodPut
		remove = http.MethodDelete
	)
	c := &callbackRoutes{a.Deps}
	ws := &workspaceRoutes{a.Deps}
	only := server.Only
	file := "/workspaces/{name}/files/{path" + server.Rest + "}"
	subject := server.SubjectParameter
	return []server.Route{
		{Method: post, Path: "/execute/async", Handle: a.handleSubmit, Parameters: server.AtLeast()},
		{Method: post, Path: "/executions/batch", Handle: a.handleBatch},
		{
			Method: get, Path: "/executions", Handle: a.handleList,
			Parameters: only("status", "language", "batch", "since", "until", "limit", "cursor"),
		},
		{Method: get, Path: "/executions/{id}", Handle: a.handleGet, Parameters: only("wait")},
		{Method: post, Path: "/executions/{id}/cancel", Handle: a.handleCancel},
		{Method: get, Path: "/executions/{id}/output", Handle: a.handleOutput, Parameters: only("stream")},
		{Method: get, Path: "/executions/{id}/events", Handle: a.handleEvents, Parameters: only("last_event_id")},
		{Method: get, Path: "/executions/{id}/artifacts", Handle: a.handleArtifacts},
		{Method: get, Path: "/executions/{id}/artifacts/{path" + server.Rest + "}", Handle: a.handleArtifact},

		{Method: get, Path: "/executions/{id}/callback", Handle: c.handleDelivery},
		{Method: get, Path: "/executions/{id}/callback/attempts", Handle: c.handleAttempts},
		{Method: post, Path: "/executions/{id}/callback/redeliver", Handle: c.handleRedeliver},
		{
			Method: get, Path: "/callbacks", Handle: c.handleDeliveries,
			Parameters: only("status", "destination", "since", "until", "limit", "cursor"),
		},
		{Method: post, Path: "/callbacks/recover", Handle: c.handleRecover, Parameters: only("since", "destination")},
		{Method: post, Path: "/callbacks/test", Handle: c.handleTrial},

		{Method: get, Path: "/workspaces", Handle: ws.handleWorkspaces, Parameters: only(subject, "limit", "cursor")},
		{Method: get, Path: "/workspaces/{name}", Handle: ws.handleWorkspace, Parameters: only(subject)},
		{Method: remove, Path: "/workspaces/{name}", Handle: ws.handleRemoveWorkspace, Parameters: only(subject)},
		{
			Method: get, Path: "/workspaces/{name}/files", Handle: ws.handleFiles,
			Parameters: only(subject, "prefix", "limit", "cursor"),
		},
		{Method: get, Path: file, Handle: ws.handleFile, Parameters: only(subject)},
		{Method: put, Path: file, Handle: ws.handlePutFile, Parameters: only(subject, "mode", "type")},
		{Method: remove, Path: file, Handle: ws.handleDeleteFile, Parameters: only(subject)},

		{Method: get, Path: "/healthz", Handle: a.handleAlive, Auth: server.Public},
		{Method: get, Path: "/readyz", Handle: a.handleReady, Auth: server.Public},
		{Method: get, Path: "/openapi.yaml", Handle: a.handleDescription, Auth: server.Public},
	}
}
