package hopx_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/hopx"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func processes(h *apitest.Fixture, token string) []map[string]any {
	h.T.Helper()
	a := h.Get("/execute/processes", token)
	shown := a.JSON(h.T)
	list, _ := shown["processes"].([]any)
	if a.Status != http.StatusOK || shown["count"] != float64(len(list)) {
		h.T.Fatalf("got %d %s", a.Status, a.Body)
	}
	var all []map[string]any
	for _, p := range list {
		p, _ := p.(map[string]any)
		all = append(all, p)
	}
	return all
}

func TestProcessesAreTheSubjectsExecutionsNewestFirst(t *testing.T) {
	now := apitest.Moment(11)
	h := apitest.Open(t, apitest.ClockAt(&now))
	h.Submit(h.Bob, apitest.Hello)
	timeout := apitest.Completed("", "")
	timeout.State, timeout.Reason, timeout.ExitCode, timeout.Error = execution.Timeout, execution.TimedOut, new(124),
		"It took too long."
	late := h.Background(h.Ann, `{"code":"1","name":"late"}`)
	h.Start(late)
	h.Finish(late, timeout)
	done := h.Submit(h.Ann, apitest.Hello)
	h.Start(done)
	h.Finish(done, apitest.Completed("out", "\xfferr"))
	gone := h.Background(h.Ann, `{"code":"1"}`)
	if a := h.Call(http.MethodPost, "/executions/"+string(gone)+"/cancel", h.Ann, ""); a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	runs := h.Background(h.Ann, `{"code":"1","language":"js"}`)
	h.Start(runs)
	h.Live.Print(runs, execution.Stdout, "so far")
	waits := h.Background(h.Ann, `{"code":"1"}`)

	const never = "<nil>"
	for i, want := range []struct {
		id                         execution.ID
		name, status, lang         string
		started, ended, took, exit any
		stdout, stderr             string
	}{
		{waits, "", "queued", "python", nil, nil, nil, nil, "", ""},
		{runs, "", "running", "javascript", "2025-01-28T00:00:01Z", nil, 10.0, nil, "so far", ""},
		{gone, "", "killed", "python", nil, never, 0.0, nil, "", ""},
		{done, "", "completed", "python", "2025-01-28T00:00:01Z", "2025-01-28T00:00:02Z", 1.5, 0.0, "out", "\ufffderr"},
		{late, "late", "failed", "python", "2025-01-28T00:00:01Z", "2025-01-28T00:00:02Z", 1.5, 124.0, "", ""},
	} {
		list := processes(h, h.Ann)
		if len(list) != 5 {
			t.Fatalf("got %v; want five", list)
		}
		p := list[i]
		if want.ended == never { // whenever that was
			want.ended = p["end_time"]
		}
		for field, value := range map[string]any{
			"process_id": string(want.id), "execution_id": string(want.id), "name": want.name, "status": want.status,
			"language":   want.lang,
			"start_time": want.started, "started_at": want.started, "end_time": want.ended, "completed_at": want.ended,
			"duration":       want.took,
			"execution_time": want.took, "exit_code": want.exit, "pid": nil, "stdout": want.stdout,
			"stderr": want.stderr, "stdout_truncated": false,
		} {
			if p[field] != value {
				t.Errorf("%s: got %s %v; want %v", want.status, field, p[field], value)
			}
		}
	}
	if list := processes(h, h.Admin); len(list) != 6 {
		t.Errorf("an administrator sees %d; want all 6", len(list))
	}
}

func TestAListOfControlCharactersStaysShort(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Inline = hopx.MaxListed })
	for range 4 {
		id := h.Background(h.Ann, `{"code":"1"}`)
		h.Start(id)
		h.Finish(id, apitest.Completed(strings.Repeat("\x01", hopx.MaxListed/13), ""))
	}
	if a := h.Get("/execute/processes", h.Ann); len(a.Body) > hopx.MaxListed+hopx.MaxListed/10 {
		t.Errorf("the list has %d bytes; want no more than %d and some", len(a.Body), hopx.MaxListed)
	}
	for text, want := range map[string]int{"": 2, "<a>": 5, "\x01\n\"": 12, "é": 4} {
		if got := hopx.Written(text); got != want {
			t.Errorf("%q is written in %d bytes, got %d", text, want, got)
		}
	}
}

func TestAListOfProcessesStaysShort(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Inline = hopx.MaxListed / 2 })
	large := strings.Repeat("x", hopx.MaxListed/2)
	for range 3 {
		id := h.Background(h.Ann, `{"code":"1"}`)
		h.Start(id)
		h.Finish(id, apitest.Completed(large, "e"))
	}
	list := processes(h, h.Ann)
	total := 0
	for i, p := range list {
		stdout, _ := p["stdout"].(string)
		stderr, _ := p["stderr"].(string)
		total += len(stdout) + len(stderr)
		if cut, _ := p["stdout_truncated"].(bool); cut != (stdout == "") || i == 0 && cut || i == 2 && !cut {
			t.Errorf("%d: stdout has %d bytes, truncated %v", i, len(stdout), cut)
		}
	}
	if total > hopx.MaxListed {
		t.Errorf("the list has %d bytes of output; want at most %d", total, hopx.MaxListed)
	}
}

func TestTheThreeFormsOfAKill(t *testing.T) {
	h := apitest.Open(t)
	for name, kill := range map[string]func(id string) apitest.Answer{
		"in the path": func(id string) apitest.Answer {
			return h.Call(http.MethodPost, "/execute/kill/"+id, h.Ann, "", apitest.AsJSON)
		},
		"in the query": func(id string) apitest.Answer {
			return h.Call(http.MethodDelete, "/execute/kill?process_id="+id, h.Ann, "")
		},
		"in the body": func(id string) apitest.Answer {
			return h.Call(http.MethodDelete, "/execute/kill", h.Ann, `{"process_id":"`+id+`"}`, apitest.AsJSON)
		},
		"as an execution": func(id string) apitest.Answer {
			return h.Call(http.MethodDelete, "/execute/kill?execution_id="+id, h.Ann, "")
		},
	} {
		id := h.Submit(h.Ann, apitest.Hello)
		for message, want := range map[string]string{"It was ended.": "killed", "It had ended before.": "killed"} {
			a := kill(string(id))
			if got := a.JSON(t); a.Status != http.StatusOK || got["process_id"] != string(id) ||
				got["execution_id"] != string(id) || got["status"] != want {
				t.Errorf("%s: got %d %s; want %s", name, a.Status, a.Body, message)
			}
		}
		if e, err := h.Store.Get(t.Context(), id); err != nil || e.State != execution.Cancelled {
			t.Errorf("%s: got %s, %v; want it cancelled", name, e.State, err)
		}
		others := h.Submit(h.Bob, apitest.Hello)
		for _, id := range []string{string(others), "proc_1", string(execution.NewID(time.Now()))} {
			a := kill(id)
			if got := a.JSON(t); a.Status != http.StatusNotFound || got["code"] != "PROCESS_NOT_FOUND" ||
				got["message"] != "There is no such process." {
				t.Errorf("%s: %s: got %d %s; want 404", name, id, a.Status, a.Body)
			}
		}
		if e, err := h.Store.Get(t.Context(), others); err != nil || e.State != execution.Queued {
			t.Errorf("%s: another's: got %s, %v; want it still queued", name, e.State, err)
		}
	}
	for _, body := range []string{"", `{}`, `{"process_id":null}`, `{"process_id":7}`, `[]`} {
		if a := h.Call(http.MethodDelete, "/execute/kill", h.Ann, body,
			apitest.AsJSON); a.Status != http.StatusBadRequest {
			t.Errorf("%q: got %d %s; want 400", body, a.Status, a.Body)
		}
	}
}

func TestAKillWaitsForTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		r               execution.Result
		status, message string
	}{
		"by the kill": {execution.Result{
			State: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: new(143),
			StartedAt: apitest.Moment(1), CompletedAt: apitest.Moment(2), Error: "It was cancelled.",
		}, "killed", "It was ended."},
		"by itself": {apitest.Completed("", ""), "completed", "It ended by itself."},
	} {
		cancels := make(chan struct{})
		h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) {
			cancel := d.Cancel
			d.Cancel = func(ctx context.Context, id execution.ID) (execution.Execution, error) {
				defer close(cancels)
				return cancel(ctx, id)
			}
		})
		id := h.Background(h.Ann, `{"code":"1"}`)
		h.Start(id)
		answers := make(chan apitest.Answer)
		go func() { answers <- h.Call(http.MethodPost, "/execute/kill/"+string(id), h.Ann, "") }()
		<-cancels
		h.Finish(id, test.r)
		a := <-answers
		if got := a.JSON(t); a.Status != http.StatusOK || got["status"] != test.status ||
			got["message"] != test.message {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
}
