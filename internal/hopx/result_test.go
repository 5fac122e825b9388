package hopx_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/journal"
	"boomerang/internal/wire"
)

// richSubmission uses every option that a result shows. It is also a valid first frame.
const richSubmission = `{"type":"execute","code":"x","callback_url":"https://example.com/hook","name":"nightly",
	"metadata":{"ticket":"4711"},"artifacts":["out/**"],"workspace":"reports"}`

// richResult is a result in which no field is empty.
func richResult(h *apitest.Fixture) execution.Result {
	h.T.Helper()
	r := apitest.Completed(strings.Repeat("head\n", apitest.Inline), strings.Repeat("oops\n", apitest.Inline))
	r.State, r.ExitCode, r.Error = execution.Failed, new(3), "The program exited with code 3."
	r.Artifacts = &execution.Artifacts{
		Files: []execution.Artifact{
			{Path: "out/a.txt", Mode: 0o640, Blob: h.Keep("hello")},
			{Path: "out/b", Mode: 0o755, Blob: h.Keep("")},
		},
		Omissions: execution.Omissions{
			Omitted: []execution.Omission{{Path: "out/link", Reason: journal.OmitSymlink}}, Count: 70,
			Cut: journal.CutTime,
		},
	}
	r.Workspace = &execution.WorkspaceResult{
		Reason: journal.CutEntries, Omitted: []execution.Omission{{Path: "pipe", Reason: journal.OmitNotRegular}},
		Missing: 9,
	}
	return r
}

// fieldsOfResult lists the JSON names of wire.Result without the absent ones.
func fieldsOfResult(absent ...string) (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[wire.Result]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && !slices.Contains(absent, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// sameFields fails where shown lacks a field of the callback or has another value there.
func sameFields(t *testing.T, where string, callback, shown map[string]any, but ...string) {
	t.Helper()
	for name, want := range callback {
		got, there := shown[name]
		if slices.Contains(but, name) {
			continue
		}
		if diff := cmp.Diff(want, got); !there || diff != "" {
			t.Errorf("%s: %s is there: %v, -callback +%s\n%s", where, name, there, where, diff)
		}
	}
}

func callbackBody(h *apitest.Fixture, id execution.ID) map[string]any {
	h.T.Helper()
	d, err := h.Store.Delivery(h.T.Context(), id)
	if err != nil {
		h.T.Fatal(err)
	}
	return apitest.Answer{Body: string(d.Body)}.JSON(h.T)
}

func TestAResultHasTheSameFieldsWhereverItIsShown(t *testing.T) {
	h := apitest.Open(t)
	const key = "Idempotency-Key: rich"
	a := h.Call(http.MethodPost, "/execute/async", h.Ann, richSubmission, apitest.AsJSON, key)
	if a.Status != http.StatusOK {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	id := a.ID(t)
	h.Start(id)
	h.Finish(id, richResult(h))

	callback := callbackBody(h, id)
	if diff := cmp.Diff(fieldsOfResult("batch_id"), slices.Sorted(maps.Keys(callback))); diff != "" {
		t.Fatalf("the execution does not have everything (-fields of a result +fields of the callback)\n%s", diff)
	}
	for name, value := range callback {
		if reflect.ValueOf(value).IsZero() && name != "success" { // an instance of each field that says something
			t.Errorf("%s of the callback is %v", name, value)
		}
	}

	got := h.Call(http.MethodPost, "/execute", h.Ann, richSubmission, apitest.AsJSON, key).JSON(t)
	if diff := cmp.Diff(callback, got); diff != "" {
		t.Errorf("POST /execute (-callback +apitest.Answer)\n%s", diff)
	}
	sameFields(t, "GET /executions/{id}", callback, h.Get("/executions/"+string(id), h.Ann).JSON(t))
	sameOnStreams(h, id, callback, richSubmission, key)
}

// sameOnStreams compares the last event and the last frames with the callback. They do not repeat the output.
func sameOnStreams(h *apitest.Fixture, id execution.ID, callback map[string]any, frame, key string) {
	h.T.Helper()
	last := h.Events(id, h.Ann).Last()
	sameFields(h.T, "the event end", callback, apitest.Answer{Body: last.Data}.JSON(h.T), "stdout", "stderr")

	conn, _ := h.Dial(h.Ann, key)
	h.Say(conn, frame)
	for {
		f := h.Hear(conn)
		if f["type"] != "result" {
			continue
		}
		if f["timestamp"] == callback["timestamp"] {
			h.T.Errorf("the frame has the time of the end, %v", f["timestamp"])
		}
		sameFields(h.T, "the frame result", callback, f, "stdout", "stderr", "timestamp")
		for _, name := range []string{"stdout", "stderr"} {
			if text, there := f[name]; there {
				h.T.Errorf("the frame result repeats %s: %v", name, text)
			}
		}
		break
	}
	if f := h.Hear(conn); f["type"] != "complete" || f["success"] != callback["success"] {
		h.T.Errorf("got %v; want complete", f)
	}
}

func TestAResultOfABatchHasTheSameFieldsWhereverItIsShown(t *testing.T) {
	h := apitest.Open(t)
	a := h.Call(http.MethodPost, "/executions/batch", h.Ann, `{"executions":[`+richSubmission+`]}`, apitest.AsJSON)
	if a.Status != http.StatusOK {
		t.Fatalf("got %d %s", a.Status, a.Body)
	}
	var accepted struct {
		Executions []struct {
			ExecutionID execution.ID `json:"execution_id"`
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &accepted); err != nil {
		t.Fatal(err)
	}
	id := accepted.Executions[0].ExecutionID
	h.Start(id)
	h.Finish(id, richResult(h))
	callback := callbackBody(h, id)
	if diff := cmp.Diff(fieldsOfResult(), slices.Sorted(maps.Keys(callback))); diff != "" {
		t.Fatalf("the execution does not have everything (-fields of a result +fields of the callback)\n%s", diff)
	}
	sameFields(t, "GET /executions/{id}", callback, h.Get("/executions/"+string(id), h.Ann).JSON(t))
	last := h.Events(id, h.Ann).Last()
	sameFields(t, "the event end", callback, apitest.Answer{Body: last.Data}.JSON(t), "stdout", "stderr")
}

func TestAResultFrameIsOneThatEveryClientReads(t *testing.T) {
	h := apitest.Open(t)
	conn, _ := h.Dial(h.Ann)
	h.Say(conn, richSubmission)
	id := h.Only()
	h.Start(id)
	r := richResult(h)
	r.Artifacts.Files = nil
	for i := range 256 {
		name := fmt.Sprintf("out/%03d%s", i, strings.Repeat("\x01", 1000)) // six bytes each, in JSON
		r.Artifacts.Files = append(r.Artifacts.Files, execution.Artifact{Path: name, Mode: 0o600, Blob: h.Keep("")})
	}
	h.Fail(id, r)
	conn.SetReadLimit(1 << 20)
	for {
		f := h.Hear(conn)
		if f["type"] != "result" {
			continue
		}
		if _, there := f["artifacts"]; there || f["exit_code"] != 3.0 {
			t.Errorf("got %v; want it without its artifacts", f)
		}
		break
	}
	shown := h.Get("/executions/"+string(id), h.Ann)
	var record struct{ Artifacts []json.RawMessage }
	if err := json.Unmarshal([]byte(shown.Body), &record); err != nil || len(record.Artifacts) != 256 {
		t.Errorf("the record has %d artifacts, %v; want all", len(record.Artifacts), err)
	}
}
