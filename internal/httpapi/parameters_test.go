package httpapi

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/client"
	"boomerang/internal/execution"
)

// target is a path that the route has, of an execution and of a workspace that are there.
func (t route) target(id execution.ID) string {
	return strings.NewReplacer("{path"+anything+"}", "f", "{id}", string(id), "{name}", "w").Replace(t.path)
}

// furnished is a house in which ann and root have a workspace "w" with a file "f", and ann an execution that has ended.
func furnished(t *testing.T) (*house, execution.ID) {
	t.Helper()
	h := open(t)
	h.put("/workspaces/w/files/f", h.ann, "ann's").expect(t, http.StatusCreated, "")
	h.put("/workspaces/w/files/f", h.admin, "root's").expect(t, http.StatusCreated, "")
	id := h.leaving(execution.Leavings{}, execution.Artifact{Path: "f", Mode: 0o600, Blob: h.keep("left")})
	return h, id
}

// strict lists the routes that check their query.
func (h *house) strict() []route {
	return slices.DeleteFunc(h.api.table(), func(t route) bool { return t.query.lenient })
}

// refuses fails unless the answer is 400 INVALID_REQUEST with this sentence about this field.
func (a answer) refuses(t *testing.T, what, field, sentence string) {
	t.Helper()
	v := a.json(t)
	details, _ := v["details"].(map[string]any)
	if a.status != http.StatusBadRequest || v["code"] != "INVALID_REQUEST" || v["message"] != sentence || details["field"] != field {
		t.Errorf("%s: got %d %s; want 400 about %s: %s", what, a.status, a.body, field, sentence)
	}
}

func TestEveryRouteOfOursRefusesAParameterThatItDoesNotHave(t *testing.T) {
	h, id := furnished(t)
	for _, r := range h.strict() {
		token := h.ann
		if r.path == "/healthz" || r.path == "/readyz" || r.path == "/openapi.yaml" {
			token = ""
		}
		a := h.call(r.method, r.target(id)+"?Limit=1", token, "")
		a.refuses(t, r.method+" "+r.path, "Limit", `"Limit" is not a query parameter of this route; `+r.query.String()+".")
		if token != "" {
			h.call(r.method, r.target(id)+"?Limit=1", "", "").expect(t, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED")
		}
	}
	if got := h.get("/workspaces/w/files/f", h.ann); got.body != "ann's" {
		t.Errorf("the file is %q now; want it as it was", got.body)
	}
	if n := len(h.strict()); n < 20 {
		t.Errorf("%d routes were tried", n)
	}
}

func TestARouteSaysWhichParametersItHas(t *testing.T) {
	h, id := furnished(t)
	for path, want := range map[string]string{
		"/executions/" + string(id) + "/callback?x=1": `"x" is not a query parameter of this route; it has none.`,
		"/executions/" + string(id) + "?x=1":          `"x" is not a query parameter of this route; it has wait.`,
		"/workspaces?x=1":                             `"x" is not a query parameter of this route; it has subject, limit and cursor.`,
	} {
		h.get(path, h.ann).refuses(t, path, "x", want)
	}
}

func TestEveryParameterIsGivenOnceWithAValue(t *testing.T) {
	h, id := furnished(t)
	for _, r := range h.strict() {
		for _, name := range r.query.names {
			what := r.method + " " + r.path + " " + name
			a := h.call(r.method, r.target(id)+"?"+name+"=1&"+name+"=1", h.admin, "")
			a.refuses(t, what, name, name+" must be given once, not 2 times.")
			for _, empty := range []string{name, name + "="} {
				if name == "cursor" || name == "prefix" { // which begin at the beginning, and hold everything
					h.call(r.method, r.target(id)+"?"+empty, h.admin, "").expect(t, http.StatusOK, "")
					continue
				}
				a = h.call(r.method, r.target(id)+"?"+empty, h.admin, "")
				a.refuses(t, what, name, name+" must not be empty; leave it out if you do not need it.")
			}
			a = h.call(r.method, r.target(id)+"?"+name+"=%ff", h.admin, "")
			a.refuses(t, what, name, name+" must be UTF-8.")
		}
	}
	if got := h.get("/workspaces/w/files/f", h.admin); got.body != "root's" {
		t.Errorf("the file is %q now; want it as it was", got.body)
	}
}

func TestAQueryThatCannotBeReadIsExplained(t *testing.T) {
	h, _ := furnished(t)
	for query, want := range map[string]string{
		"limit=%zz":       `The query of the URL has "%zz" in it, which is not a percent sign with two hexadecimal digits.`,
		"limit=50%":       `The query of the URL has "%" in it, which is not a percent sign with two hexadecimal digits.`,
		"limit=1;x=2":     "The query of the URL has a semicolon in it; write & between parameters, and %3B in a value.",
		"limit=9999":      "limit must be a whole number from 1 to 200.",
		"limit=1.5":       "limit must be a whole number from 1 to 200.",
		"limit=-1":        "limit must be a whole number from 1 to 200.",
		"limit=all":       "limit must be a whole number from 1 to 200.",
		"limit=%31%30":    "",
		"since=yesterday": "since must be a time like 2025-01-28T00:00:00Z (RFC 3339, a + written as %2B).",
		"status=done":     "status must be one or more of queued, running, completed, failed, timeout, cancelled, separated by commas.",
	} {
		a := h.get("/executions?"+query, h.ann)
		if message, _ := a.json(t)["message"].(string); message != want || (a.status == http.StatusOK) != (want == "") {
			t.Errorf("%s: got %d %q; want %q", query, a.status, message, want)
		}
	}
}

func TestSubjectIsForAdministrators(t *testing.T) {
	h, id := furnished(t)
	h.put("/workspaces/w/files/f", h.bob, "bob's").expect(t, http.StatusCreated, "")
	tried := 0
	for _, r := range h.strict() {
		if !slices.Contains(r.query.names, subjectParameter) {
			continue
		}
		tried++
		for _, subject := range []string{"ann", "bob", "nobody"} { // also their own: what is refused does not depend on a name
			a := h.call(r.method, r.target(id)+"?subject="+subject, h.bob, "changed")
			if v := a.json(t); a.status != http.StatusForbidden || v["code"] != "FORBIDDEN" || v["message"] != "subject is for tokens with the scope admin." {
				t.Errorf("%s %s of %s: got %d %s; want 403", r.method, r.path, subject, a.status, a.body)
			}
		}
	}
	if tried < 7 {
		t.Errorf("%d routes were tried", tried)
	}
	for token, want := range map[string]string{h.ann: "ann's", h.bob: "bob's"} {
		if got := h.get("/workspaces/w/files/f", token); got.body != want {
			t.Errorf("the file is %q now; want %q", got.body, want)
		}
	}
}

func TestAnAdministratorActsForASubject(t *testing.T) {
	h, id := furnished(t)
	for _, r := range h.strict() {
		if r.method == http.MethodDelete || !slices.Contains(r.query.names, subjectParameter) {
			continue
		}
		if a := h.call(r.method, r.target(id)+"?subject=ann", h.admin, "new"); a.status >= 300 {
			t.Errorf("%s %s: got %d %s", r.method, r.path, a.status, a.body)
		}
	}
	if got := h.get("/workspaces/w/files/f", h.ann); got.body != "new" {
		t.Errorf("ann's file is %q; want that of the administrator", got.body)
	}
	h.call(http.MethodDelete, "/workspaces/w/files/f?subject=ann", h.admin, "").expect(t, http.StatusNoContent, "")
	h.get("/workspaces/w/files/f", h.ann).expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.call(http.MethodDelete, "/workspaces/w?subject=ann", h.admin, "").expect(t, http.StatusNoContent, "")
	h.get("/workspaces/w", h.ann).expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
	if got := h.get("/workspaces/w/files/f", h.admin); got.body != "root's" {
		t.Errorf("the administrator's own file is %q; want it as it was", got.body)
	}
	for _, subject := range []string{strings.Repeat("x", 256), "a\n"} {
		a := h.call(http.MethodPut, "/workspaces/w/files/f?subject="+url.QueryEscape(subject), h.admin, "x")
		a.refuses(t, "a subject that no token has", "subject", "subject must be 1 to 255 bytes without control characters.")
	}
}

// HopX's clients may send parameters that we do not know.
func TestARouteOfHopXIgnoresParametersThatItDoesNotHave(t *testing.T) {
	h, _ := furnished(t)
	for _, path := range []string{"/execute/processes", "/env", "/info", "/metrics/snapshot", "/health", "/files/list?path=/workspace"} {
		joint := "?"
		if strings.Contains(path, "?") {
			joint = "&"
		}
		if a := h.get(path+joint+"Limit=1&Limit=2&other", h.ann); a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	for _, path := range []string{"/execute/async", "/execute/background"} {
		if a := h.call(http.MethodPost, path+"?v=2", h.ann, hello, asJSON); a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
}

func TestTheDescriptionAndTheRoutesKnowTheSameParameters(t *testing.T) {
	described, declared := map[string][]string{}, map[string][]string{}
	for path, item := range description(t).doc.Paths.Map() {
		for method, operation := range item.Operations() {
			names := []string{}
			for _, p := range slices.Concat(item.Parameters, operation.Parameters) {
				if p.Value.In == "query" {
					names = append(names, p.Value.Name)
				}
			}
			slices.Sort(names)
			described[method+" "+path] = names
		}
	}
	for _, r := range open(t).api.table() {
		declared[r.method+" "+strings.ReplaceAll(r.path, anything, "")] = slices.Sorted(slices.Values(r.query.names))
	}
	for path := range maps.Keys(declared) {
		if declared[path] == nil {
			declared[path] = []string{}
		}
	}
	if diff := cmp.Diff(described, declared); diff != "" {
		t.Errorf("-openapi.yaml +routes\n%s", diff)
	}
}

func TestOurClientSendsOnlyParametersThatTheRoutesHave(t *testing.T) {
	h, id := furnished(t)
	c, err := client.New(h.url, h.ann)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	all := client.DeliveryFilter{
		States: []execution.DeliveryState{execution.Pending}, Destination: "https://example.com", Since: moment(0), Until: moment(9), Limit: 1,
	}
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	_, err = c.Workspaces(ctx)
	try(err)
	for _, prefix := range []string{"", "f"} {
		_, err = c.WorkspaceFiles(ctx, "w", prefix)
		try(err)
	}
	try(c.PutFile(ctx, "w", "g", "755", strings.NewReader("x")))
	try(c.GetFile(ctx, "w", "g", io.Discard))
	try(c.DeleteFile(ctx, "w", "g"))
	try(c.DeleteWorkspace(ctx, "w"))
	for _, f := range []client.DeliveryFilter{{}, all} {
		_, _, err = c.Deliveries(ctx, f)
		try(err)
		_, err = c.Recover(ctx, f.Since, f.Destination)
		try(err)
	}
	_, err = c.Get(ctx, id, 0)
	try(err)
	_, err = c.Output(ctx, id, execution.Stderr)
	try(err)
	left, err := c.Artifacts(ctx, id)
	try(err)
	if len(left.Artifacts) != 1 || left.Artifacts[0].Path != "f" || left.Cut != nil {
		t.Fatalf("artifacts: %+v", left)
	}
	try(c.Artifact(ctx, id, left.Artifacts[0], io.Discard))
	_, err = c.Cancel(ctx, id)
	try(err)
	_, err = c.Delivery(ctx, id)
	try(err)
	_, err = c.Attempts(ctx, id)
	try(err)
	_, err = c.Follow(ctx, id, func(client.Event) error { return nil })
	try(err)
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
