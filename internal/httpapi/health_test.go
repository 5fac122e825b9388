package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/fault"
	"boomerang/internal/httpapi"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestReadyzTellsDetailsToAdministratorsOnly(t *testing.T) {
	now, broken := apitest.Moment(0), error(nil)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Now = func() time.Time { return now }
		d.Checks = []httpapi.Check{
			{"store", func(context.Context) error { return nil }},
			{"docker", func(context.Context) error { return broken }},
		}
		d.Notes = func(context.Context) []string { return []string{"runc"} }
	})
	expect := func(status int, docker string) {
		t.Helper()
		head := map[int]string{200: `{"status":"ready"`, 503: `{"status":"unready","failing":["docker"]`}[status]
		for token, want := range map[string]string{
			h.Admin: fmt.Sprintf(`%s,"checks":[{"name":"store","ok":true},{"name":"docker",%s}],"warnings":["runc"]}`,
				head, docker),
			h.Ann: head + "}",
			"":    head + "}",
		} {
			if a := h.Get("/readyz", token); a.Status != status || strings.TrimSpace(a.Body) != want {
				t.Errorf("got %d %s; want %d %s", a.Status, a.Body, status, want)
			}
		}
		now = now.Add(time.Minute)
	}
	expect(200, `"ok":true`)
	broken = fmt.Errorf("ping: %w", fault.New(fault.ServiceUnavailable,
		"The engine does not answer.").Because(errors.New("/run/SECRET")))
	expect(503, `"ok":false,"error":"The engine does not answer.","failing_since":"2025-01-28T00:01:00Z"`)
	expect(503, `"ok":false,"error":"The engine does not answer.","failing_since":"2025-01-28T00:01:00Z"`)
	broken = errors.New("dial unix /run/SECRET: refused")
	expect(503, `"ok":false,"error":"The check failed; the log says why.","failing_since":"2025-01-28T00:01:00Z"`)
	broken = nil
	expect(200, `"ok":true`)

	if a := h.Get("/readyz", "x"); a.Status != http.StatusUnauthorized {
		t.Errorf("a wrong token: got %d %s; want 401", a.Status, a.Body)
	}

	var said []string
	for _, entry := range h.Log.AllEntries() {
		if entry.Data["check"] != nil {
			said = append(said, fmt.Sprintf("%s: %s", entry.Data["check"], entry.Message))
		}
	}
	if want := []string{"docker: check fails", "docker: check passes again"}; !cmp.Equal(said, want) {
		t.Errorf("logged %v; want each change once, %v", said, want)
	}
	if a := h.Get("/healthz", ""); a.Status != http.StatusOK || strings.TrimSpace(a.Body) != `{"status":"alive"}` {
		t.Errorf("healthz: got %d %s; want it alive", a.Status, a.Body)
	}
}
