package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

func TestABatchIsQueuedWhole(t *testing.T) {
	h := open(t)
	const body = `{"callback_url":"https://example.com/all","callback_signature_secret":["new","old"],"executions":[
		{"code":"print(1)","name":"first"},{"code":"echo 2","language":"sh","timeout":60,"metadata":{"a":"b"}}]}`
	a := h.call(http.MethodPost, "/executions/batch", h.ann, body, asJSON, "Idempotency-Key: k")
	if a.status != http.StatusOK {
		t.Fatalf("got %d: %s", a.status, a.body)
	}
	got := a.json(t)
	members, _ := got["executions"].([]any)
	if got["count"] != 2.0 || len(members) != 2 || got["callback_url"] != "https://example.com/all" || got["status"] != "queued" {
		t.Errorf("got %v", got)
	}
	for i, member := range members {
		fields, _ := member.(map[string]any)
		id := execution.ID(fmt.Sprint(fields["execution_id"]))
		e, err := h.store.Get(t.Context(), id)
		if err != nil || string(e.Batch.ID) != got["batch_id"] || !e.Batch.Summary || e.Subject != "ann" {
			t.Errorf("stored %+v, %v", e, err)
		}
		if record := h.call(http.MethodGet, "/executions/"+string(id), h.ann, "").json(t); record["batch_id"] != got["batch_id"] {
			t.Errorf("record %d has batch_id %v", i, record["batch_id"])
		}
	}
	again := h.call(http.MethodPost, "/executions/batch", h.ann, body, asJSON, "Idempotency-Key: k")
	if again.body != a.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("replayed %s, want %s", again.body, a.body)
	}
	list := h.call(http.MethodGet, "/executions?batch="+fmt.Sprint(got["batch_id"]), h.ann, "").json(t)
	if list["count"] != 2.0 {
		t.Errorf("listed %v", list)
	}
	if others := h.call(http.MethodGet, "/executions?batch="+fmt.Sprint(got["batch_id"]), h.bob, "").json(t); others["count"] != 0.0 {
		t.Errorf("another sees %v", others)
	}
	if wrong := h.call(http.MethodGet, "/executions?batch=x", h.ann, ""); wrong.status != http.StatusBadRequest {
		t.Errorf("a batch of no form: %d", wrong.status)
	}
}

func TestAMemberThatEndedFirstSaysWhereItsCallbackIs(t *testing.T) {
	h := open(t)
	got := h.call(http.MethodPost, "/executions/batch", h.ann,
		`{"callback_url":"https://example.com/all","executions":[{"code":"1"},{"code":"2"}]}`, asJSON).json(t)
	members, _ := got["executions"].([]any)
	first, _ := members[0].(map[string]any)
	path := "/executions/" + fmt.Sprint(first["execution_id"])
	summarised := &execution.Delivery{Summary: func(execution.BatchID, []execution.Execution) []byte { return nil }}
	if err := h.store.Finish(t.Context(), execution.ID(fmt.Sprint(first["execution_id"])),
		execution.Result{State: execution.Failed, Reason: execution.StartFailed}, summarised); err != nil {
		t.Fatal(err)
	}
	const want = "The batch has one callback for all: it is that of the execution that ends last."
	if got := h.get(path+"/callback", h.ann).json(t); got["explanation"] != want || got["state"] != "none" {
		t.Errorf("got %v; want %s", got, want)
	}
	if a := h.call(http.MethodPost, path+"/callback/redeliver", h.ann, ""); a.status != http.StatusConflict || a.json(t)["message"] != want {
		t.Errorf("got %d %s; want 409: %s", a.status, a.body, want)
	}
}

func TestABatchThatIsWrongStoresNothing(t *testing.T) {
	h := open(t)
	const fine = `{"code":"1","callback_url":"https://example.com/"}`
	for body, field := range map[string]string{
		`{}`:                                                             "executions",
		`{"executions":null}`:                                            "executions",
		`{"executions":{}}`:                                              "executions",
		`{"executions":[]}`:                                              "executions",
		`{"executions":[` + fine + `,null]}`:                             "executions[1]",
		`{"executions":[` + fine + `,[]]}`:                               "executions[1]",
		`{"executions":[` + fine + `,{"code":1}]}`:                       "executions[1].code",
		`{"executions":[` + fine + `,{"code":"1"}]}`:                     "executions[1].callback_url",
		`{"executions":[` + fine + `],"callback_url":5}`:                 "callback_url",
		`{"executions":[{"code":"1","files":[{"path":"a"}]}]}`:           "executions[0].files[0]",
		`{"executions":[{"code":"1","limits":{"memory":"x"}}]}`:          "executions[0].limits.memory",
		`{"executions":[` + strings.Repeat(fine+",", 1000) + fine + `]}`: "executions",
		`{"executions":[` + strings.Repeat("1,", 2000) + `1]}`:           "executions", // none of too many is looked at
		`{"executions":[` + fine + `],"callback_headers":{"Host":"x"},"callback_url":"https://example.com/"}`: "callback_headers",
	} {
		a := h.call(http.MethodPost, "/executions/batch", h.ann, body, asJSON)
		details, _ := a.json(t)["details"].(map[string]any)
		if a.status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%.100s: got %d %v, want 400 at %s", body, a.status, details, field)
		}
	}
	if list := h.call(http.MethodGet, "/executions", h.ann, "").json(t); list["count"] != 0.0 {
		t.Errorf("stored %v", list)
	}
}
