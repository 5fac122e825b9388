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

// The program of the page, shortened.
const pagesProgram = "import time\nfor i in range(3):\n print(f\"Progress: {i} minutes\")\n time.sleep(0.5)\nprint(\"Complete!\")"

func TestThePagesProgramIsCalledBackAsThePageSays(t *testing.T) {
	h := enter(t)
	status, answer := h.call(http.MethodPost, "/execute/async", fields{
		"code": pagesProgram, "callback_url": h.hook.URL + "/webhook", "language": "python", "timeout": 7200,
		"callback_signature_secret": secret, "callback_headers": map[string]string{"X-Custom-Header": "my-value", "X-Task-ID": "task-123"},
	})
	if status != http.StatusOK || answer["status"] != "queued" || answer["callback_url"] != h.hook.URL+"/webhook" {
		t.Fatalf("answered %d %v", status, answer)
	}
	id := execution.ID(answer["execution_id"].(string))
	h.running(id, "Progress: 0 minutes\n") // seen while it runs
	if state := h.state(id); state != execution.Running {
		t.Errorf("it printed and is %s", state)
	}
	c := h.callback(id)
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

func TestAProgramTalksToItselfOverLocalhost(t *testing.T) {
	h := enter(t)
	c := h.callback(h.submit(`
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
	h := enter(t)
	code := `import os; print(os.getcwd(), os.environ["GREETING"], os.environ["HOME"], os.path.exists("main.py"))`
	for dir, field := range map[string]string{"/workspace/deep/er": "working_dir", "/tmp/there": "workdir"} {
		c := h.callback(h.submit(code, fields{field: dir, "env": map[string]string{"GREETING": "hé=llo"}}))
		if want := dir + " hé=llo /workspace True\n"; c.Payload.Stdout != want {
			t.Errorf("printed %q, want %q; stderr %q", c.Payload.Stdout, want, c.Payload.Stderr)
		}
	}
}

func TestOneKeyIsOneExecution(t *testing.T) {
	h := enter(t)
	body := fmt.Sprintf(`{"code":"print(1)","callback_url":%q}`, h.hook.URL)
	_, first := h.call(http.MethodPost, "/execute/async", body, "Idempotency-Key", "k-1")
	status, again := h.call(http.MethodPost, "/execute/async", body, "Idempotency-Key", "k-1")
	if status != http.StatusOK || again["execution_id"] != first["execution_id"] {
		t.Errorf("again: %d %v, first %v", status, again, first)
	}
	status, other := h.call(http.MethodPost, "/execute/async", strings.Replace(body, "1", "2", 1), "Idempotency-Key", "k-1")
	if status != http.StatusConflict || other["code"] != "CONFLICT" {
		t.Errorf("another body: %d %v", status, other)
	}
	h.record(execution.ID(first["execution_id"].(string)))
}

func TestAnothersExecutionDoesNotExist(t *testing.T) {
	h := enter(t)
	id := h.submit("print(1)")
	h.record(id)
	h.token = h.tokenFor("another")
	if status, answer := h.call(http.MethodGet, "/executions/"+string(id), nil); status != http.StatusNotFound || answer["code"] != "EXECUTION_NOT_FOUND" {
		t.Errorf("another subject: %d %v", status, answer)
	}
	h.token = h.tokenFor("root", "admin")
	if status, _ := h.call(http.MethodGet, "/executions/"+string(id), nil); status != http.StatusOK {
		t.Errorf("an admin: %d", status)
	}
}

func TestAFullQueueRefusesBeforeItStores(t *testing.T) {
	h := enter(t, func(c *config.Config) {
		c.Dispatch.Slots = 1
		c.Admission.Queue.PerSubject = 2
	})
	first := h.submit("import time\nprint('up')\ntime.sleep(3600)")
	h.running(first, "up")
	second, third := h.submit("print(2)"), h.submit("print(3)")
	status, answer := h.call(http.MethodPost, "/execute/async", fields{"code": "print(4)", "callback_url": h.hook.URL})
	if status != http.StatusTooManyRequests || answer["code"] != "QUEUE_FULL" || answer["retry_after"] == nil {
		t.Errorf("a full queue: %d %v", status, answer)
	}
	_, list := h.call(http.MethodGet, "/executions?limit=200", nil)
	if n := list["count"].(float64); n != 3 {
		t.Errorf("%v executions are stored, want 3", n)
	}
	for _, id := range []execution.ID{second, third, first} {
		if status, answer := h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil); status != http.StatusOK {
			t.Errorf("cancel %s: %d %v", id, status, answer)
		}
	}
	if got := h.callback(first).Payload; got.Status != execution.Cancelled || *got.ExitCode != 143 || got.Stdout != "up\n" {
		t.Errorf("cancelled while it ran: %+v", got)
	}
	if got := h.callback(second).Payload; got.Status != execution.Cancelled || got.ExitCode != nil || got.StartedAt != nil {
		t.Errorf("cancelled before it ran: %+v", got)
	}
	h.callback(third)
}

func TestAnUpgradeDoesNotEndWhatRuns(t *testing.T) {
	h := enter(t)
	id := h.submit("import time\nprint('before', flush=True)\ntime.sleep(4)\nprint('after')")
	h.running(id, "before")
	h.leave()
	time.Sleep(500 * time.Millisecond)
	h.start()
	c := h.callback(id)
	if c.Payload.Stdout != "before\nafter\n" || !c.Payload.Success || !c.Payload.OutputComplete {
		t.Errorf("after a restart: %+v", c.Payload)
	}
}

func TestAReaderGoesOnAfterAnUpgradeWhereItStopped(t *testing.T) {
	h := enter(t)
	id := h.submit("for i in {1..80}; do echo line $i; sleep 0.05; done", bash)
	var got strings.Builder
	read := func() {
		if status, _, more := h.output(id, "stdout", "Range", fmt.Sprintf("bytes=%d-", got.Len())); status == http.StatusPartialContent {
			got.WriteString(more)
		}
	}
	for range 2 {
		for before := got.Len(); got.Len() < before+50; { // some lines more
			read()
		}
		h.leave()
		time.Sleep(500 * time.Millisecond)
		h.start()
	}
	for ended := false; !ended; {
		ended = h.state(id).Terminal() // asked before the last look
		read()
	}
	var want strings.Builder
	for i := range 80 {
		fmt.Fprintf(&want, "line %d\n", i+1)
	}
	if got.String() != want.String() {
		t.Errorf("read over two upgrades: %q, want %q", got.String(), want.String())
	}
}

func TestADeadlineIsKeptWhileNoServerIsThere(t *testing.T) {
	h := enter(t)
	id := h.submit("echo up; exec sleep 3600", bash, fields{"timeout": 2})
	h.running(id, "up\n")
	container := h.container(id)
	h.leave()
	docker := engine(t)
	if !eventually(t, func() bool {
		c, err := docker.ContainerInspect(t.Context(), container)
		return err == nil && !c.State.Running
	}) {
		t.Error("without a server the program outlives its deadline")
	}
	h.start()
	h.expect(id, ending{Status: execution.Timeout, Reason: execution.TimedOut, ExitCode: 124, Stdout: "up\n"})
}

func TestASlowReceiverHoldsNoSlot(t *testing.T) {
	h := enter(t, slots(1))
	never := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-never }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(never) }) // first
	for range 2 {
		if record := h.record(h.submit("echo 1", bash, fields{"callback_url": hanging.URL + "/webhook"})); record["status"] != "completed" {
			t.Errorf("got %v", record)
		}
	}
	h.callback(h.submit("echo 2", bash))
}

func TestADeliveryThatFailedIsSentAgainWithTheSameBytes(t *testing.T) {
	h := enter(t, func(c *config.Config) { c.Callback.Schedule = []time.Duration{time.Second, time.Second} })
	h.receiver.refuse(2)
	id := h.submit("print(1)")
	for len(h.arrivals(id)) < 3 {
		time.Sleep(50 * time.Millisecond)
	}
	for i, c := range h.arrivals(id) {
		if string(c.Body) != string(h.arrivals(id)[0].Body) || c.Attempt != i+1 || c.Header.Get("webhook-id") != "msg_"+string(id) {
			t.Errorf("attempt %d: number %d, webhook-id %s", i+1, c.Attempt, c.Header.Get("webhook-id"))
		}
	}
	for {
		if callback := h.record(id)["callback"].(map[string]any); callback["state"] == "delivered" {
			if callback["attempts"] != 3.0 {
				t.Errorf("recorded %v attempts", callback["attempts"])
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (h *house) state(id execution.ID) execution.State {
	h.t.Helper()
	_, record := h.call(http.MethodGet, "/executions/"+string(id), nil)
	return execution.State(record["status"].(string))
}
