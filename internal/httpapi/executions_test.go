package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestTheRecordFollowsAnExecutionThroughItsLife(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, `{"code":"1","callback_url":"https://example.com/hook?q=1","language":"py","timeout":60,
		"workdir":"/tmp/a","env":{"B":"2","A":"1"},"name":"nightly","args":["-x","y"],"stdin":"abc",
		"artifacts":["*.pt"],"files":[{"path":"a/b","base64":"AP8="}],"limits":{"memory":"64MiB","cpus":0.5},
		"metadata":{"k":"v"},
		"network":"none","callback_headers":{"X-B":"b"},"callback_signature_secret":"s"}`)
	want := map[string]any{
		"execution_id": string(id), "name": "nightly", "status": "queued", "subject": "ann", "language": "python",
		"timeout": 60.0,
		"args":    2.0, "stdin_bytes": 3.0, "files": []any{map[string]any{"path": "a/b", "size": 2.0}},
		"artifact_globs": []any{"*.pt"},
		"limits":         map[string]any{"memory": 67108864.0, "cpus": 0.5}, "metadata": map[string]any{"k": "v"},
		"network": "none", "workspace": nil,
		"working_dir": "/tmp/a", "env_names": []any{"A", "B"}, "started_at": nil, "deadline": nil, "completed_at": nil,
		"cancel_requested": false,
		"callback": map[string]any{
			"url": "https://example.com/hook?q=1", "header_names": []any{"X-B"}, "signed": true, "state": "none",
			"reason": nil, "attempts": 0.0, "next_attempt_at": nil, "ended_at": nil,
		},
	}
	expect := func(act string) {
		t.Helper()
		got := h.Get("/executions/"+string(id), h.Ann).JSON(t)
		delete(got, "created_at")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: the record differs (-want +got):\n%s", act, diff)
		}
	}
	expect("submitted")

	h.Start(id)
	want["status"], want["started_at"], want["deadline"] = "running", "2025-01-28T00:00:01Z", "2025-01-28T01:00:01Z"
	expect("started")

	h.Finish(id, apitest.Completed("hello\n", "\xffoops"))
	maps.Copy(want, map[string]any{
		"status": "completed", "completed_at": "2025-01-28T00:00:02Z", "timestamp": "2025-01-28T00:00:02Z",
		"success":   true,
		"exit_code": 0.0, "execution_time": 1.5,
		"error": nil, "reason": "exited", "stdout": "hello\n", "stderr": "\uFFFDoops", "stdout_truncated": false,
		"stderr_truncated": false, "stdout_bytes": 6.0, "stderr_bytes": 5.0, "output_complete": true,
		"usage": map[string]any{"cpu_time": 0.02, "max_memory": 9437184.0},
	})
	obligation := want["callback"].(map[string]any) //nolint:errcheck // it stands above
	obligation["state"], obligation["next_attempt_at"] = "pending", "2025-01-28T00:00:02Z"
	expect("finished")

	attempt := execution.Attempt{
		Execution: id, Number: 1, StartedAt: apitest.Moment(3), Duration: time.Second,
		Outcome: execution.AttemptStatus, StatusCode: 410,
	}
	if err := h.Store.Record(t.Context(), attempt, execution.Dead, execution.Gone, time.Time{}); err != nil {
		t.Fatal(err)
	}
	obligation["state"], obligation["reason"], obligation["attempts"] = "dead", "gone", 1.0
	obligation["next_attempt_at"], obligation["ended_at"] = nil, "2025-01-28T00:00:04Z"
	expect("given up")
}

func TestTheRecordHasTheFieldsOfTheCallback(t *testing.T) {
	h := apitest.Open(t)
	long := apitest.Completed(strings.Repeat("long line\n", 100), "")
	failed := apitest.Completed("", "")
	failed.State, failed.ExitCode, failed.Error = execution.Failed, new(3), "The program exited with code 3."
	lost := execution.Result{
		State: execution.Failed, Reason: execution.Lost, Error: "Nothing is known.",
		CompletedAt: apitest.Moment(9),
	}
	for name, r := range map[string]execution.Result{"printed too much": long, "failed": failed, "lost": lost} {
		id := h.Submit(h.Ann, apitest.Hello)
		h.Start(id)
		h.Finish(id, r)
		e, err := h.Store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(callback.Body(e, r, apitest.Inline), &want); err != nil {
			t.Fatal(err)
		}
		delete(want, "timestamp") // of the callback
		got := h.Get("/executions/"+string(id), h.Ann).JSON(t)
		inBoth := cmpopts.IgnoreMapEntries(func(field string, _ any) bool { _, there := want[field]; return !there })
		if diff := cmp.Diff(want, got, inBoth); diff != "" {
			t.Errorf("%s: the record differs from the callback (-callback +record):\n%s", name, diff)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, `{"code":"CANARY","env":{"A":"CANARY"},"callback_url":"https://example.com/",
		"callback_headers":{"X-A":"CANARY"},"callback_signature_secret":"CANARY"}`)
	for _, path := range []string{"/executions/" + string(id), "/executions", "/executions/" + string(id) + "/output"} {
		if a := h.Get(path, h.Ann); a.Status != http.StatusOK || strings.Contains(a.Body, "CANARY") {
			t.Errorf("%s: got %d %s; want it without secrets", path, a.Status, a.Body)
		}
	}
}

func TestToOthersAnExecutionDoesNotExist(t *testing.T) {
	h := apitest.Open(t)
	id := string(h.Submit(h.Ann, apitest.Hello))
	h.Live.Print(execution.ID(id), execution.Stdout, "SECRET")
	const missing = "exec_00000000000000000000000000"
	for _, call := range [][2]string{
		{http.MethodGet, "/executions/%s"},
		{http.MethodGet, "/executions/%s?wait=1"},
		{http.MethodGet, "/executions/%s/output"},
		{http.MethodPost, "/executions/%s/cancel"},
	} {
		strip := strings.NewReplacer(id, "", missing, "", "nonsense", "")
		same := map[string]bool{}
		for _, id := range []string{id, missing, "nonsense"} {
			a := h.Call(call[0], strings.Replace(call[1], "%s", id, 1), h.Bob, "", "X-Request-ID: r")
			got := a.JSON(t)
			if a.Status != http.StatusNotFound || got["code"] != "EXECUTION_NOT_FOUND" {
				t.Errorf("%v: got %d %s; want 404 EXECUTION_NOT_FOUND", call, a.Status, a.Body)
			}
			delete(got, "timestamp")
			same[strip.Replace(fmt.Sprint(got))+fmt.Sprint(slices.Sorted(maps.Keys(a.Header)))] = true
		}
		if len(same) != 1 {
			t.Errorf("%v: got %v; want the same words for another's, a missing and an impossible one", call, same)
		}
	}
	if a := h.Get("/executions/"+id, h.Admin); a.Status != http.StatusOK {
		t.Errorf("an administrator: got %d %s; want the record", a.Status, a.Body)
	}
	if a := h.Get("/executions/"+id, h.Ann); a.JSON(t)["status"] != "queued" {
		t.Errorf("the owner: got %s; want it still queued", a.Body)
	}
}

func TestWaitAnswersWhenTheExecutionEnds(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at))
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if got := h.Get("/executions/"+string(id)+"?wait=60", h.Ann).JSON(t); got["status"] != "completed" {
			t.Errorf("got %v; want it completed", got["status"])
		}
	})
	<-at
	h.Finish(id, apitest.Completed("", ""))
	waiter.Wait()

	if got := h.Get("/executions/"+string(id)+"?wait=60", h.Ann).JSON(t); got["status"] != "completed" {
		t.Errorf("after the end: got %v; want it at once", got["status"])
	}
}

// The wait is longer than any other request may take: 2 s with a timeout of 1 s.
func TestWaitAnswersWithTheRecordAsItIsWhenItIsOver(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Timeout = time.Second })
	id := h.Submit(h.Ann, apitest.Hello)
	if got := h.Get("/executions/"+string(id)+"?wait=2", h.Ann).JSON(t); got["status"] != "queued" {
		t.Errorf("got %v; want it still queued", got["status"])
	}
}

func TestAServerThatStopsAnswersWaitingRequests(t *testing.T) {
	at := make(chan execution.ID, 1)
	h := apitest.Open(t, apitest.Waiting(at))
	id := h.Submit(h.Ann, apitest.Hello)
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if got := h.Get("/executions/"+string(id)+"?wait=60", h.Ann).JSON(t); got["status"] != "queued" {
			t.Errorf("got %v; want it still queued", got["status"])
		}
	})
	<-at
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.Server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited for its waiter: %v", err)
	}
	waiter.Wait()
}

func TestCancelEndsAQueuedExecutionAndAsksARunningOne(t *testing.T) {
	h := apitest.Open(t)
	queued, running := h.Submit(h.Ann, apitest.Hello), h.Submit(h.Ann, apitest.Hello)
	h.Start(running)
	ended := h.Submit(h.Ann, apitest.Hello)
	h.Start(ended)
	h.Finish(ended, apitest.Completed("", ""))
	// start claims in order, so the first one is claimed too, which must not matter
	for id, want := range map[execution.ID]map[string]any{
		queued:  {"status": "cancelled", "cancel_requested": false, "reason": "cancelled", "exit_code": nil},
		running: {"status": "running", "cancel_requested": true},
		ended:   {"status": "completed", "cancel_requested": false, "reason": "exited", "exit_code": 0.0},
	} {
		for range 2 { // asking again changes nothing
			a := h.Call(http.MethodPost, "/executions/"+string(id)+"/cancel", h.Ann, "")
			got := a.JSON(t)
			if a.Status != http.StatusOK {
				t.Errorf("got %d %s; want 200", a.Status, a.Body)
			}
			for field, value := range want {
				if got[field] != value {
					t.Errorf("%s is %v; want %v", field, got[field], value)
				}
			}
		}
	}
	if d, err := h.Store.Delivery(t.Context(), queued); err != nil || d.State != execution.Pending {
		t.Errorf("got delivery %s, %v; want it pending", d.State, err)
	}
}

func TestListGoesThroughAllOnceNewestFirst(t *testing.T) {
	h := apitest.Open(t)
	var want []string
	for range 5 {
		want = append(want, string(h.Submit(h.Ann, apitest.Hello)))
		h.Submit(h.Bob, apitest.Hello)
	}
	slices.Sort(want)
	slices.Reverse(want)
	var got []string
	for path := "/executions?limit=2"; ; {
		p := h.Get(path, h.Ann).JSON(t)
		got = append(got, ids(p)...)
		if p["next_cursor"] == nil {
			break
		}
		path = fmt.Sprintf("/executions?limit=2&cursor=%s", p["next_cursor"])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v; want ann's alone, %v", got, want)
	}
	if p := h.Get("/executions", h.Admin).JSON(t); p["count"] != 10.0 {
		t.Errorf("an administrator: got %v; want 10", p["count"])
	}
}

func TestListChooses(t *testing.T) {
	h := apitest.Open(t)
	python := string(h.Submit(h.Ann, apitest.Hello))
	h.Start(execution.ID(python))
	h.Finish(execution.ID(python), apitest.Completed("hello", ""))
	bash := string(h.Submit(h.Ann, `{"code":"1","callback_url":"https://example.com/","language":"bash"}`))
	created := h.Get("/executions/"+bash, h.Ann).JSON(t)["created_at"]
	for query, want := range map[string][]string{
		"":                                  {bash, python},
		"status=completed":                  {python},
		"status=queued,running":             {bash},
		"status=failed,timeout":             nil,
		"language=py":                       {python},
		"language=sh":                       {bash},
		"language=cobol":                    nil,
		"cursor=":                           {bash, python},
		fmt.Sprintf("since=%s", created):    {bash},
		fmt.Sprintf("until=%s", created):    {python},
		"since=2020-01-01T00:00:00%2B01:00": {bash, python},
		"since=2261-01-01T00:00:00Z":        nil,
	} {
		a := h.Get("/executions?"+query, h.Ann)
		got := ids(a.JSON(t))
		slices.SortFunc(got, func(a, b string) int { return strings.Compare(b, a) })
		slices.SortFunc(want, func(a, b string) int { return strings.Compare(b, a) })
		if a.Status != http.StatusOK || !slices.Equal(got, want) {
			t.Errorf("%s: got %d %v; want %v", query, a.Status, got, want)
		}
	}
}

func TestAWrongParameterIsNamed(t *testing.T) {
	h := apitest.Open(t)
	id := string(h.Submit(h.Ann, apitest.Hello))
	for path, field := range map[string]any{
		"/executions?status=done":                    "status",
		"/executions?status=queued,":                 "status",
		"/executions?status=queued&status=running":   "status",
		"/executions?since=yesterday":                "since",
		"/executions?until=2025-01-28":               "until",
		"/executions?until=2999-01-01T00:00:00Z":     "until",
		"/executions?limit=0":                        "limit",
		"/executions?limit=201":                      "limit",
		"/executions?limit=ten":                      "limit",
		"/executions?cursor=last":                    "cursor",
		"/executions?%zz":                            nil,
		"/executions?a;b":                            nil,
		"/executions/" + id + "?wait=-1":             "wait",
		"/executions/" + id + "?wait=61":             "wait",
		"/executions/" + id + "?wait=1.5":            "wait",
		"/executions/" + id + "?wait=30s":            "wait",
		"/executions/" + id + "/output?stream=stdin": "stream",
	} {
		a := h.Get(path, h.Ann)
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest || a.JSON(t)["code"] != "INVALID_REQUEST" || details["field"] != field {
			t.Errorf("%s: got %d %s; want 400 INVALID_REQUEST of %v", path, a.Status, a.Body, field)
		}
	}
}

func ids(page map[string]any) (ids []string) {
	list, _ := page["executions"].([]any)
	for _, item := range list {
		e, _ := item.(map[string]any)
		ids = append(ids, fmt.Sprint(e["execution_id"]))
	}
	return ids
}
