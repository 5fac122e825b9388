//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"boomerang/internal/execution"
)

func TestABatchIsDeliveredOnceAfterAllItsExecutionsEnd(t *testing.T) {
	h := newHarness(t)
	status, answer := h.call(http.MethodPost, "/executions/batch", fields{
		"callback_url": h.receiver.URL + "/batch", "callback_signature_secret": secret,
		"executions": []fields{
			{"code": "print('one')", "name": "first"},
			{"code": "import time; time.sleep(1); raise SystemExit(3)", "metadata": map[string]string{"shard": "2"}},
			{"code": "echo three", "language": "bash"},
		},
	})
	if status != http.StatusOK || answer["count"] != 3.0 {
		t.Fatalf("answered %d %v", status, answer)
	}
	c := h.awaitCallback("") // a batch has no execution ID
	if c.Signature != nil || c.Standard != nil {
		t.Errorf("signature %v, %v", c.Signature, c.Standard)
	}
	var got struct {
		BatchID    string         `json:"batch_id"`
		Success    bool           `json:"success"`
		Counts     map[string]int `json:"counts"`
		Executions []struct {
			ID       execution.ID      `json:"execution_id"`
			Status   execution.State   `json:"status"`
			ExitCode int               `json:"exit_code"`
			Stdout   int64             `json:"stdout_bytes"`
			Name     string            `json:"name"`
			Metadata map[string]string `json:"metadata"`
		} `json:"executions"`
	}
	if err := json.Unmarshal(c.Body, &got); err != nil {
		t.Fatal(err)
	}
	if got.BatchID != answer["batch_id"] || got.Success || got.Counts["completed"] != 2 || got.Counts["failed"] != 1 ||
		len(got.Executions) != 3 {
		t.Fatalf("got %s", c.Body)
	}
	for i, e := range got.Executions {
		if want := answer["executions"].([]any)[i].(map[string]any)["execution_id"]; string(e.ID) != want {
			t.Errorf("execution %d is %s, want %s", i, e.ID, want)
		}
		if record := h.awaitRecord(e.ID); record["status"] != string(e.Status) {
			t.Errorf("execution %d is %s in the callback and %v in its record", i, e.Status, record["status"])
		}
	}
	if first, second := got.Executions[0], got.Executions[1]; first.Name != "first" || first.Stdout != 4 ||
		second.ExitCode != 3 || second.Metadata["shard"] != "2" {
		t.Errorf("got %s", c.Body)
	}
	if n := len(h.receiver.Arrivals("")); n != 1 {
		t.Errorf("got %d callbacks of one batch, want 1", n)
	}
}
