package httpapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func key(k string) string { return apiKeyHeader + ": " + k }

func TestASandboxLeadsToTheSubjectOfTheKey(t *testing.T) {
	h := open(t)
	a := h.call(http.MethodPost, "/v1/sandboxes", "", `{"template_name":"code-interpreter","timeout_seconds":60}`, asJSON, key(h.annKey))
	made := a.json(t)
	id, _ := made["id"].(string)
	token, _ := made["auth_token"].(string)
	if a.status != http.StatusOK || made["template_name"] != "code-interpreter" || made["public_host"] != h.url {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if e := h.submit(token, hello); h.get("/executions/"+string(e), h.ann).status != http.StatusOK {
		t.Error("what was run with the sandbox's token is not the subject's")
	}
	if got := h.get("/v1/sandboxes/"+id, "", key(h.annKey)).json(t); got["id"] != id || got["status"] != "running" || got["auth_token"] != nil {
		t.Errorf("got %v; want it running", got)
	}
	if got := h.get("/v1/sandboxes/another", "", key(h.annKey)).json(t); got["id"] != "another" {
		t.Errorf("got %v; want any name to lead here", got)
	}
	if got := h.call(http.MethodDelete, "/v1/sandboxes/"+id, "", "", key(h.annKey)); got.status != http.StatusOK {
		t.Errorf("got %d %s; want it deleted", got.status, got.body)
	}
	if got := h.get("/v1/sandboxes", "", key(h.annKey)); got.status != http.StatusOK || !strings.Contains(got.body, `"data":[]`) {
		t.Errorf("got %d %s; want none", got.status, got.body)
	}

	admins, _ := h.call(http.MethodPost, "/v1/sandboxes/x/token/refresh", "", "", key(h.adminKey)).json(t)["auth_token"].(string)
	h.submit(h.bob, hello)
	for token, sees := range map[string]float64{token: 1, admins: 2} {
		if got := h.get("/executions", token).json(t)["count"]; got != sees {
			t.Errorf("got %v executions; want %v, by the scopes of the key", got, sees)
		}
	}
}

func TestAnExpiryIsNeverLaterThanTheTokens(t *testing.T) {
	h := open(t)
	got := h.call(http.MethodPost, "/v1/sandboxes/x/token/refresh", "", "", key(h.annKey)).json(t)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(got["token_expires_at"]))
	if err != nil || at.Nanosecond() != 0 || time.Until(at) > tokenLife || time.Until(at) < time.Hour {
		t.Errorf("got %v, %v; want whole seconds within %s", got["token_expires_at"], err, tokenLife)
	}
}

func TestControlErrorsAreNested(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Rate.PerSubject = 4 })
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
	}{
		{"no key", http.MethodGet, "/v1/sandboxes/x", "", nil, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED"},
		{"a wrong key", http.MethodGet, "/v1/sandboxes/x", "", []string{key(h.annKey + "x")}, http.StatusUnauthorized, "INVALID_TOKEN"},
		{"two keys", http.MethodGet, "/v1/sandboxes/x", "", []string{key(h.annKey), key(h.annKey)}, http.StatusUnauthorized, "INVALID_TOKEN"},
		{"a token", http.MethodGet, "/v1/sandboxes/x", "", []string{"Authorization: Bearer " + h.ann}, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED"},
		{"a token as a key", http.MethodGet, "/v1/sandboxes/x", "", []string{key(h.ann)}, http.StatusUnauthorized, "INVALID_TOKEN"},
		{"a name that is none", http.MethodGet, "/v1/sandboxes/a%20b", "", []string{key(h.annKey)}, http.StatusBadRequest, "INVALID_REQUEST"},
		{"no JSON", http.MethodPost, "/v1/sandboxes", "{", []string{key(h.annKey), asJSON}, http.StatusBadRequest, "INVALID_JSON"},
		{"another type", http.MethodPost, "/v1/sandboxes", "{}", []string{key(h.annKey)}, http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE"},
		{"a number", http.MethodPost, "/v1/sandboxes", `{"template_name":1}`, []string{key(h.annKey), asJSON}, http.StatusBadRequest, "INVALID_REQUEST"},
		{"too many", http.MethodGet, "/v1/sandboxes/x", "", []string{key(h.annKey)}, http.StatusTooManyRequests, "RATE_LIMIT_EXCEEDED"},
		{"no such route", http.MethodPost, "/v1/templates", "", nil, http.StatusNotFound, "ROUTE_NOT_FOUND"},
		{"another method", http.MethodPut, "/v1/sandboxes/x", "", nil, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"},
	} {
		a := h.call(test.method, test.path, "", test.body, test.headers...)
		nested, _ := a.json(t)["error"].(map[string]any)
		if message, _ := nested["message"].(string); a.status != test.status || nested["code"] != test.code || message == "" {
			t.Errorf("%s: got %d %s; want %d %s", test.name, a.status, a.body, test.status, test.code)
		}
		if challenge := a.header.Get("WWW-Authenticate"); (challenge != "") != (test.status == http.StatusUnauthorized) {
			t.Errorf("%s: got the challenge %q", test.name, challenge)
		}
	}
	for _, entry := range h.log.AllEntries() {
		if line, err := entry.String(); err != nil || strings.Contains(line, h.annKey) {
			t.Errorf("the log holds a key, %v: %s", err, line)
		}
	}
	if a := h.get("/executions", "", key(h.annKey)); a.status != http.StatusUnauthorized {
		t.Errorf("an API key ran something: got %d %s", a.status, a.body)
	}
}

func TestThePublicURLIsWhatTheRequestWasSentTo(t *testing.T) {
	loopback := func(c *Config, _ *Deps) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	public := func(url string) func(*Config, *Deps) { return func(c *Config, _ *Deps) { c.PublicURL = url } }
	for name, test := range map[string]struct {
		change func(*Config, *Deps)
		proto  string
		want   string
	}{
		"alone":                     {func(*Config, *Deps) {}, "", "http://"},
		"a stranger says https":     {func(*Config, *Deps) {}, "https", "http://"},
		"a trusted proxy":           {loopback, "https", "https://"},
		"a trusted proxy, in plain": {loopback, "http", "http://"},
		"a trusted proxy, nonsense": {loopback, "javascript", "http://"},
		"the operator":              {public("https://boomerang.example.com/api/"), "http", "https://boomerang.example.com/api"},
	} {
		h := open(t, test.change)
		want := test.want
		if strings.HasSuffix(want, "//") {
			want += strings.TrimPrefix(h.url, "http://")
		}
		if got := h.get("/v1/sandboxes/x", "", key(h.annKey), "X-Forwarded-Proto: "+test.proto).json(t)["public_host"]; got != want {
			t.Errorf("%s: got %v; want %s", name, got, want)
		}
	}
}
