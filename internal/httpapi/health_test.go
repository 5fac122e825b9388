package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/fault"
)

func TestHealthIsWhatTheSDKsLookFor(t *testing.T) {
	now := moment(0)
	h := open(t, func(_ *Config, d *Deps) { d.Now = func() time.Time { return now } })
	now = now.Add(2*time.Hour + 34*time.Minute + 12*time.Second + time.Millisecond)
	var names []any
	for _, l := range languages(t).Languages() {
		names = append(names, l.Name)
	}
	want := map[string]any{
		"status": "healthy", "agent": "boomerang", "version": "1.2.3", "uptime": "2h34m12s", "go_version": runtime.Version(),
		"features": map[string]any{"code_execution": true, "background_jobs": true, "websocket_streaming": true, "languages": names},
	}
	if diff := cmp.Diff(want, h.get("/health", "").json(t)); diff != "" {
		t.Errorf("the answer differs (-want +got):\n%s", diff)
	}
}

func TestReadyzNamesWhatFailsAndSinceWhen(t *testing.T) {
	now, broken := moment(0), error(nil)
	h := open(t, func(_ *Config, d *Deps) {
		d.Now = func() time.Time { return now }
		d.Checks = []Check{
			{"store", func(context.Context) error { return nil }},
			{"docker", func(context.Context) error { return broken }},
		}
	})
	expect := func(status int, docker string) {
		t.Helper()
		a := h.get("/readyz", "")
		word := map[int]string{200: "ready", 503: "unready"}[status]
		want := fmt.Sprintf(`{"status":%q,"checks":[{"name":"store","ok":true},{"name":"docker",%s}]}`, word, docker)
		if a.status != status || strings.TrimSpace(a.body) != want {
			t.Errorf("got %d %s; want %d %s", a.status, a.body, status, want)
		}
		now = now.Add(time.Minute)
	}
	expect(200, `"ok":true`)
	broken = fmt.Errorf("ping: %w", fault.New(fault.ServiceUnavailable, "The engine does not answer.").Because(errors.New("/run/SECRET")))
	expect(503, `"ok":false,"error":"The engine does not answer.","failing_since":"2025-01-28T00:01:00Z"`)
	expect(503, `"ok":false,"error":"The engine does not answer.","failing_since":"2025-01-28T00:01:00Z"`)
	broken = errors.New("dial unix /run/SECRET: refused")
	expect(503, `"ok":false,"error":"The check failed; the log says why.","failing_since":"2025-01-28T00:01:00Z"`)
	broken = nil
	expect(200, `"ok":true`)

	var said []string
	for _, entry := range h.log.AllEntries() {
		if entry.Data["check"] != nil {
			said = append(said, fmt.Sprintf("%s: %s", entry.Data["check"], entry.Message))
		}
	}
	if want := []string{"docker: check fails", "docker: check passes again"}; !cmp.Equal(said, want) {
		t.Errorf("logged %v; want each change once, %v", said, want)
	}
	if a := h.get("/healthz", ""); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"status":"alive"}` {
		t.Errorf("healthz: got %d %s; want it alive", a.status, a.body)
	}
}

func TestChecksRunAtMostOnceASecondAndToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, _ := logtest.NewNullLogger()
		runs := 0
		r := newReadiness([]Check{{"hangs", func(ctx context.Context) error {
			runs++
			<-ctx.Done()
			return ctx.Err()
		}}}, time.Now, logrus.NewEntry(logger))
		gone, leave := context.WithCancel(t.Context())
		leave()
		started := time.Now()
		if c := r.ask(gone); runs != 1 || c[0].OK || time.Since(started) != checkTimeout {
			t.Errorf("got %d runs, %+v after %s; want one that failed at its deadline, whoever went away", runs, c, time.Since(started))
		}
		if r.ask(t.Context()); runs != 1 {
			t.Errorf("asked again at once: got %d runs; want 1", runs)
		}
		<-time.After(checkFresh)
		if r.ask(t.Context()); runs != 2 {
			t.Errorf("asked again a second later: got %d runs; want 2", runs)
		}
	})
}
