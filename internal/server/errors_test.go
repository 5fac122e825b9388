package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestEveryKindHasItsStatus(t *testing.T) {
	for code, want := range map[fault.Code]int{
		fault.InvalidJSON: 400, fault.MissingParameter: 400, fault.InvalidRequest: 400, fault.UnsupportedLanguage: 400,
		fault.CallbackNotAllowed: 400, fault.AuthenticationRequired: 401, fault.InvalidToken: 401, fault.Forbidden: 403,
		fault.ExecutionNotFound: 404, fault.ProcessNotFound: 404, fault.RouteNotFound: 404, fault.MethodNotAllowed: 405,
		fault.WorkspaceNotFound: 404, fault.FileNotFound: 404, fault.PreconditionFailed: 412,
		fault.Conflict: 409, fault.PayloadTooLarge: 413, fault.UnsupportedMediaType: 415,
		fault.RangeNotSatisfiable: 416,
		fault.RateLimitExceeded:   429, fault.QueueFull: 429, fault.InternalError: 500, fault.ServiceUnavailable: 503,
		"?": 500,
	} {
		if got := server.StatusOf(code); got != want {
			t.Errorf("%s: got %d; want %d", code, got, want)
		}
	}
}

func TestARequestWithoutAValidTokenIsChallenged(t *testing.T) {
	h := apitest.Open(t)
	tests := map[string]struct {
		headers []string
		code    string
		asked   string // the challenge
	}{
		"no token": {nil, "AUTHENTICATION_REQUIRED", `Bearer realm="boomerang"`},
		"another scheme": {
			[]string{"Authorization: Basic YTpi"},
			"AUTHENTICATION_REQUIRED",
			`Bearer realm="boomerang"`,
		},
		"no scheme": {
			[]string{"Authorization: " + h.Ann},
			"AUTHENTICATION_REQUIRED",
			`Bearer realm="boomerang"`,
		},
		"the scheme alone": {[]string{"Authorization: Bearer"}, "AUTHENTICATION_REQUIRED", `Bearer realm="boomerang"`},
		"a token of no one": {
			[]string{"Authorization: Bearer x.y.z"},
			"INVALID_TOKEN",
			`Bearer realm="boomerang", error="invalid_token", error_description="`,
		},
		"two tokens": {
			[]string{"Authorization: Bearer " + h.Ann, "Authorization: Bearer " + h.Bob},
			"INVALID_TOKEN", `error="invalid_token"`,
		},
		"an API key": {[]string{"X-API-Key: " + h.Ann}, "AUTHENTICATION_REQUIRED", `Bearer realm="boomerang"`},
	}
	for name, test := range tests {
		for _, call := range [][2]string{
			{http.MethodPost, "/execute/async"},
			{http.MethodGet, "/executions"},
			{http.MethodGet, "/executions/exec_00000000000000000000000000"},
			{http.MethodPost, "/executions/exec_00000000000000000000000000/cancel"},
			{http.MethodGet, "/executions/exec_00000000000000000000000000/output"},
		} {
			a := h.Call(call[0], call[1], "", "", test.headers...)
			if a.Status != http.StatusUnauthorized || a.JSON(t)["code"] != test.code ||
				!strings.Contains(a.Header.Get("WWW-Authenticate"), test.asked) {
				t.Errorf("%s, %s: got %d %s, challenge %q; want 401 %s", name, call[1], a.Status, a.Body,
					a.Header.Get("WWW-Authenticate"), test.code)
			}
		}
	}
}

func TestTheSchemeIsReadInAnyCase(t *testing.T) {
	h := apitest.Open(t)
	if a := h.Get("/executions", "", "Authorization: bEARER  "+h.Ann); a.Status != http.StatusOK {
		t.Errorf("got %d %s; want 200 (RFC 9110, section 11.1)", a.Status, a.Body)
	}
}

func TestAnErrorHasItsShape(t *testing.T) {
	a := apitest.Open(t).Get("/executions/nonsense?wait=1", "", "X-Request-ID: mine-1")
	got := a.JSON(t)
	if got["error"] != got["message"] || got["error"] == "" {
		t.Errorf("got error %q and message %q; want one sentence in both", got["error"], got["message"])
	}
	if got["request_id"] != "mine-1" || a.Header.Get("X-Request-ID") != "mine-1" {
		t.Errorf("got request id %v and %q; want mine-1", got["request_id"], a.Header.Get("X-Request-ID"))
	}
	if got["path"] != "/executions/nonsense" {
		t.Errorf("got path %v; want it without the query", got["path"])
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("got content type %q; want application/json", got)
	}
}

func TestARequestIDThatCouldHarmIsReplaced(t *testing.T) {
	h := apitest.Open(t)
	seen := map[string]bool{}
	for _, id := range []string{"", "a b", "a\"b", strings.Repeat("a", 65), "ü"} {
		got := h.Get("/healthz", "", "X-Request-ID: "+id).Header.Get("X-Request-ID")
		if !strings.HasPrefix(got, "req_") || seen[got] {
			t.Errorf("%q: got %q; want a fresh one", id, got)
		}
		seen[got] = true
	}
}

func TestUnknownRoutesAndMethodsAreToldInTheSameShape(t *testing.T) {
	h := apitest.Open(t)
	tests := []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/", 404, "ROUTE_NOT_FOUND", ""},
		{"GET", "/executions/", 404, "ROUTE_NOT_FOUND", ""},
		{"GET", "//executions", 404, "ROUTE_NOT_FOUND", ""},
		{"GET", "/executions/../health", 404, "ROUTE_NOT_FOUND", ""},
		{"GET", "/debug/pprof/", 404, "ROUTE_NOT_FOUND", ""},
		{"POST", "/execute/async/", 404, "ROUTE_NOT_FOUND", ""},
		{"GET", "/execute/async", 405, "METHOD_NOT_ALLOWED", "POST, OPTIONS"},
		{"DELETE", "/executions", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
		{"PUT", "/executions/x", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
		{"GET", "/executions/x/cancel", 405, "METHOD_NOT_ALLOWED", "POST, OPTIONS"},
		{"TRACE", "/health", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
		{"BREW", "/health", 405, "METHOD_NOT_ALLOWED", "GET, HEAD, OPTIONS"},
	}
	for _, test := range tests {
		a := h.Call(test.method, test.path, "", "")
		if a.Status != test.status || a.JSON(t)["code"] != test.code || a.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: got %d, Allow %q: %s; want %d %s, Allow %q",
				test.method, test.path, a.Status, a.Header.Get("Allow"), a.Body, test.status, test.code, test.allow)
		}
	}
	if a := h.Call(http.MethodOptions, "/execute/async", "", ""); a.Status != http.StatusNoContent ||
		a.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("OPTIONS: got %d, Allow %q; want 204, POST, OPTIONS", a.Status, a.Header.Get("Allow"))
	}
	if a := h.Call(http.MethodHead, "/health", "", ""); a.Status != http.StatusOK || a.Body != "" ||
		a.Header.Get("Content-Length") == "" {
		t.Errorf("HEAD: got %d, %q; want the headers of GET", a.Status, a.Body)
	}
}

func TestEveryAnswerIsClosedToBrowsersAndCaches(t *testing.T) {
	h := apitest.Open(t)
	for _, path := range []string{"/health", "/nothing", "/executions", "/openapi.yaml"} {
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
		} {
			if got := h.Get(path, "").Header.Get(name); got != want {
				t.Errorf("%s: got %s: %q; want %q", path, name, got, want)
			}
		}
	}
}

// broken are records whose Get is that of a test.
type broken struct {
	apitest.Records
	get func() (execution.Execution, error)
}

func (b broken) Get(context.Context, execution.ID) (execution.Execution, error) { return b.get() }

func TestACauseGoesToTheLogAndNotToTheClient(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Records = broken{d.Records, func() (execution.Execution, error) {
			return execution.Execution{}, errors.New("open /var/lib/SECRET: no such table")
		}}
	})
	a := h.Get("/executions/exec_00000000000000000000000000", h.Ann, "X-Request-ID: r1")
	if a.Status != http.StatusInternalServerError || a.JSON(t)["code"] != "INTERNAL_ERROR" ||
		strings.Contains(a.Body, "SECRET") {
		t.Errorf("got %d %s; want 500 INTERNAL_ERROR without the cause", a.Status, a.Body)
	}
	line := h.Line("r1")
	if cause, _ := line.Data["error"].(error); line.Level != logrus.ErrorLevel || cause == nil ||
		!strings.Contains(cause.Error(), "SECRET") {
		t.Errorf("got %v %v; want the cause in a line of level error", line.Level, line.Data)
	}
}

func TestAPanicIsAnInternalErrorWithItsStackInTheLog(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Records = broken{d.Records, func() (execution.Execution, error) { panic("SECRET") }}
	})
	a := h.Get("/executions/exec_00000000000000000000000000", h.Ann, "X-Request-ID: r1")
	if a.Status != http.StatusInternalServerError || a.JSON(t)["code"] != "INTERNAL_ERROR" ||
		strings.Contains(a.Body, "SECRET") {
		t.Errorf("got %d %s; want 500 INTERNAL_ERROR without the cause", a.Status, a.Body)
	}
	line := h.Line("r1")
	if stack, _ := line.Data["stack"].(string); line.Level != logrus.ErrorLevel ||
		!strings.Contains(stack, "errors_test.go") {
		t.Errorf("got %v %v; want the stack in a line of level error", line.Level, line.Data)
	}
	if a := h.Get("/health", ""); a.Status != http.StatusOK {
		t.Errorf("after the panic: got %d; want 200", a.Status)
	}
}

// route adds a public route to a fixture.
func route(path string, answer func(http.ResponseWriter) error) func(*server.Config, *apitest.Deps) {
	return func(_ *server.Config, d *apitest.Deps) {
		d.Extra.Routes = append(d.Extra.Routes, server.Route{
			Method: http.MethodGet, Path: path, Auth: server.Public,
			Handle: func(w http.ResponseWriter, _ *http.Request, _ auth.Principal) error { return answer(w) },
		})
	}
}

func TestAnAnswerThatWasBegunIsNotAddedTo(t *testing.T) {
	h := apitest.Open(t, route("/begun", func(w http.ResponseWriter) error {
		_, _ = w.Write([]byte("begun"))
		return errors.New("too late")
	}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/begun", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Request-ID", "r1")
	if a := h.Send(r); a.Body != "begun" {
		t.Errorf("got %q; want nothing behind what was begun", a.Body)
	}
	if line := h.Line("r1"); line.Level != logrus.ErrorLevel {
		t.Errorf("got level %s; want the error logged all the same", line.Level)
	}
}

func TestAnAnswerThatPanicsHalfWayIsCutOff(t *testing.T) {
	h := apitest.Open(t, route("/half", func(w http.ResponseWriter) error {
		_, _ = w.Write([]byte(strings.Repeat("x", 10_000)))
		panic("half way")
	}))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/half", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return // cut off before the headers
	}
	defer response.Body.Close() //nolint:errcheck // it is expected to fail
	if body, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got %d bytes and no error; want an apitest.Answer that is seen to be cut off", len(body))
	}
}

func TestTheLogHasOneLineForEachRequestWithoutItsQuery(t *testing.T) {
	h := apitest.Open(t)
	h.Get("/executions?status=failed&cursor=SECRET", h.Ann, "X-Request-ID: r2")
	line := h.Line("r2")
	if line.Level != logrus.DebugLevel || line.Data["path"] != "/executions" || line.Data["status"] != 400 ||
		line.Data["subject"] != "ann" {
		t.Errorf("got %v %v; want one debug line with path, status and subject", line.Level, line.Data)
	}
	if text, err := line.String(); err != nil || strings.Contains(text, "SECRET") {
		t.Errorf("got %s, %v; want a line without the query", text, err)
	}
}
