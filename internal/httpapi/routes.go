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

// routes is the table of all that can be called; openapi.yaml describes exactly these.
func (a *api) routes() *mux.Router {
	router := mux.NewRouter().SkipClean(true) // no redirects: a path is right or it is unknown
	for _, route := range []struct {
		method, path string
		do           action
	}{
		{http.MethodPost, "/execute/async", a.private(a.submit)},
		{http.MethodPost, "/execute/background", a.private(a.background)},
		{http.MethodPost, "/executions/batch", a.private(a.batch)},
		{http.MethodGet, "/execute/stream", a.private(a.stream)},
		{http.MethodPost, "/execute", a.private(a.execute)},
		{http.MethodGet, "/execute/processes", a.private(a.processes)},
		{http.MethodPost, "/execute/kill/{id}", a.private(a.killNamed)},
		{http.MethodDelete, "/execute/kill", a.private(a.killAsked)},
		{http.MethodPost, "/commands/run", a.private(a.runCommand)},
		{http.MethodPost, "/commands/background", a.private(a.backgroundCommand)},
		{http.MethodGet, "/env", a.private(a.getEnv)},
		{http.MethodPut, "/env", a.private(a.putEnv)},
		{http.MethodPatch, "/env", a.private(a.patchEnv)},
		{http.MethodDelete, "/env", a.private(a.deleteEnv)},
		{http.MethodGet, "/metrics/snapshot", a.private(a.snapshot)},
		{http.MethodGet, "/info", a.private(a.info)},
		{http.MethodGet, "/v1/sandboxes", a.keyed(a.sandboxes)},
		{http.MethodPost, "/v1/sandboxes", a.keyed(a.createSandbox)},
		{http.MethodGet, "/v1/sandboxes/{id}", a.keyed(a.getSandbox)},
		{http.MethodDelete, "/v1/sandboxes/{id}", a.keyed(a.deleteSandbox)},
		{http.MethodPost, "/v1/sandboxes/{id}/token/refresh", a.keyed(a.refreshToken)},
		{http.MethodGet, "/executions", a.private(a.list)},
		{http.MethodGet, "/executions/{id}", a.private(a.get)},
		{http.MethodPost, "/executions/{id}/cancel", a.private(a.cancel)},
		{http.MethodGet, "/executions/{id}/output", a.private(a.output)},
		{http.MethodGet, "/executions/{id}/events", a.private(a.events)},
		{http.MethodGet, "/executions/{id}/artifacts", a.private(a.artifacts)},
		{http.MethodGet, "/executions/{id}/artifacts/{path:(?s:.+)}", a.private(a.artifact)}, // with slashes, and whatever a name may hold
		{http.MethodGet, "/executions/{id}/callback", a.private(a.callback)},
		{http.MethodGet, "/executions/{id}/callback/attempts", a.private(a.attempts)},
		{http.MethodPost, "/executions/{id}/callback/redeliver", a.private(a.redeliver)},
		{http.MethodGet, "/callbacks", a.private(a.callbacks)},
		{http.MethodPost, "/callbacks/recover", a.private(a.recover)},
		{http.MethodPost, "/callbacks/test", a.private(a.test)},
		{http.MethodGet, "/workspaces", a.private(a.workspaces)},
		{http.MethodGet, "/workspaces/{name}", a.private(a.workspace)},
		{http.MethodDelete, "/workspaces/{name}", a.private(a.removeWorkspace)},
		{http.MethodGet, "/workspaces/{name}/files", a.private(a.files)},
		{http.MethodGet, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.file)},
		{http.MethodPut, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.putFile)},
		{http.MethodDelete, "/workspaces/{name}/files/{path" + anything + "}", a.private(a.deleteFile)},
		{http.MethodGet, "/files/read", a.private(a.sdkRead)},
		{http.MethodGet, "/files/download", a.private(a.sdkDownload)},
		{http.MethodGet, "/files/exists", a.private(a.sdkExists)},
		{http.MethodGet, "/files/list", a.private(a.sdkList)},
		{http.MethodPost, "/files/write", a.private(a.sdkWrite)},
		{http.MethodPost, "/files/upload", a.private(a.sdkUpload)},
		{http.MethodPost, "/files/mkdir", a.private(a.sdkMkdir)},
		{http.MethodDelete, "/files/remove", a.private(a.sdkRemove)},
		{http.MethodGet, "/health", a.health},
		{http.MethodGet, "/healthz", a.alive},
		{http.MethodGet, "/readyz", a.readyz},
		{http.MethodGet, "/openapi.yaml", a.openAPI},
	} {
		methods := []string{route.method}
		if route.method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		router.Handle(route.path, a.handler(route.do)).Methods(methods...)
	}
	router.NotFoundHandler = a.handler(func(http.ResponseWriter, *http.Request) error {
		return fault.New(fault.RouteNotFound, "There is no such route; /openapi.yaml lists them all.")
	})
	router.MethodNotAllowedHandler = a.handler(a.otherMethod)
	return router
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
