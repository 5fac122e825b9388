package httpapi

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
	"boomerang/internal/journal"
	"boomerang/internal/wire"
)

// richSubmission asks for everything that a result can tell about. It is a first frame, too.
const richSubmission = `{"type":"execute","code":"x","callback_url":"https://example.com/hook","name":"nightly",
	"metadata":{"ticket":"4711"},"artifacts":["out/**"],"workspace":"reports"}`

// richResult is a result in which no field is empty.
func (h *house) richResult() execution.Result {
	h.t.Helper()
	r := completed(strings.Repeat("head\n", inline), strings.Repeat("oops\n", inline))
	r.State, r.ExitCode, r.Error = execution.Failed, new(3), "The program exited with code 3."
	r.Artifacts = &execution.Artifacts{
		Files: []execution.Artifact{{Path: "out/a.txt", Mode: 0o640, Blob: h.keep("hello")}, {Path: "out/b", Mode: 0o755, Blob: h.keep("")}},
		Leavings: execution.Leavings{
			Omitted: []execution.Omission{{Path: "out/link", Reason: journal.OmitSymlink}}, Count: 70, Cut: journal.CutTime,
		},
	}
	r.Left = &execution.Left{
		Reason: journal.CutEntries, Omitted: []execution.Omission{{Path: "pipe", Reason: journal.OmitNotRegular}}, Missing: 9,
	}
	return r
}

// fieldsOfResult lists the JSON names of wire.Result; absent are those of fields that a test cannot bring about.
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

func (h *house) callbackBody(id execution.ID) map[string]any {
	h.t.Helper()
	d, err := h.store.Delivery(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{body: string(d.Body)}.json(h.t)
}

func TestAResultHasTheSameFieldsWhereverItIsShown(t *testing.T) {
	h := open(t)
	const key = "Idempotency-Key: rich"
	a := h.call(http.MethodPost, "/execute/async", h.ann, richSubmission, asJSON, key)
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	id := a.id(t)
	h.start(id)
	h.finish(id, h.richResult())

	callback := h.callbackBody(id)
	if diff := cmp.Diff(fieldsOfResult("batch_id"), slices.Sorted(maps.Keys(callback))); diff != "" {
		t.Fatalf("the execution does not have everything (-fields of a result +fields of the callback)\n%s", diff)
	}
	for name, value := range callback {
		if reflect.ValueOf(value).IsZero() && name != "success" { // an instance of each field that says something
			t.Errorf("%s of the callback is %v", name, value)
		}
	}

	got := h.call(http.MethodPost, "/execute", h.ann, richSubmission, asJSON, key).json(t)
	if diff := cmp.Diff(callback, got); diff != "" {
		t.Errorf("POST /execute (-callback +answer)\n%s", diff)
	}
	sameFields(t, "GET /executions/{id}", callback, h.get("/executions/"+string(id), h.ann).json(t))
	h.sameOnStreams(id, callback, richSubmission, key)
}

// sameOnStreams compares the last event and the last frames with the callback. The output is not in them: it came before.
func (h *house) sameOnStreams(id execution.ID, callback map[string]any, frame, key string) {
	h.t.Helper()
	last := h.events(id, h.ann).last()
	sameFields(h.t, "the event end", callback, answer{body: last.data}.json(h.t), "stdout", "stderr")

	conn, _ := h.dial(h.ann, key)
	h.say(conn, frame)
	for {
		f := h.hear(conn)
		if f["type"] != "result" {
			continue
		}
		if f["timestamp"] == callback["timestamp"] {
			h.t.Errorf("the frame has the time of the end, %v", f["timestamp"])
		}
		sameFields(h.t, "the frame result", callback, f, "stdout", "stderr", "timestamp")
		for _, name := range []string{"stdout", "stderr"} {
			if text, there := f[name]; there {
				h.t.Errorf("the frame result repeats %s: %v", name, text)
			}
		}
		break
	}
	if f := h.hear(conn); f["type"] != "complete" || f["success"] != callback["success"] {
		h.t.Errorf("got %v; want complete", f)
	}
}

// last reads to the end of the stream and returns the last event with its data.
func (r *eventReader) last() (last sse) {
	r.t.Helper()
	for {
		e, ok := r.next()
		if !ok {
			return last
		}
		last = e
	}
}

func TestAResultOfABatchHasTheSameFieldsWhereverItIsShown(t *testing.T) {
	h := open(t)
	a := h.call(http.MethodPost, "/executions/batch", h.ann, `{"executions":[`+richSubmission+`]}`, asJSON)
	if a.status != http.StatusOK {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	var accepted acceptedBatch
	if err := json.Unmarshal([]byte(a.body), &accepted); err != nil {
		t.Fatal(err)
	}
	id := accepted.Executions[0].ExecutionID
	h.start(id)
	h.finish(id, h.richResult())
	callback := h.callbackBody(id)
	if diff := cmp.Diff(fieldsOfResult(), slices.Sorted(maps.Keys(callback))); diff != "" {
		t.Fatalf("the execution does not have everything (-fields of a result +fields of the callback)\n%s", diff)
	}
	sameFields(t, "GET /executions/{id}", callback, h.get("/executions/"+string(id), h.ann).json(t))
	last := h.events(id, h.ann).last()
	sameFields(t, "the event end", callback, answer{body: last.data}.json(t), "stdout", "stderr")
}

func TestAResultFrameIsOneThatEveryClientReads(t *testing.T) {
	h := open(t)
	conn, _ := h.dial(h.ann)
	h.say(conn, richSubmission)
	id := h.only()
	h.start(id)
	r := h.richResult()
	r.Artifacts.Files = nil
	for i := range 256 {
		name := fmt.Sprintf("out/%03d%s", i, strings.Repeat("\x01", 1000)) // six bytes each, in JSON
		r.Artifacts.Files = append(r.Artifacts.Files, execution.Artifact{Path: name, Mode: 0o600, Blob: h.keep("")})
	}
	h.fail(id, r)
	conn.SetReadLimit(1 << 20)
	for {
		f := h.hear(conn)
		if f["type"] != "result" {
			continue
		}
		if _, there := f["artifacts"]; there || f["exit_code"] != 3.0 {
			t.Errorf("got %v; want it without its artifacts", f)
		}
		break
	}
	shown := h.get("/executions/"+string(id), h.ann)
	var record struct{ Artifacts []json.RawMessage }
	if err := json.Unmarshal([]byte(shown.body), &record); err != nil || len(record.Artifacts) != 256 {
		t.Errorf("the record has %d artifacts, %v; want all", len(record.Artifacts), err)
	}
}
