package httpapi_test

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
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

// target is a path of the route, with an execution and a workspace that exist.
func target(r server.Route, id execution.ID) string {
	return strings.NewReplacer("{path"+server.Rest+"}", "f", "{id}", string(id), "{name}", "w").Replace(r.Path)
}

// strict lists the routes that check their query.
func strict(h *apitest.Fixture) []server.Route {
	return slices.DeleteFunc(slices.Clone(h.Routes), func(r server.Route) bool { return r.Parameters.Lenient() })
}

func TestEveryRouteOfOursRefusesAParameterThatItDoesNotHave(t *testing.T) {
	h, id := apitest.Furnished(t)
	for _, r := range strict(h) {
		token := h.Ann
		if r.Path == "/healthz" || r.Path == "/readyz" || r.Path == "/openapi.yaml" {
			token = ""
		}
		a := h.Call(r.Method, target(r, id)+"?Limit=1", token, "")
		a.Refuses(t, r.Method+" "+r.Path, "Limit",
			`"Limit" is not a query parameter of this route; `+r.Parameters.String()+".")
		if token != "" {
			h.Call(r.Method, target(r, id)+"?Limit=1", "", "").
				Expect(t, http.StatusUnauthorized, "AUTHENTICATION_REQUIRED")
		}
	}
	if got := h.Get("/workspaces/w/files/f", h.Ann); got.Body != "ann's" {
		t.Errorf("the file is %q now; want it as it was", got.Body)
	}
	if n := len(strict(h)); n < 20 {
		t.Errorf("%d routes were tried", n)
	}
}

func TestARouteSaysWhichParametersItHas(t *testing.T) {
	h, id := apitest.Furnished(t)
	for path, want := range map[string]string{
		"/executions/" + string(id) + "/callback?x=1": `"x" is not a query parameter of this route; it has none.`,
		"/executions/" + string(id) + "?x=1":          `"x" is not a query parameter of this route; it has wait.`,
		"/workspaces?x=1": `"x" is not a query parameter of this route; it has subject, ` +
			`limit and cursor.`,
	} {
		h.Get(path, h.Ann).Refuses(t, path, "x", want)
	}
}

func TestEveryParameterIsGivenOnceWithAValue(t *testing.T) {
	h, id := apitest.Furnished(t)
	for _, r := range strict(h) {
		for _, name := range r.Parameters.Names() {
			what := r.Method + " " + r.Path + " " + name
			a := h.Call(r.Method, target(r, id)+"?"+name+"=1&"+name+"=1", h.Admin, "")
			a.Refuses(t, what, name, name+" must be given once, not 2 times.")
			for _, empty := range []string{name, name + "="} {
				if name == "cursor" || name == "prefix" { // which begin at the beginning, and hold everything
					h.Call(r.Method, target(r, id)+"?"+empty, h.Admin, "").Expect(t, http.StatusOK, "")
					continue
				}
				a = h.Call(r.Method, target(r, id)+"?"+empty, h.Admin, "")
				a.Refuses(t, what, name, name+" must not be empty; leave it out if you do not need it.")
			}
			a = h.Call(r.Method, target(r, id)+"?"+name+"=%ff", h.Admin, "")
			a.Refuses(t, what, name, name+" must be UTF-8.")
		}
	}
	if got := h.Get("/workspaces/w/files/f", h.Admin); got.Body != "root's" {
		t.Errorf("the file is %q now; want it as it was", got.Body)
	}
}

func TestAQueryThatCannotBeReadIsExplained(t *testing.T) {
	h, _ := apitest.Furnished(t)
	for query, want := range map[string]string{
		"limit=%zz": `The query of the URL has "%zz" in it, which is not a percent sign with two hexadecimal ` +
			`digits.`,
		"limit=50%": `The query of the URL has "%" in it, which is not a percent sign with two hexadecimal ` +
			`digits.`,
		"limit=1;x=2": "The query of the URL has a semicolon in it; write & between parameters, " +
			"and %3B in a value.",
		"limit=9999":      "limit must be a whole number from 1 to 200.",
		"limit=1.5":       "limit must be a whole number from 1 to 200.",
		"limit=-1":        "limit must be a whole number from 1 to 200.",
		"limit=all":       "limit must be a whole number from 1 to 200.",
		"limit=%31%30":    "",
		"since=yesterday": "since must be a time like 2025-01-28T00:00:00Z (RFC 3339, a + written as %2B).",
		"status=done": "status must be one or more of queued, running, completed, failed, timeout, cancelled, " +
			"separated by commas.",
	} {
		a := h.Get("/executions?"+query, h.Ann)
		if message, _ := a.JSON(t)["message"].(string); message != want || (a.Status == http.StatusOK) != (want == "") {
			t.Errorf("%s: got %d %q; want %q", query, a.Status, message, want)
		}
	}
}

func TestSubjectIsForAdministrators(t *testing.T) {
	h, id := apitest.Furnished(t)
	h.Put("/workspaces/w/files/f", h.Bob, "bob's").Expect(t, http.StatusCreated, "")
	tried := 0
	for _, r := range strict(h) {
		if !slices.Contains(r.Parameters.Names(), server.SubjectParameter) {
			continue
		}
		tried++
		// Also their own: the refusal does not depend on the name
		for _, subject := range []string{"ann", "bob", "nobody"} {
			a := h.Call(r.Method, target(r, id)+"?subject="+subject, h.Bob, "changed")
			if v := a.JSON(t); a.Status != http.StatusForbidden || v["code"] != "FORBIDDEN" ||
				v["message"] != "subject is for tokens with the scope admin." {
				t.Errorf("%s %s of %s: got %d %s; want 403", r.Method, r.Path, subject, a.Status, a.Body)
			}
		}
	}
	if tried < 7 {
		t.Errorf("%d routes were tried", tried)
	}
	for token, want := range map[string]string{h.Ann: "ann's", h.Bob: "bob's"} {
		if got := h.Get("/workspaces/w/files/f", token); got.Body != want {
			t.Errorf("the file is %q now; want %q", got.Body, want)
		}
	}
}

func TestAnAdministratorActsForASubject(t *testing.T) {
	h, id := apitest.Furnished(t)
	for _, r := range strict(h) {
		if r.Method == http.MethodDelete || !slices.Contains(r.Parameters.Names(), server.SubjectParameter) {
			continue
		}
		if a := h.Call(r.Method, target(r, id)+"?subject=ann", h.Admin, "new"); a.Status >= 300 {
			t.Errorf("%s %s: got %d %s", r.Method, r.Path, a.Status, a.Body)
		}
	}
	if got := h.Get("/workspaces/w/files/f", h.Ann); got.Body != "new" {
		t.Errorf("ann's file is %q; want that of the administrator", got.Body)
	}
	h.Call(http.MethodDelete, "/workspaces/w/files/f?subject=ann", h.Admin, "").Expect(t, http.StatusNoContent, "")
	h.Get("/workspaces/w/files/f", h.Ann).Expect(t, http.StatusNotFound, "FILE_NOT_FOUND")
	h.Call(http.MethodDelete, "/workspaces/w?subject=ann", h.Admin, "").Expect(t, http.StatusNoContent, "")
	h.Get("/workspaces/w", h.Ann).Expect(t, http.StatusNotFound, "WORKSPACE_NOT_FOUND")
	if got := h.Get("/workspaces/w/files/f", h.Admin); got.Body != "root's" {
		t.Errorf("the administrator's own file is %q; want it as it was", got.Body)
	}
	for _, subject := range []string{strings.Repeat("x", 256), "a\n"} {
		a := h.Call(http.MethodPut, "/workspaces/w/files/f?subject="+url.QueryEscape(subject), h.Admin, "x")
		a.Refuses(t, "a subject that no token has", "subject",
			"subject must be 1 to 255 bytes without control characters.")
	}
}

func TestTheDescriptionAndTheRoutesKnowTheSameParameters(t *testing.T) {
	described, declared := map[string][]string{}, map[string][]string{}
	for path, item := range apitest.Description(t).Doc.Paths.Map() {
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
	for _, r := range apitest.Open(t).Routes {
		declared[r.Method+" "+r.Template()] = slices.Sorted(slices.Values(r.Parameters.Names()))
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
	h, id := apitest.Furnished(t)
	c, err := client.New(h.URL, h.Ann)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	all := client.DeliveryFilter{
		States: []execution.DeliveryState{execution.Pending}, Destination: "https://example.com",
		Since: apitest.Moment(0), Until: apitest.Moment(9), Limit: 1,
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
