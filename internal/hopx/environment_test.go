package hopx_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
)

func TestTheDefaultEnvironmentOverHTTP(t *testing.T) {
	h := apitest.Open(t)
	env := func(method, body string) map[string]any {
		t.Helper()
		a := h.Call(method, "/env", h.Ann, body, apitest.AsJSON)
		vars, _ := a.JSON(t)["env_vars"].(map[string]any)
		if a.Status != http.StatusOK || a.JSON(t)["count"] != float64(len(vars)) {
			t.Fatalf("%s %s: got %d %s", method, body, a.Status, a.Body)
		}
		return vars
	}
	for _, step := range []struct {
		method, body string
		want         map[string]any
	}{
		{http.MethodGet, "", map[string]any{}},
		{
			http.MethodPatch, `{"env_vars":{"DEBUG":"true","API_KEY":"CANARY"},"merge":true}`,
			map[string]any{"DEBUG": "true", "API_KEY": admission.Mask},
		},
		{
			http.MethodPatch, `{"env_vars":{"A":"1"}}`,
			map[string]any{"A": "1", "DEBUG": "true", "API_KEY": admission.Mask},
		},
		// The JavaScript client deletes DEBUG by a PUT of the other variables as they were shown.
		{
			http.MethodPut, `{"env_vars":{"A":"1","API_KEY":"` + admission.Mask + `"}}`,
			map[string]any{"A": "1", "API_KEY": admission.Mask},
		},
		{http.MethodGet, "", map[string]any{"A": "1", "API_KEY": admission.Mask}},
	} {
		if got := env(step.method, step.body); !maps.Equal(got, step.want) {
			t.Errorf("%s %s: got %v; want %v", step.method, step.body, got, step.want)
		}
	}
	if a := h.Get("/env", h.Bob); a.JSON(t)["count"] != 0.0 {
		t.Errorf("another subject: got %s; want nothing", a.Body)
	}

	id := h.Background(h.Ann, `{"code":"1","env":{"A":"asked"}}`)
	claimed, err := h.Store.Claim(t.Context(), 1, execution.ClaimLimits{})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	plain, err := h.Keys.Unseal(id, execution.FieldEnv, claimed[0].Env)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(plain, &got); err != nil ||
		!maps.Equal(got, map[string]string{"A": "asked", "API_KEY": "CANARY"}) {
		t.Errorf("the program has %v, %v; want its own over the default", got, err)
	}
	sealed, err := h.Store.Environment(t.Context(), "ann")
	if err != nil || len(sealed) == 0 || strings.Contains(string(sealed), "CANARY") {
		t.Errorf("stored %q, %v; want it sealed", sealed, err)
	}

	for body, field := range map[string]string{
		`{}`: "env_vars", `{"env_vars":null}`: "env_vars", `{"env_vars":{"A":1}}`: "env_vars",
		`{"env_vars":{"1":"A"}}`:                        "env_vars",
		`{"env_vars":{"NEW":"` + admission.Mask + `"}}`: "env_vars",
	} {
		a := h.Call(http.MethodPut, "/env", h.Ann, body, apitest.AsJSON)
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%s: got %d %s; want 400", body, a.Status, a.Body)
		}
	}
	if got := env(http.MethodDelete, ""); len(got) != 0 {
		t.Errorf("deleted: got %v; want nothing", got)
	}
	if got := env(http.MethodPut, `{"env_vars":{}}`); len(got) != 0 {
		t.Errorf("emptied: got %v; want nothing", got)
	}
	for _, entry := range h.Log.AllEntries() {
		if line, err := entry.String(); err != nil || strings.Contains(line, "CANARY") {
			t.Errorf("the log holds a value, %v: %s", err, line)
		}
	}
}
