package hopx_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestHealthHasTheFieldsOfTheSDKs(t *testing.T) {
	now := apitest.Moment(0)
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Now = func() time.Time { return now } })
	now = now.Add(2*time.Hour + 34*time.Minute + 12*time.Second + time.Millisecond)
	var names []any
	for _, l := range apitest.Languages(t).Languages() {
		names = append(names, l.Name)
	}
	want := map[string]any{
		"status": "healthy", "agent": "boomerang", "version": "1.2.3", "uptime": "2h34m12s",
		"go_version": runtime.Version(),
		"features": map[string]any{
			"code_execution": true, "background_jobs": true, "websocket_streaming": true,
			"languages": names,
		},
	}
	if diff := cmp.Diff(want, h.Get("/health", "").JSON(t)); diff != "" {
		t.Errorf("the apitest.Answer differs (-want +got):\n%s", diff)
	}
}

func TestASnapshotCountsTheSubjectsOwn(t *testing.T) {
	now := apitest.Moment(0)
	h := apitest.Open(t, apitest.ClockAt(&now))
	now = now.Add(90 * time.Second)
	h.Submit(h.Bob, apitest.Hello)
	for range 2 {
		h.Submit(h.Ann, apitest.Hello)
	}
	runs := h.Submit(h.Ann, apitest.Hello)
	h.Start(runs)
	got := h.Get("/metrics/snapshot", h.Ann).JSON(t)
	process, _ := got["process"].(map[string]any)
	system, _ := got["system"].(map[string]any)
	cpu, _ := system["cpu"].(map[string]any)
	if usage, there := cpu["usage_percent"]; !there || usage != nil || got["uptime_seconds"] != 90.0 ||
		got["total_executions"] != 3.0 ||
		got["active_executions"] != 1.0 || got["queued_executions"] != 2.0 || process["count"] != 3.0 {
		t.Errorf("got %v; want ann's one that runs and two that wait", got)
	}
	if got := h.Get("/info", h.Ann).JSON(t); got["agent"] != "boomerang" || got["agent_version"] != "1.2.3" ||
		got["uptime"] != 90.0 {
		t.Errorf("info: got %v", got)
	}
}
