//go:build e2e

package e2e

import (
	"net/http"
	"strconv"
	"testing"

	"boomerang/internal/execution"
)

// TestACallbackLoopEndsAfterFourCallbacks plays a receiver that submits again from each callback and passes the depth
// on.
func TestACallbackLoopEndsAfterFourCallbacks(t *testing.T) {
	h := newHarness(t)
	again := fields{
		"code": "print(1)", "language": "python", "callback_url": h.receiver.URL + "/webhook",
		"callback_signature_secret": secret, "timeout": 60,
	}
	var depth []string // the header of the last callback
	for want := 1; want <= 4; want++ {
		status, answer := h.call(http.MethodPost, "/execute/async", again, depth...)
		if status != http.StatusOK {
			t.Fatalf("after %v: answered %d %v", depth, status, answer)
		}
		c := h.awaitCallback(execution.ID(answer["execution_id"].(string)))
		depth = []string{"X-HopX-Callback-Depth", c.Header.Get("X-HopX-Callback-Depth")}
		if depth[1] != strconv.Itoa(want) {
			t.Fatalf("callback %d has depth %q", want, depth[1])
		}
	}
	status, answer := h.call(http.MethodPost, "/execute/async", again, depth...)
	if status != http.StatusBadRequest || answer["code"] != "CALLBACK_NOT_ALLOWED" {
		t.Errorf("fifth submission: answered %d %v", status, answer)
	}
}
