package hopx_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"boomerang/internal/hopx"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func key(k string) string { return server.APIKeyHeader + ": " + k }

func TestASandboxLeadsToTheSubjectOfTheKey(t *testing.T) {
	h := apitest.Open(t)
	a := h.Call(http.MethodPost, "/v1/sandboxes", "", `{"template_name":"code-interpreter","timeout_seconds":60}`,
		apitest.AsJSON, key(h.AnnKey))
	made := a.JSON(t)
	id, _ := made["id"].(string)
	token, _ := made["auth_token"].(string)
	if a.Status != http.StatusOK || made["template_name"] != "code-interpreter" || made["public_host"] != h.URL {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	if e := h.Submit(token, apitest.Hello); h.Get("/executions/"+string(e), h.Ann).Status != http.StatusOK {
		t.Error("what was run with the sandbox's token is not the subject's")
	}
	if got := h.Get("/v1/sandboxes/"+id, "", key(h.AnnKey)).JSON(t); got["id"] != id || got["status"] != "running" ||
		got["auth_token"] != nil {
		t.Errorf("got %v; want it running", got)
	}
	if got := h.Get("/v1/sandboxes/another", "", key(h.AnnKey)).JSON(t); got["id"] != "another" {
		t.Errorf("got %v; want any name to lead here", got)
	}
	if got := h.Call(http.MethodDelete, "/v1/sandboxes/"+id, "", "", key(h.AnnKey)); got.Status != http.StatusOK {
		t.Errorf("got %d %s; want it deleted", got.Status, got.Body)
	}
	if got := h.Get("/v1/sandboxes", "", key(h.AnnKey)); got.Status != http.StatusOK ||
		!strings.Contains(got.Body, `"data":[]`) {
		t.Errorf("got %d %s; want none", got.Status, got.Body)
	}

	admins, _ := h.Call(http.MethodPost, "/v1/sandboxes/x/token/refresh", "", "", key(h.AdminKey)).
		JSON(t)["auth_token"].(string)
	h.Submit(h.Bob, apitest.Hello)
	for token, sees := range map[string]float64{token: 1, admins: 2} {
		if got := h.Get("/executions", token).JSON(t)["count"]; got != sees {
			t.Errorf("got %v executions; want %v, by the scopes of the key", got, sees)
		}
	}
}

func TestAnExpiryIsNeverLaterThanTheTokens(t *testing.T) {
	h := apitest.Open(t)
	got := h.Call(http.MethodPost, "/v1/sandboxes/x/token/refresh", "", "", key(h.AnnKey)).JSON(t)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(got["token_expires_at"]))
	if err != nil || at.Nanosecond() != 0 || time.Until(at) > hopx.TokenLife || time.Until(at) < time.Hour {
		t.Errorf("got %v, %v; want whole seconds within %s", got["token_expires_at"], err, hopx.TokenLife)
	}
}

func TestControlErrorsAreNested(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Rate.PerSubject = 4 })
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"no key", http.MethodGet, "/v1/sandboxes/x", "", nil, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED"},
		{
			"a wrong key", http.MethodGet, "/v1/sandboxes/x", "",
			[]string{key(h.AnnKey + "x")},
			http.StatusUnauthorized,
			"INVALID_TOKEN",
		},
		{
			"two keys", http.MethodGet, "/v1/sandboxes/x", "",
			[]string{key(h.AnnKey), key(h.AnnKey)},
			http.StatusUnauthorized, "INVALID_TOKEN",
		},
		{
			"a token", http.MethodGet, "/v1/sandboxes/x", "",
			[]string{"Authorization: Bearer " + h.Ann},
			http.StatusUnauthorized, "AUTHENTICATION_REQUIRED",
		},
		{
			"a token as a key", http.MethodGet, "/v1/sandboxes/x", "",
			[]string{key(h.Ann)},
			http.StatusUnauthorized,
			"INVALID_TOKEN",
		},
		{
			"a name that is none", http.MethodGet, "/v1/sandboxes/a%20b", "",
			[]string{key(h.AnnKey)},
			http.StatusBadRequest, "INVALID_REQUEST",
		},
		{
			"no JSON", http.MethodPost, "/v1/sandboxes", "{",
			[]string{key(h.AnnKey), apitest.AsJSON},
			http.StatusBadRequest, "INVALID_JSON",
		},
		{
			"another type", http.MethodPost, "/v1/sandboxes", "{}",
			[]string{key(h.AnnKey)},
			http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE",
		},
		{
			"a number", http.MethodPost, "/v1/sandboxes", `{"template_name":1}`,
			[]string{key(h.AnnKey), apitest.AsJSON},
			http.StatusBadRequest, "INVALID_REQUEST",
		},
		{
			"too many", http.MethodGet, "/v1/sandboxes/x", "",
			[]string{key(h.AnnKey)},
			http.StatusTooManyRequests,
			"RATE_LIMIT_EXCEEDED",
		},
		{"no such route", http.MethodPost, "/v1/templates", "", nil, http.StatusNotFound, "ROUTE_NOT_FOUND"},
		{
			"another method", http.MethodPut, "/v1/sandboxes/x", "", nil, http.StatusMethodNotAllowed,
			"METHOD_NOT_ALLOWED",
		},
	} {
		a := h.Call(test.method, test.path, "", test.body, test.headers...)
		nested, _ := a.JSON(t)["error"].(map[string]any)
		if message, _ := nested["message"].(string); a.Status != test.status || nested["code"] != test.code ||
			message == "" {
			t.Errorf("%s: got %d %s; want %d %s", test.name, a.Status, a.Body, test.status, test.code)
		}
		challenge := a.Header.Get("WWW-Authenticate")
		if (challenge != "") != (test.status == http.StatusUnauthorized) {
			t.Errorf("%s: got the challenge %q", test.name, challenge)
		}
	}
	for _, entry := range h.Log.AllEntries() {
		if line, err := entry.String(); err != nil || strings.Contains(line, h.AnnKey) {
			t.Errorf("the log holds a key, %v: %s", err, line)
		}
	}
	if a := h.Get("/executions", "", key(h.AnnKey)); a.Status != http.StatusUnauthorized {
		t.Errorf("an API key ran something: got %d %s", a.Status, a.Body)
	}
}

func TestThePublicURLIsThatOfTheRequestUnlessConfigured(t *testing.T) {
	loopback := func(c *server.Config, _ *apitest.Deps) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	public := func(url string) func(*server.Config, *apitest.Deps) {
		return func(c *server.Config, _ *apitest.Deps) { c.PublicURL = url }
	}
	for name, test := range map[string]struct {
		change func(*server.Config, *apitest.Deps)
		proto  string
		want   string
	}{
		"alone":                     {func(*server.Config, *apitest.Deps) {}, "", "http://"},
		"a stranger says https":     {func(*server.Config, *apitest.Deps) {}, "https", "http://"},
		"a trusted proxy":           {loopback, "https", "https://"},
		"a trusted proxy, in plain": {loopback, "http", "http://"},
		"a trusted proxy, nonsense": {loopback, "javascript", "http://"},
		"the operator": {
			public("https://boomerang.example.com/api/"), "http",
			"https://boomerang.example.com/api",
		},
	} {
		h := apitest.Open(t, test.change)
		want := test.want
		if strings.HasSuffix(want, "//") {
			want += strings.TrimPrefix(h.URL, "http://")
		}
		if got := h.Get("/v1/sandboxes/x", "", key(h.AnnKey), "X-Forwarded-Proto: "+test.proto).
			JSON(t)["public_host"]; got != want {
			t.Errorf("%s: got %v; want %s", name, got, want)
		}
	}
}
