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

func TestReadyzNamesFailingChecksAndSinceWhen(t *testing.T) {
	now, broken := apitest.Moment(0), error(nil)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
		d.Now = func() time.Time { return now }
		d.Checks = []httpapi.Check{
			{"store", func(context.Context) error { return nil }},
			{"docker", func(context.Context) error { return broken }},
		}
	})
	expect := func(status int, docker string) {
		t.Helper()
		a := h.Get("/readyz", "")
		word := map[int]string{200: "ready", 503: "unready"}[status]
		want := fmt.Sprintf(`{"status":%q,"checks":[{"name":"store","ok":true},{"name":"docker",%s}]}`, word, docker)
		if a.Status != status || strings.TrimSpace(a.Body) != want {
			t.Errorf("got %d %s; want %d %s", a.Status, a.Body, status, want)
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
