package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

func get(m *Metrics, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Server().Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

func TestTheScrapeShowsAllCounters(t *testing.T) {
	m := New(Facts{Version: "1.2.3", Slots: 8, Tally: func(context.Context) (execution.Tally, error) {
		return execution.Tally{Queued: 5, Running: 4, Pending: 3, Dead: 2}, nil
	}})
	m.Ended(execution.Completed, execution.Exited)
	m.Ended(execution.Completed, execution.Exited)
	m.Attempted(execution.AttemptRefused)
	m.Answered(http.MethodGet, "/executions/{id}", http.StatusNotFound, time.Millisecond)
	w := get(m, "/metrics")
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("got %d %s; want text", w.Code, w.Header().Get("Content-Type"))
	}
	for _, want := range []string{
		`boomerang_build_info{version="1.2.3"} 1`,
		`boomerang_slots 8`,
		`boomerang_executions_queued 5`,
		`boomerang_executions_running 4`,
		`boomerang_deliveries{state="pending"} 3`,
		`boomerang_deliveries{state="dead"} 2`,
		`boomerang_executions_total{reason="exited",state="completed"} 2`,
		`boomerang_callback_attempts_total{outcome="` + string(execution.AttemptRefused) + `"} 1`,
		`boomerang_http_requests_total{method="GET",route="/executions/{id}",status="404"} 1`,
		`boomerang_http_request_seconds_bucket{route="/executions/{id}",le="0.005"} 1`,
		`go_goroutines `,
	} {
		if !strings.Contains(w.Body.String(), "\n"+want) {
			t.Errorf("got no line %s in\n%s", want, w.Body)
		}
	}
}

func TestAScrapeWithoutTheStoreShowsTheOtherValues(t *testing.T) {
	m := New(Facts{Slots: 8, Tally: func(context.Context) (execution.Tally, error) {
		return execution.Tally{}, errors.New("locked")
	}})
	w := get(m, "/metrics")
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.Contains(body, "boomerang_slots 8") ||
		strings.Contains(body, "boomerang_deliveries{") {
		t.Errorf("got %d %s; want the slots and no deliveries", w.Code, body)
	}
}

func TestProfilesAreServed(t *testing.T) {
	m := New(Facts{})
	for path, want := range map[string]int{
		"/debug/pprof/":        http.StatusOK,
		"/debug/pprof/heap":    http.StatusOK,
		"/debug/pprof/cmdline": http.StatusOK,
		"/":                    http.StatusNotFound,
	} {
		if w := get(m, path); w.Code != want {
			t.Errorf("%s: got %d; want %d", path, w.Code, want)
		}
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Addr: "localhost"}).Validate(); err == nil || !strings.HasPrefix(err.Error(), "addr ") {
		t.Errorf("got %v; want an error that names addr", err)
	}
}
