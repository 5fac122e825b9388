//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// statusReceiver starts a receiver that answers every callback with the status in answer.
func statusReceiver(t *testing.T, status int32) (url string, answer *atomic.Int32) {
	t.Helper()
	answer = new(atomic.Int32)
	answer.Store(status)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(answer.Load()))
	}))
	t.Cleanup(server.Close)
	return server.URL, answer
}

// awaitDelivery waits until the callback of an execution has a state, and returns its delivery.
func (h *harness) awaitDelivery(id execution.ID, state execution.DeliveryState) (delivery map[string]any) {
	h.t.Helper()
	if !eventually(h.t, func() bool {
		var status int
		status, delivery = h.call(http.MethodGet, "/executions/"+string(id)+"/callback", nil)
		return status == http.StatusOK && delivery["state"] == string(state)
	}) {
		h.t.Fatalf("delivery of %s: got %v, want %s", id, delivery, state)
	}
	return delivery
}

func TestADeadCallbackIsListedExplainedAndRedelivered(t *testing.T) {
	h := newHarness(t)
	url, answer := statusReceiver(t, http.StatusGone)
	id := h.submit("echo hello", bash, fields{"callback_url": url})
	if d := h.awaitDelivery(id, execution.Dead); d["explanation"] != "Given up: the receiver answered 410 Gone." ||
		d["reason"] != "gone" {
		t.Errorf("dead delivery: got %v", d)
	}
	if _, page := h.call(http.MethodGet, "/callbacks?status=dead&destination="+url, nil); page["count"] != 1.0 ||
		page["callbacks"].([]any)[0].(map[string]any)["execution_id"] != string(id) {
		t.Errorf("dead deliveries: got %v", page)
	}
	mine := h.token
	h.token = h.tokenFor("another")
	for _, call := range [][2]string{
		{http.MethodGet, ""},
		{http.MethodGet, "/attempts"},
		{http.MethodPost, "/redeliver"},
	} {
		if status, refusal := h.call(call[0], "/executions/"+string(id)+"/callback"+call[1],
			nil); status != http.StatusNotFound {
			t.Errorf("%v by another subject: got %d %v, want 404", call, status, refusal)
		}
	}
	h.token = mine

	answer.Store(http.StatusOK)
	if status, d := h.call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver",
		nil); status != http.StatusOK {
		t.Fatalf("redeliver: %d %v", status, d)
	}
	d := h.awaitDelivery(id, execution.Delivered)
	if d["explanation"] != "Delivered at attempt 2: the receiver answered 200." {
		t.Errorf("delivered delivery: got %v", d)
	}
	_, all := h.call(http.MethodGet, "/executions/"+string(id)+"/callback/attempts", nil)
	var got []string
	for _, a := range all["attempts"].([]any) {
		a := a.(map[string]any)
		got = append(got, fmt.Sprint(a["number"], " ", a["outcome"], " ", a["status_code"]))
	}
	if fmt.Sprint(got) != "[1 http_status 410 2 delivered 200]" {
		t.Errorf("attempts: got %v", got)
	}
}

func TestARedeliveryHasTheSameIDAndBodyAndAValidSignature(t *testing.T) {
	h := newHarness(t)
	id := h.submit("echo hello", bash)
	first := h.awaitCallback(id)
	h.awaitDelivery(id, execution.Delivered)
	if status, d := h.call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver",
		nil); status != http.StatusOK {
		t.Fatalf("redeliver: %d %v", status, d)
	}
	h.stopServer() // a pending delivery survives a restart
	h.startServer()
	h.awaitDelivery(id, execution.Delivered)
	arrivals := h.receiver.Arrivals(id)
	last := arrivals[len(arrivals)-1]
	if len(arrivals) < 2 || string(last.Body) != string(first.Body) ||
		last.Header.Get("webhook-id") != first.Header.Get("webhook-id") ||
		last.Attempt < 2 || last.Signature != nil || last.Standard != nil {
		t.Errorf("got first callback %+v, and last of %d %+v", first, len(arrivals), last)
	}
}

func TestAllDeadCallbacksAreRecovered(t *testing.T) {
	h := newHarness(t)
	url, answer := statusReceiver(t, http.StatusGone)
	ids := []execution.ID{}
	for range 3 {
		ids = append(ids, h.submit("true", bash, fields{"callback_url": url}))
	}
	for _, id := range ids {
		h.awaitDelivery(id, execution.Dead)
	}
	answer.Store(http.StatusNoContent)
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	if status, n := h.call(http.MethodPost, "/callbacks/recover?since="+since, nil); status != http.StatusOK ||
		n["recovered"] != 3.0 {
		t.Errorf("recover: %d %v", status, n)
	}
	for _, id := range ids {
		h.awaitDelivery(id, execution.Delivered)
	}
}

func TestATestCallbackIsSigned(t *testing.T) {
	h := newHarness(t)
	status, trial := h.call(http.MethodPost, "/callbacks/test", fields{
		"callback_url":              h.receiver.URL,
		"callback_signature_secret": secret,
	})
	if status != http.StatusOK || trial["arrived"] != true || trial["status_code"] != 200.0 || trial["signed"] != true {
		t.Errorf("answered %d %v", status, trial)
	}
	arrived := h.receiver.All()
	if len(arrived) != 1 {
		t.Fatalf("got %d callbacks, want 1", len(arrived))
	}
	if c := arrived[0]; c.Signature != nil || c.Standard != nil || string(c.Body) != trial["body"] {
		t.Errorf("got signature %v, standard %v and %s, want %v", c.Signature, c.Standard, c.Body, trial["body"])
	}
}
