//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// pagesProgram is the example of the page, shortened.
const pagesProgram = "import time\nfor i in range(3):\n print(f\"Progress: {i} minutes\")\n time.sleep(0.5)\n" +
	"print(\"Complete!\")"

func TestThePageExampleIsDeliveredAsDocumented(t *testing.T) {
	h := newHarness(t)
	status, answer := h.call(http.MethodPost, "/execute/async", fields{
		"code": pagesProgram, "callback_url": h.receiver.URL + "/webhook", "language": "python", "timeout": 7200,
		"callback_signature_secret": secret, "callback_headers": map[string]string{
			"X-Custom-Header": "my-value",
			"X-Task-ID":       "task-123",
		},
	})
	if status != http.StatusOK || answer["status"] != "queued" || answer["callback_url"] != h.receiver.URL+"/webhook" {
		t.Fatalf("answered %d %v", status, answer)
	}
	id := execution.ID(answer["execution_id"].(string))
	h.awaitOutput(id, "Progress: 0 minutes\n") // visible while the program runs
	if state := h.state(id); state != execution.Running {
		t.Errorf("the execution has printed and is %s, want running", state)
	}
	c := h.awaitCallback(id)
	if got := c.Header.Get("X-Custom-Header") + c.Header.Get("X-Task-ID"); got != "my-valuetask-123" {
		t.Errorf("custom headers arrived as %q", got)
	}
	var body map[string]any
	if err := json.Unmarshal(c.Body, &body); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"execution_id": string(id), "status": "completed", "success": true, "stderr": "", "exit_code": 0.0,
		"stdout": "Progress: 0 minutes\nProgress: 1 minutes\nProgress: 2 minutes\nComplete!\n",
	} {
		if body[field] != want {
			t.Errorf("%s is %v, want %v", field, body[field], want)
		}
	}
	if took := body["execution_time"].(float64); took < 1.5 || took > 60 {
		t.Errorf("execution_time is %v", took)
	}
	if !c.Payload.CompletedAt.After(*c.Payload.StartedAt) {
		t.Errorf("from %v to %v", c.Payload.StartedAt, c.Payload.CompletedAt)
	}
}

func TestAProgramReachesItselfOverLocalhost(t *testing.T) {
	h := newHarness(t)
	c := h.awaitCallback(h.submit(`
import socket, threading
server = socket.create_server(("localhost", 0))
threading.Thread(target=lambda: server.accept()[0].sendall(b"heard")).start()
print(socket.create_connection(("localhost", server.getsockname()[1])).recv(5).decode())
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError as e:
    print(e.strerror)
`))
	if want := "heard\nNetwork is unreachable\n"; c.Payload.Stdout != want {
		t.Errorf("printed %q and %q, want %q", c.Payload.Stdout, c.Payload.Stderr, want)
	}
}

func TestEnvAndWorkingDirectoryAreApplied(t *testing.T) {
	h := newHarness(t)
	code := `import os; print(os.getcwd(), os.environ["GREETING"], os.environ["HOME"], os.path.exists("main.py"))`
	for dir, field := range map[string]string{"/workspace/deep/er": "working_dir", "/tmp/there": "workdir"} {
		c := h.awaitCallback(h.submit(code, fields{field: dir, "env": map[string]string{"GREETING": "hé=llo"}}))
		if want := dir + " hé=llo /workspace True\n"; c.Payload.Stdout != want {
			t.Errorf("printed %q, want %q; stderr %q", c.Payload.Stdout, want, c.Payload.Stderr)
		}
	}
}

func TestOneIdempotencyKeyMakesOneExecution(t *testing.T) {
	h := newHarness(t)
	body := fmt.Sprintf(`{"code":"print(1)","callback_url":%q}`, h.receiver.URL)
	_, first := h.call(http.MethodPost, "/execute/async", body, "Idempotency-Key", "k-1")
	status, again := h.call(http.MethodPost, "/execute/async", body, "Idempotency-Key", "k-1")
	if status != http.StatusOK || again["execution_id"] != first["execution_id"] {
		t.Errorf("the request with the key again: got %d %v, first %v", status, again, first)
	}
	status, other := h.call(http.MethodPost, "/execute/async", strings.Replace(body, "1", "2", 1), "Idempotency-Key",
		"k-1")
	if status != http.StatusConflict || other["code"] != "CONFLICT" {
		t.Errorf("another body with the key: got %d %v, want 409", status, other)
	}
	h.awaitRecord(execution.ID(first["execution_id"].(string)))
}

func TestAnExecutionIsInvisibleToOtherSubjects(t *testing.T) {
	h := newHarness(t)
	id := h.submit("print(1)")
	h.awaitRecord(id)
	h.token = h.tokenFor("another")
	if status, answer := h.call(http.MethodGet, "/executions/"+string(id), nil); status != http.StatusNotFound ||
		answer["code"] != "EXECUTION_NOT_FOUND" {
		t.Errorf("another subject: %d %v", status, answer)
	}
	h.token = h.tokenFor("root", "admin")
	if status, _ := h.call(http.MethodGet, "/executions/"+string(id), nil); status != http.StatusOK {
		t.Errorf("an admin: %d", status)
	}
}

func TestAFullQueueRefusesWithoutStoring(t *testing.T) {
	h := newHarness(t, func(c *config.Config) {
		c.Dispatch.Slots = 1
		c.Quota.Queued = 2
	})
	first := h.submit("import time\nprint('up')\ntime.sleep(3600)")
	h.awaitOutput(first, "up")
	second, third := h.submit("print(2)"), h.submit("print(3)")
	status, answer := h.call(http.MethodPost, "/execute/async", fields{
		"code":         "print(4)",
		"callback_url": h.receiver.URL,
	})
	if status != http.StatusTooManyRequests || answer["code"] != "QUEUE_FULL" || answer["retry_after"] == nil {
		t.Errorf("a full queue: got %d %v", status, answer)
	}
	_, list := h.call(http.MethodGet, "/executions?limit=200", nil)
	if n := list["count"].(float64); n != 3 {
		t.Errorf("%v executions are stored, want 3", n)
	}
	for _, id := range []execution.ID{second, third, first} {
		if status, answer := h.call(http.MethodPost, "/executions/"+string(id)+"/cancel",
			nil); status != http.StatusOK {
			t.Errorf("cancel %s: %d %v", id, status, answer)
		}
	}
	if got := h.awaitCallback(first).Payload; got.Status != execution.Cancelled || *got.ExitCode != 143 ||
		got.Stdout != "up\n" {
		t.Errorf("cancelled while it ran: %+v", got)
	}
	if got := h.awaitCallback(second).Payload; got.Status != execution.Cancelled || got.ExitCode != nil ||
		got.StartedAt != nil {
		t.Errorf("cancelled before it ran: %+v", got)
	}
	h.awaitCallback(third)
}

func TestARestartDoesNotEndRunningPrograms(t *testing.T) {
	h := newHarness(t)
	id := h.submit("import time\nprint('before', flush=True)\ntime.sleep(4)\nprint('after')")
	h.awaitOutput(id, "before")
	h.stopServer()
	time.Sleep(500 * time.Millisecond)
	h.startServer()
	c := h.awaitCallback(id)
	if c.Payload.Stdout != "before\nafter\n" || !c.Payload.Success || !c.Payload.OutputComplete {
		t.Errorf("after a restart: %+v", c.Payload)
	}
}

func TestAReaderResumesAtItsOffsetAfterARestart(t *testing.T) {
	h := newHarness(t)
	id := h.submit("for i in {1..80}; do echo line $i; sleep 0.05; done", bash)
	var got strings.Builder
	read := func() {
		if status, _, more := h.output(id, "stdout", "Range", fmt.Sprintf("bytes=%d-",
			got.Len())); status == http.StatusPartialContent {
			got.WriteString(more)
		}
	}
	for range 2 {
		for before := got.Len(); got.Len() < before+50; { // a few more lines
			read()
		}
		h.stopServer()
		time.Sleep(500 * time.Millisecond)
		h.startServer()
	}
	for ended := false; !ended; {
		ended = h.state(id).Terminal() // asked before the last read
		read()
	}
	var want strings.Builder
	for i := range 80 {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	if got.String() != want.String() {
		t.Errorf("output read over two restarts: got %q, want %q", got.String(), want.String())
	}
}

func TestADeadlineHoldsWhileNoServerRuns(t *testing.T) {
	h := newHarness(t)
	id := h.submit("echo up; exec sleep 3600", bash, fields{"timeout": 2})
	h.awaitOutput(id, "up\n")
	container := h.containerOf(id)
	h.stopServer()
	docker := engine(t)
	if !eventually(t, func() bool {
		c, err := docker.ContainerInspect(t.Context(), container)
		return err == nil && !c.State.Running
	}) {
		t.Error("the program outlives its deadline while no server runs")
	}
	h.startServer()
	h.expectResult(id, result{Status: execution.Timeout, Reason: execution.TimedOut, ExitCode: 124, Stdout: "up\n"})
}

func TestASlowReceiverHoldsNoSlot(t *testing.T) {
	h := newHarness(t, withSlots(1))
	never := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-never }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(never) }) // runs before hanging.Close
	for range 2 {
		if record := h.awaitRecord(h.submit("echo 1", bash, fields{"callback_url": hanging.URL +
			"/webhook"})); record["status"] != "completed" {
			t.Errorf("got %v", record)
		}
	}
	h.awaitCallback(h.submit("echo 2", bash))
}

func TestARetriedDeliverySendsTheSameBytes(t *testing.T) {
	h := newHarness(t, func(c *config.Config) { c.Callback.Schedule = []time.Duration{time.Second, time.Second} })
	h.refusals.Store(2)
	id := h.submit("print(1)")
	if !eventually(t, func() bool { return len(h.receiver.Arrivals(id)) >= 3 }) {
		t.Fatalf("got %d callbacks, want 3", len(h.receiver.Arrivals(id)))
	}
	for i, c := range h.receiver.Arrivals(id) {
		if string(c.Body) != string(h.receiver.Arrivals(id)[0].Body) || c.Attempt != i+1 ||
			c.Header.Get("webhook-id") != "msg_"+string(id) {
			t.Errorf("attempt %d: number %d, webhook-id %s", i+1, c.Attempt, c.Header.Get("webhook-id"))
		}
	}
	if d := h.awaitDelivery(id, execution.Delivered); d["attempts"] != 3.0 {
		t.Errorf("got %v attempts, want 3", d["attempts"])
	}
}

func (h *harness) state(id execution.ID) execution.State {
	h.t.Helper()
	_, record := h.call(http.MethodGet, "/executions/"+string(id), nil)
	return execution.State(record["status"].(string))
}
