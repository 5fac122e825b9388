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

// moody is a receiver that answers with the status that it is told.
func moody(t *testing.T, status int32) (url string, answer *atomic.Int32) {
	t.Helper()
	answer = new(atomic.Int32)
	answer.Store(status)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(answer.Load())) }))
	t.Cleanup(server.Close)
	return server.URL, answer
}

// delivery waits for a state of an execution's callback and returns what is shown of it.
func (h *house) delivery(id execution.ID, state execution.DeliveryState) map[string]any {
	h.t.Helper()
	for end := time.Now().Add(patience); ; {
		status, d := h.call(http.MethodGet, "/executions/"+string(id)+"/callback", nil)
		if status == http.StatusOK && d["state"] == string(state) {
			return d
		}
		if time.Now().After(end) {
			h.t.Fatalf("the callback of %s: %d %v, not %s", id, status, d, state)
		}
		select {
		case <-h.t.Context().Done():
			h.t.Fatal(h.t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestADeadCallbackIsListedExplainedAndSentAgain(t *testing.T) {
	h := enter(t)
	url, answer := moody(t, http.StatusGone)
	id := h.submit("echo hello", bash, fields{"callback_url": url})
	if d := h.delivery(id, execution.Dead); d["explanation"] != "Given up: the receiver answered 410 Gone." || d["reason"] != "gone" {
		t.Errorf("dead: %v", d)
	}
	if _, page := h.call(http.MethodGet, "/callbacks?status=dead&destination="+url, nil); page["count"] != 1.0 ||
		page["callbacks"].([]any)[0].(map[string]any)["execution_id"] != string(id) {
		t.Errorf("the dead ones: %v", page)
	}
	mine := h.token
	h.token = h.tokenFor("another")
	for _, call := range [][2]string{{http.MethodGet, ""}, {http.MethodGet, "/attempts"}, {http.MethodPost, "/redeliver"}} {
		if status, refusal := h.call(call[0], "/executions/"+string(id)+"/callback"+call[1], nil); status != http.StatusNotFound {
			t.Errorf("another's %v: %d %v", call, status, refusal)
		}
	}
	h.token = mine

	answer.Store(http.StatusOK)
	if status, d := h.call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver", nil); status != http.StatusOK {
		t.Fatalf("redeliver: %d %v", status, d)
	}
	d := h.delivery(id, execution.Delivered)
	if d["explanation"] != "Delivered at attempt 2: the receiver answered 200." {
		t.Errorf("delivered: %v", d)
	}
	_, all := h.call(http.MethodGet, "/executions/"+string(id)+"/callback/attempts", nil)
	var got []string
	for _, a := range all["attempts"].([]any) {
		a := a.(map[string]any)
		got = append(got, fmt.Sprint(a["number"], " ", a["outcome"], " ", a["status_code"]))
	}
	if fmt.Sprint(got) != "[1 http_status 410 2 delivered 200]" {
		t.Errorf("attempts: %v", got)
	}
}

func TestWhatIsSentAgainComesWithTheSameIDBytesAndSignature(t *testing.T) {
	h := enter(t)
	id := h.submit("echo hello", bash)
	first := h.callback(id)
	h.delivery(id, execution.Delivered)
	if status, d := h.call(http.MethodPost, "/executions/"+string(id)+"/callback/redeliver", nil); status != http.StatusOK {
		t.Fatalf("redeliver: %d %v", status, d)
	}
	h.leave() // what is pending survives a restart
	h.start()
	h.delivery(id, execution.Delivered)
	arrivals := h.arrivals(id)
	last := arrivals[len(arrivals)-1]
	if len(arrivals) < 2 || string(last.Body) != string(first.Body) || last.Header.Get("webhook-id") != first.Header.Get("webhook-id") ||
		last.Attempt < 2 || last.Signature != nil || last.Standard != nil {
		t.Errorf("first %+v, last of %d %+v", first, len(arrivals), last)
	}
}

func TestAllDeadCallbacksAreRecovered(t *testing.T) {
	h := enter(t)
	url, answer := moody(t, http.StatusGone)
	ids := []execution.ID{}
	for range 3 {
		ids = append(ids, h.submit("true", bash, fields{"callback_url": url}))
	}
	for _, id := range ids {
		h.delivery(id, execution.Dead)
	}
	answer.Store(http.StatusNoContent)
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	if status, n := h.call(http.MethodPost, "/callbacks/recover?since="+since, nil); status != http.StatusOK || n["recovered"] != 3.0 {
		t.Errorf("recover: %d %v", status, n)
	}
	for _, id := range ids {
		h.delivery(id, execution.Delivered)
	}
}

func TestATestOfAReceiverIsASignedCallback(t *testing.T) {
	h := enter(t)
	status, trial := h.call(http.MethodPost, "/callbacks/test", fields{"callback_url": h.hook.URL, "callback_signature_secret": secret})
	if status != http.StatusOK || trial["arrived"] != true || trial["status_code"] != 200.0 || trial["signed"] != true {
		t.Errorf("answered %d %v", status, trial)
	}
	h.receiver.mu.Lock()
	defer h.receiver.mu.Unlock()
	for _, arrived := range h.receiver.arrived {
		if c := arrived[0]; c.Signature != nil || c.Standard != nil || string(c.Body) != trial["body"] {
			t.Errorf("arrived: signature %v, standard %v, %s", c.Signature, c.Standard, c.Body)
		}
	}
	if len(h.receiver.arrived) != 1 {
		t.Errorf("%d samples arrived", len(h.receiver.arrived))
	}
}
