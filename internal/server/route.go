// Package server is the HTTP machinery that all front doors share: routes with authentication, parameters and rate
// limits, the reading of JSON and queries, errors, byte ranges, the log line of a request, and the listener with its
// certificate.
//
// A front door is a Group of routes. The package knows none of them, and nothing about executions.
package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/fault"
	"boomerang/internal/quota"
)

// Handler answers a request of an authenticated caller; r.PathValue has the parameters of the path. An error that it
// returns becomes the answer: the public half of a fault, or an internal error. The caller of a Public route is the
// zero principal.
type Handler func(w http.ResponseWriter, r *http.Request, caller auth.Principal) error

// Route is one method of one path. HEAD comes with every GET.
type Route struct {
	Method     string
	Path       string // with {parameters}; Rest makes the last one hold slashes
	Handle     Handler
	Parameters Parameters // of the query
	Auth       Auth       // nil is BearerToken
}

// Rest is the pattern of a path parameter that may hold slashes and newlines: "/files/{path" + server.Rest + "}".
const Rest = ":(?s:.+)"

// Template returns the path with the bare names of its parameters, as openapi.yaml and the metrics have it.
func (t Route) Template() string { return strings.ReplaceAll(t.Path, Rest, "") }

// Group is one front door: its routes and, if it has its own, its format of errors.
type Group struct {
	Routes []Route
	Errors []ErrorFormat
}

// Auth finds the caller of a request. Errors: faults AUTHENTICATION_REQUIRED, INVALID_TOKEN.
type Auth func(r *http.Request, a Authenticator) (auth.Principal, error)

// Authenticator checks tokens and API keys; an empty one is refused with AUTHENTICATION_REQUIRED. Errors: faults
// AUTHENTICATION_REQUIRED, INVALID_TOKEN.
type Authenticator interface {
	Authenticate(token string) (auth.Principal, error)
	AuthenticateKey(key string) (auth.Principal, error)
	// Hold returns a context that ends when the caller's token or key is revoked. The caller calls release at the end
	// of the request.
	Hold(ctx context.Context, caller auth.Principal) (held context.Context, release func())
}

// Public admits every caller, as the zero principal.
func Public(*http.Request, Authenticator) (auth.Principal, error) { return auth.Principal{}, nil }

// OptionalToken admits a request without the header Authorization as the zero principal. A token must be valid.
func OptionalToken(r *http.Request, a Authenticator) (auth.Principal, error) {
	if len(r.Header.Values("Authorization")) == 0 {
		return auth.Principal{}, nil
	}
	return BearerToken(r, a)
}

// BearerToken reads the token of the header Authorization (RFC 6750, section 2.1).
func BearerToken(r *http.Request, a Authenticator) (auth.Principal, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return auth.Principal{}, fault.New(fault.InvalidToken, "There is more than one Authorization header.")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return a.Authenticate("")
	}
	return a.Authenticate(strings.TrimSpace(token))
}

// APIKeyHeader is the header of an API key.
const APIKeyHeader = "X-API-Key" //nolint:gosec // the name of the header, not a key

// APIKey reads the API key of the header X-API-Key.
func APIKey(r *http.Request, a Authenticator) (auth.Principal, error) {
	if len(r.Header.Values(APIKeyHeader)) > 1 {
		return auth.Principal{}, fault.New(fault.InvalidToken, "There is more than one %s header.", APIKeyHeader)
	}
	return a.AuthenticateKey(r.Header.Get(APIKeyHeader))
}

// Deps are the dependencies of a Server.
type Deps struct {
	Authenticator Authenticator
	// Answered counts a request. The route is the template of its path, or "none", so that there are few values.
	Answered func(method, route string, status int, took time.Duration)
	Log      *logrus.Entry
	Now      func() time.Time
}

// Server answers the requests of all front doors.
type Server struct {
	Deps
	config  Config
	router  *mux.Router
	formats []ErrorFormat

	subjects, addresses *limiter
}

// New makes the server of the groups; c must be valid, and no two groups may have the same route.
func New(c Config, d Deps, groups ...Group) *Server {
	s := &Server{Deps: d, config: c, subjects: newLimiter(c.Rate.PerSubject), addresses: newLimiter(c.Rate.PerAddress)}
	s.router = mux.NewRouter().SkipClean(true) // no redirects: a path is right or unknown
	for _, g := range groups {
		s.formats = append(s.formats, g.Errors...)
		for _, route := range g.Routes {
			methods := []string{route.Method}
			if route.Method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
			s.router.Handle(route.Path, s.handler(route.Template(), s.guard(route))).Methods(methods...)
		}
	}
	s.router.NotFoundHandler = s.handler("", func(http.ResponseWriter, *http.Request) error {
		return fault.New(fault.RouteNotFound, "There is no such route; /openapi.yaml lists them all.")
	})
	s.router.MethodNotAllowedHandler = s.handler("", s.refuseMethod)
	return s
}

// guard checks the caller, the rate of the caller's subject and the query, in this order, before the handler of a
// route: only an authenticated caller learns which parameters a route has.
func (s *Server) guard(t Route) func(http.ResponseWriter, *http.Request) error {
	authenticate := t.Auth
	if authenticate == nil {
		authenticate = BearerToken
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		caller, err := authenticate(r, s.Authenticator)
		if err != nil {
			return err
		}
		if caller.Subject != "" {
			exchangeOf(r).subject = caller.Subject
			if err := s.subjects.spend(w.Header(), caller.Subject, s.Now()); err != nil {
				return err
			}
			r = r.WithContext(quota.WithSubject(r.Context(), caller.Subject))
		}
		if err := t.Parameters.check(r, caller); err != nil {
			return err
		}
		if caller.Subject == "" {
			return t.Handle(w, r, caller)
		}
		held, release := s.Authenticator.Hold(r.Context(), caller)
		defer release()
		return t.Handle(w, r.WithContext(held), caller)
	}
}

// handler turns the errors of do into answers.
func (s *Server) handler(template string, do func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r).route = template
		for name, value := range mux.Vars(r) {
			r.SetPathValue(name, value)
		}
		if err := do(w, r); err != nil {
			s.refuse(w, r, err)
		}
	})
}

// refuseMethod answers for a path that exists with another method. OPTIONS lists the methods; others are refused.
func (s *Server) refuseMethod(w http.ResponseWriter, r *http.Request) error {
	allowed := strings.Join(s.allowed(r), ", ")
	w.Header().Set("Allow", allowed)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return fault.New(fault.MethodNotAllowed, "%s is not allowed here; allowed: %s.", Clip(r.Method), allowed)
}

// allowed returns the methods that the path has.
func (s *Server) allowed(r *http.Request) []string {
	methods := slices.DeleteFunc(
		[]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		func(method string) bool {
			probe := r.Clone(r.Context())
			probe.Method = method
			var match mux.RouteMatch
			return !s.router.Match(probe, &match) || match.MatchErr != nil
		})
	return append(methods, http.MethodOptions)
}
