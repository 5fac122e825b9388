package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// background submits a program without a callback.
func (h *house) background(token, body string) execution.ID {
	h.t.Helper()
	a := h.call(http.MethodPost, "/execute/background", token, body, asJSON)
	if a.status != http.StatusOK {
		h.t.Fatalf("got %d: %s", a.status, a.body)
	}
	return a.id(h.t)
}

func (h *house) processes(token string) []map[string]any {
	h.t.Helper()
	a := h.get("/execute/processes", token)
	answer := a.json(h.t)
	list, _ := answer["processes"].([]any)
	if a.status != http.StatusOK || answer["count"] != float64(len(list)) {
		h.t.Fatalf("got %d %s", a.status, a.body)
	}
	var all []map[string]any
	for _, p := range list {
		p, _ := p.(map[string]any)
		all = append(all, p)
	}
	return all
}

func TestProcessesAreTheSubjectsExecutionsNewestFirst(t *testing.T) {
	now := moment(11)
	h := open(t, at(&now))
	h.submit(h.bob, hello)
	timeout := completed("", "")
	timeout.State, timeout.Reason, timeout.ExitCode, timeout.Error = execution.Timeout, execution.TimedOut, new(124), "It took too long."
	late := h.background(h.ann, `{"code":"1","name":"late"}`)
	h.start(late)
	h.finish(late, timeout)
	done := h.submit(h.ann, hello)
	h.start(done)
	h.finish(done, completed("out", "\xfferr"))
	gone := h.background(h.ann, `{"code":"1"}`)
	if a := h.call(http.MethodPost, "/executions/"+string(gone)+"/cancel", h.ann, ""); a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	runs := h.background(h.ann, `{"code":"1","language":"js"}`)
	h.start(runs)
	h.live.print(runs, execution.Stdout, "so far")
	waits := h.background(h.ann, `{"code":"1"}`)

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
		list := h.processes(h.ann)
		if len(list) != 5 {
			t.Fatalf("got %v; want five", list)
		}
		p := list[i]
		if want.ended == never { // whenever that was
			want.ended = p["end_time"]
		}
		for field, value := range map[string]any{
			"process_id": string(want.id), "execution_id": string(want.id), "name": want.name, "status": want.status, "language": want.lang,
			"start_time": want.started, "started_at": want.started, "end_time": want.ended, "completed_at": want.ended, "duration": want.took,
			"execution_time": want.took, "exit_code": want.exit, "pid": nil, "stdout": want.stdout, "stderr": want.stderr, "stdout_truncated": false,
		} {
			if p[field] != value {
				t.Errorf("%s: got %s %v; want %v", want.status, field, p[field], value)
			}
		}
	}
	if list := h.processes(h.admin); len(list) != 6 {
		t.Errorf("an administrator sees %d; want all 6", len(list))
	}
}

func TestAListOfControlCharactersStaysShort(t *testing.T) {
	h := open(t, func(_ *Config, d *Deps) { d.Inline = maxListed })
	for range 4 {
		id := h.background(h.ann, `{"code":"1"}`)
		h.start(id)
		h.finish(id, completed(strings.Repeat("\x01", maxListed/13), ""))
	}
	if a := h.get("/execute/processes", h.ann); len(a.body) > maxListed+maxListed/10 {
		t.Errorf("the list has %d bytes; want no more than %d and some", len(a.body), maxListed)
	}
	for text, want := range map[string]int{"": 2, "<a>": 5, "\x01\n\"": 12, "é": 4} {
		if got := written(text); got != want {
			t.Errorf("%q is written in %d bytes, got %d", text, want, got)
		}
	}
}

func TestAListOfProcessesStaysShort(t *testing.T) {
	h := open(t, func(_ *Config, d *Deps) { d.Inline = maxListed / 2 })
	large := strings.Repeat("x", maxListed/2)
	for range 3 {
		id := h.background(h.ann, `{"code":"1"}`)
		h.start(id)
		h.finish(id, completed(large, "e"))
	}
	list := h.processes(h.ann)
	total := 0
	for i, p := range list {
		stdout, _ := p["stdout"].(string)
		stderr, _ := p["stderr"].(string)
		total += len(stdout) + len(stderr)
		if cut, _ := p["stdout_truncated"].(bool); cut != (stdout == "") || i == 0 && cut || i == 2 && !cut {
			t.Errorf("%d: stdout has %d bytes, truncated %v", i, len(stdout), cut)
		}
	}
	if total > maxListed {
		t.Errorf("the list has %d bytes of output; want at most %d", total, maxListed)
	}
}

func TestTheThreeFormsOfAKill(t *testing.T) {
	h := open(t)
	for name, kill := range map[string]func(id string) answer{
		"in the path":  func(id string) answer { return h.call(http.MethodPost, "/execute/kill/"+id, h.ann, "", asJSON) },
		"in the query": func(id string) answer { return h.call(http.MethodDelete, "/execute/kill?process_id="+id, h.ann, "") },
		"in the body": func(id string) answer {
			return h.call(http.MethodDelete, "/execute/kill", h.ann, `{"process_id":"`+id+`"}`, asJSON)
		},
		"as an execution": func(id string) answer { return h.call(http.MethodDelete, "/execute/kill?execution_id="+id, h.ann, "") },
	} {
		id := h.submit(h.ann, hello)
		for message, want := range map[string]string{"It was ended.": "killed", "It had ended before.": "killed"} {
			a := kill(string(id))
			if got := a.json(t); a.status != http.StatusOK || got["process_id"] != string(id) || got["execution_id"] != string(id) || got["status"] != want {
				t.Errorf("%s: got %d %s; want %s", name, a.status, a.body, message)
			}
		}
		if e, err := h.store.Get(t.Context(), id); err != nil || e.State != execution.Cancelled {
			t.Errorf("%s: got %s, %v; want it cancelled", name, e.State, err)
		}
		others := h.submit(h.bob, hello)
		for _, id := range []string{string(others), "proc_1", string(execution.NewID(time.Now()))} {
			a := kill(id)
			if got := a.json(t); a.status != http.StatusNotFound || got["code"] != "PROCESS_NOT_FOUND" || got["message"] != "There is no such process." {
				t.Errorf("%s: %s: got %d %s; want 404", name, id, a.status, a.body)
			}
		}
		if e, err := h.store.Get(t.Context(), others); err != nil || e.State != execution.Queued {
			t.Errorf("%s: another's: got %s, %v; want it still queued", name, e.State, err)
		}
	}
	for _, body := range []string{"", `{}`, `{"process_id":null}`, `{"process_id":7}`, `[]`} {
		if a := h.call(http.MethodDelete, "/execute/kill", h.ann, body, asJSON); a.status != http.StatusBadRequest {
			t.Errorf("%q: got %d %s; want 400", body, a.status, a.body)
		}
	}
}

func TestAKillWaitsForTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		r               execution.Result
		status, message string
	}{
		"by the kill": {execution.Result{
			State: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: new(143), StartedAt: moment(1), CompletedAt: moment(2), Error: "It was cancelled.",
		}, "killed", "It was ended."},
		"by itself": {completed("", ""), "completed", "It ended by itself."},
	} {
		cancels := make(chan struct{})
		h := open(t, func(_ *Config, d *Deps) {
			cancel := d.Cancel
			d.Cancel = func(ctx context.Context, id execution.ID) (execution.Execution, error) {
				defer close(cancels)
				return cancel(ctx, id)
			}
		})
		id := h.background(h.ann, `{"code":"1"}`)
		h.start(id)
		answers := make(chan answer)
		go func() { answers <- h.call(http.MethodPost, "/execute/kill/"+string(id), h.ann, "") }()
		<-cancels
		h.finish(id, test.r)
		a := <-answers
		if got := a.json(t); a.status != http.StatusOK || got["status"] != test.status || got["message"] != test.message {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
}

func TestASnapshotCountsTheSubjectsOwn(t *testing.T) {
	now := moment(0)
	h := open(t, at(&now))
	now = now.Add(90 * time.Second)
	h.submit(h.bob, hello)
	for range 2 {
		h.submit(h.ann, hello)
	}
	runs := h.submit(h.ann, hello)
	h.start(runs)
	got := h.get("/metrics/snapshot", h.ann).json(t)
	process, _ := got["process"].(map[string]any)
	system, _ := got["system"].(map[string]any)
	cpu, _ := system["cpu"].(map[string]any)
	if usage, there := cpu["usage_percent"]; !there || usage != nil || got["uptime_seconds"] != 90.0 || got["total_executions"] != 3.0 ||
		got["active_executions"] != 1.0 || got["queued_executions"] != 2.0 || process["count"] != 3.0 {
		t.Errorf("got %v; want ann's one that runs and two that wait", got)
	}
	if got := h.get("/info", h.ann).json(t); got["agent"] != "boomerang" || got["agent_version"] != "1.2.3" || got["uptime"] != 90.0 {
		t.Errorf("info: got %v", got)
	}
}
