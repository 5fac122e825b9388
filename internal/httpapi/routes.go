package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/mux"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
)

// action answers a request, or returns the fault that the client is told.
type action func(w http.ResponseWriter, r *http.Request) error

// private is an action for those who show who they are.
type private func(w http.ResponseWriter, r *http.Request, p auth.Principal) error

// route is something that can be called.
type route struct {
	method, path string
	do           action
	query        parameters
}

// table lists all routes; openapi.yaml describes exactly these.
func (a *api) table() []route {
	return []route{
		{http.MethodPost, "/execute/async", a.private(a.submit), atLeast()},
		{http.MethodPost, "/execute/background", a.private(a.background), atLeast()},
		{http.MethodPost, "/executions/batch", a.private(a.batch), only()},
		{http.MethodGet, "/execute/stream", a.private(a.stream), atLeast()},
		{http.MethodPost, "/execute", a.private(a.execute), atLeast()},
		{http.MethodGet, "/execute/processes", a.private(a.processes), atLeast()},
		{http.MethodPost, "/execute/kill/{id}", a.private(a.killNamed), atLeast()},
		{http.MethodDelete, "/execute/kill", a.private(a.killAsked), atLeast("process_id", "execution_id")},
		{http.MethodPost, "/commands/run", a.private(a.runCommand), atLeast()},
		{http.MethodPost, "/commands/background", a.private(a.backgroundCommand), atLeast()},
		{http.MethodGet, "/env", a.private(a.getEnv), atLeast()},
		{http.MethodPut, "/env", a.private(a.putEnv), atLeast()},
		{http.MethodPatch, "/env", a.private(a.patchEnv), atLeast()},
		{http.MethodDelete, "/env", a.private(a.deleteEnv), atLeast()},
		{http.MethodGet, "/metrics/snapshot", a.private(a.snapshot), atLeast()},
		{http.MethodGet, "/info", a.private(a.info), atLeast()},
		{http.MethodGet, "/v1/sandboxes", a.keyed(a.sandboxes), atLeast()},
		{http.MethodPost, "/v1/sandboxes", a.keyed(a.createSandbox), atLeast()},
		{http.MethodGet, "/v1/sandboxes/{id}", a.keyed(a.getSandbox), atLeast()},
		{http.MethodDelete, "/v1/sandboxes/{id}", a.keyed(a.deleteSandbox), atLeast()},
		{http.MethodPost, "/v1/sandboxes/{id}/token/refresh", a.keyed(a.refreshToken), atLeast()},
		{http.MethodGet, "/executions", a.private(a.list), only("status", "language", "batch", "since", "until", "limit", "cursor")},
		{http.MethodGet, "/executions/{id}", a.private(a.get), only("wait")},
		{http.MethodPost, "/executions/{id}/cancel", a.private(a.cancel), only()},
		{http.MethodGet, "/executions/{id}/output", a.private(a.output), only("stream")},
		{http.MethodGet, "/executions/{id}/events", a.private(a.events), only("last_event_id")},
		{http.MethodGet, "/executions/{id}/artifacts", a.private(a.artifacts), only()},
		{http.MethodGet, "/executions/{id}/artifacts/{path:(?s:.+)}", a.private(a.artifact), only()}, // with slashes, and whatever a name may hold
		{http.MethodGet, "/executions/{id}/callback", a.private(a.callback), only()},
		{http.MethodGet, "/executions/{id}/callback/attempts", a.private(a.attempts), only()},
		{http.MethodPost, "/executions/{id}/callback/redeliver", a.private(a.redeliver), only()},
		{http.MethodGet, "/callbacks", a.private(a.callbacks), only("status", "destination", "since", "until", "limit", "cursor")},
		{http.MethodPost, "/callbacks/recover", a.private(a.recover), only("since", "destination")},
		{http.MethodPost, "/callbacks/test", a.private(a.test), only()},
		{http.MethodGet, "/workspaces", a.private(a.workspaces), only(subjectParameter, "limit", "cursor")},
		{http.MethodGet, "/workspaces/{name}", a.private(a.workspace), only(subjectParameter)},
		{http.MethodDelete, "/workspaces/{name}", a.private(a.removeWorkspace), only(subjectParameter)},
		{http.MethodGet, "/workspaces/{name}/files", a.private(a.files), only(subjectParameter, "prefix", "limit", "cursor")},
		{http.MethodGet, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.file), only(subjectParameter)},
		{http.MethodPut, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.putFile), only(subjectParameter, "mode", "type")},
		{http.MethodDelete, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.deleteFile), only(subjectParameter)},
		{http.MethodGet, "/files/read", a.private(a.sdkRead), atLeast("path")},
		{http.MethodGet, "/files/download", a.private(a.sdkDownload), atLeast("path")},
		{http.MethodGet, "/files/exists", a.private(a.sdkExists), atLeast("path")},
		{http.MethodGet, "/files/list", a.private(a.sdkList), atLeast("path")},
		{http.MethodPost, "/files/write", a.private(a.sdkWrite), atLeast()},
		{http.MethodPost, "/files/upload", a.private(a.sdkUpload), atLeast("path")},
		{http.MethodPost, "/files/mkdir", a.private(a.sdkMkdir), atLeast()},
		{http.MethodDelete, "/files/remove", a.private(a.sdkRemove), atLeast("path")},
		{http.MethodGet, "/health", a.public(a.health), atLeast()},
		{http.MethodGet, "/healthz", a.public(a.alive), only()},
		{http.MethodGet, "/readyz", a.public(a.readyz), only()},
		{http.MethodGet, "/openapi.yaml", a.public(a.openAPI), only()},
	}
}

func (a *api) routes() *mux.Router {
	router := mux.NewRouter().SkipClean(true) // no redirects: a path is right or it is unknown
	for _, route := range a.table() {
		methods := []string{route.method}
		if route.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		router.Handle(route.path, a.handler(route.run)).Methods(methods...)
	}
	router.NotFoundHandler = a.handler(func(http.ResponseWriter, *http.Request) error {
		return fault.New(fault.RouteNotFound, "There is no such route; /openapi.yaml lists them all.")
	})
	router.MethodNotAllowedHandler = a.handler(a.otherMethod)
	return router
}

// run notes which parameters the route has, for the check behind authentication: nobody else is told.
func (t route) run(w http.ResponseWriter, r *http.Request) error {
	exchangeOf(r).query = t.query
	return t.do(w, r)
}

// public lets everybody in.
func (a *api) public(do action) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := exchangeOf(r).query.check(r, auth.Principal{}); err != nil {
			return err
		}
		return do(w, r)
	}
}

// handler is where every fault becomes an answer.
func (a *api) handler(do action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route := mux.CurrentRoute(r); route != nil {
			exchangeOf(r).route = template(route)
		}
		if err := do(w, r); err != nil {
			a.refuse(w, r, err)
		}
	})
}

// anything is the pattern of a parameter that may hold slashes and newlines.
const anything = ":(?s:.+)"

// template is a route's path with its parameters' names, as openapi.yaml has it.
func template(route *mux.Route) string {
	path, _ := route.GetPathTemplate()
	return strings.ReplaceAll(path, anything, "")
}

// private lets in who has a token that holds.
func (a *api) private(do private) action {
	return func(w http.ResponseWriter, r *http.Request) error {
		token, err := bearer(r)
		if err != nil {
			return err
		}
		p, err := a.Authenticator.Authenticate(token)
		if err != nil {
			return err
		}
		exchangeOf(r).subject = p.Subject
		if err := a.subjects.take(w.Header(), p.Subject, a.Now()); err != nil {
			return err
		}
		if err := exchangeOf(r).query.check(r, p); err != nil {
			return err
		}
		return do(w, r, p)
	}
}

// bearer takes the token out of the request (RFC 6750, section 2.1); "" when there is none.
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", fault.New(fault.InvalidToken, "There is more than one Authorization header.")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	return strings.TrimSpace(token), nil
}

// otherMethod answers for a path that exists and a method that does not: OPTIONS is told which do, all else is refused.
func (a *api) otherMethod(w http.ResponseWriter, r *http.Request) error {
	allowed := strings.Join(a.allowed(r), ", ")
	w.Header().Set("Allow", allowed)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return fault.New(fault.MethodNotAllowed, "%s is not allowed here; allowed: %s.", clip(r.Method), allowed)
}

// allowed asks the router which methods the path has.
func (a *api) allowed(r *http.Request) []string {
	methods := slices.DeleteFunc(
		[]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		func(method string) bool {
			probe := r.Clone(r.Context())
			probe.Method = method
			var match mux.RouteMatch
			return !a.router.Match(probe, &match) || match.MatchErr != nil
		})
	return append(methods, http.MethodOptions)
}
