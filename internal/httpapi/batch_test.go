package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
)

func TestABatchIsQueuedWhole(t *testing.T) {
	h := apitest.Open(t)
	const body = `{"callback_url":"https://example.com/all","callback_signature_secret":["new","old"],"executions":[
		{"code":"print(1)","name":"first"},{"code":"echo 2","language":"sh","timeout":60,"metadata":{"a":"b"}}]}`
	a := h.Call(http.MethodPost, "/executions/batch", h.Ann, body, apitest.AsJSON, "Idempotency-Key: k")
	if a.Status != http.StatusOK {
		t.Fatalf("got %d: %s", a.Status, a.Body)
	}
	got := a.JSON(t)
	members, _ := got["executions"].([]any)
	if got["count"] != 2.0 || len(members) != 2 || got["callback_url"] != "https://example.com/all" ||
		got["status"] != "queued" {
		t.Errorf("got %v", got)
	}
	for i, member := range members {
		fields, _ := member.(map[string]any)
		id := execution.ID(fmt.Sprint(fields["execution_id"]))
		e, err := h.Store.Get(t.Context(), id)
		if err != nil || string(e.Batch.ID) != got["batch_id"] || !e.Batch.Summary || e.Subject != "ann" {
			t.Errorf("stored %+v, %v", e, err)
		}
		if record := h.Call(http.MethodGet, "/executions/"+string(id), h.Ann, "").
			JSON(t); record["batch_id"] != got["batch_id"] {
			t.Errorf("record %d has batch_id %v", i, record["batch_id"])
		}
	}
	again := h.Call(http.MethodPost, "/executions/batch", h.Ann, body, apitest.AsJSON, "Idempotency-Key: k")
	if again.Body != a.Body || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("replayed %s, want %s", again.Body, a.Body)
	}
	list := h.Call(http.MethodGet, "/executions?batch="+fmt.Sprint(got["batch_id"]), h.Ann, "").JSON(t)
	if list["count"] != 2.0 {
		t.Errorf("listed %v", list)
	}
	if others := h.Call(http.MethodGet, "/executions?batch="+fmt.Sprint(got["batch_id"]), h.Bob, "").
		JSON(t); others["count"] != 0.0 {
		t.Errorf("another sees %v", others)
	}
	if wrong := h.Call(http.MethodGet, "/executions?batch=x", h.Ann, ""); wrong.Status != http.StatusBadRequest {
		t.Errorf("a batch of no form: %d", wrong.Status)
	}
}

func TestAMemberThatEndedFirstSaysWhereItsCallbackIs(t *testing.T) {
	h := apitest.Open(t)
	got := h.Call(http.MethodPost, "/executions/batch", h.Ann,
		`{"callback_url":"https://example.com/all","executions":[{"code":"1"},{"code":"2"}]}`, apitest.AsJSON).JSON(t)
	members, _ := got["executions"].([]any)
	first, _ := members[0].(map[string]any)
	path := "/executions/" + fmt.Sprint(first["execution_id"])
	summarised := &execution.Delivery{Summary: func(execution.BatchID, []execution.Execution) []byte { return nil }}
	if err := h.Store.Finish(t.Context(), execution.ID(fmt.Sprint(first["execution_id"])),
		execution.Result{State: execution.Failed, Reason: execution.StartFailed}, summarised); err != nil {
		t.Fatal(err)
	}
	const want = "The batch has one callback for all: it is that of the execution that ends last."
	if got := h.Get(path+"/callback", h.Ann).JSON(t); got["explanation"] != want || got["state"] != "none" {
		t.Errorf("got %v; want %s", got, want)
	}
	if a := h.Call(http.MethodPost, path+"/callback/redeliver", h.Ann, ""); a.Status != http.StatusConflict ||
		a.JSON(t)["message"] != want {
		t.Errorf("got %d %s; want 409: %s", a.Status, a.Body, want)
	}
}

func TestABatchThatIsWrongStoresNothing(t *testing.T) {
	h := apitest.Open(t)
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
		`{"callback_headers":{"Host":"x"},"callback_url":"https://example.com/",` +
			`"executions":[` + fine + `]}`: "callback_headers",
	} {
		a := h.Call(http.MethodPost, "/executions/batch", h.Ann, body, apitest.AsJSON)
		details, _ := a.JSON(t)["details"].(map[string]any)
		if a.Status != http.StatusBadRequest || details["field"] != field {
			t.Errorf("%.100s: got %d %v, want 400 at %s", body, a.Status, details, field)
		}
	}
	if list := h.Call(http.MethodGet, "/executions", h.Ann, "").JSON(t); list["count"] != 0.0 {
		t.Errorf("stored %v", list)
	}
}
