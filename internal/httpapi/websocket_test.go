package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"boomerang/internal/execution"
)

// dial opens a stream. What is refused comes back as an answer.
func (h *house) dial(token string, headers ...string) (*websocket.Conn, answer) {
	h.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
	}
	conn, response, err := websocket.Dial(h.t.Context(), strings.Replace(h.url, "http", "ws", 1)+"/execute/stream", &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // its documentation: "You never need to close resp.Body yourself."
	if err != nil {
		var body [1024]byte
		n, _ := response.Body.Read(body[:])
		return nil, answer{response.StatusCode, response.Header, string(body[:n])}
	}
	h.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn, answer{}
}

// say sends the first frame.
func (h *house) say(conn *websocket.Conn, frame string) {
	h.t.Helper()
	if err := conn.Write(h.t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		h.t.Fatal(err)
	}
}

// hear reads a frame.
func (h *house) hear(conn *websocket.Conn) map[string]any {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	var frame map[string]any
	if err := json.Unmarshal(text, &frame); err != nil {
		h.t.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339, fmt.Sprint(frame["timestamp"])); err != nil || at.IsZero() {
		h.t.Errorf("frame %v has no time: %v", frame, err)
	}
	return frame
}

func (h *house) closed(conn *websocket.Conn, want websocket.StatusCode) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if _, text, err := conn.Read(ctx); websocket.CloseStatus(err) != want {
		h.t.Errorf("got %q, %v; want the socket closed with %d", text, err, want)
	}
}

// only is the one execution that there is.
func (h *house) only() execution.ID {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		list, err := h.store.List(h.t.Context(), execution.Filter{Limit: 2})
		if err != nil || len(list) > 1 {
			h.t.Fatalf("%d executions, %v", len(list), err)
		}
		if len(list) == 1 {
			return list[0].ID
		}
	}
	h.t.Fatal("nothing was stored")
	return ""
}

const sayHello = `{"type":"execute","code":"print('hello')","language":"py","workdir":"/workspace/a","env":{"A":"1"},"callback_url":"https://example.com/"}`

func TestAStreamRunsCodeAndTellsWhatItPrints(t *testing.T) {
	h := open(t)
	conn, _ := h.dial(h.ann)
	h.say(conn, sayHello)
	id := h.only()
	e, err := h.store.Get(t.Context(), id)
	if err != nil || e.Language != "python" || e.WorkingDir != "/workspace/a" || e.Timeout != 120*time.Second || e.Subject != "ann" || e.Callback.URL != "" {
		t.Errorf("stored %+v, %v", e, err)
	}
	h.start(id)
	h.live.print(id, execution.Stdout, "hello")
	if f := h.hear(conn); f["type"] != "stdout" || f["data"] != "hello" || f["execution_id"] != string(id) {
		t.Errorf("got %v", f)
	}
	began := time.Now()
	h.live.print(id, execution.Stderr, "oops \xff")
	h.fail(id, completed("hello\n", "oops \xff"))
	printed, frames := map[any]string{}, 0
	for {
		f := h.hear(conn)
		frames++
		switch f["type"] {
		case "stdout", "stderr":
			printed[f["type"]] += fmt.Sprint(f["data"])
			continue
		case "result":
			if f["exit_code"] != 0.0 || f["execution_time"] != 1.5 || f["status"] != "completed" || f["reason"] != "exited" {
				t.Errorf("got %v", f)
			}
			continue
		}
		if f["type"] != "complete" || f["success"] != true || f["execution_id"] != string(id) {
			t.Errorf("got %v; want complete", f)
		}
		break
	}
	if printed["stdout"] != "\n" || printed["stderr"] != "oops \ufffd" || frames != 4 {
		t.Errorf("%d frames, and then was printed %q", frames, printed)
	}
	if took := time.Since(began); took < 3*frameDistance { // never less, however slow the machine
		t.Errorf("the frames came within %s: some clients lose them", took)
	}
	h.closed(conn, websocket.StatusNormalClosure)
}

func TestWhatCannotBeStreamedIsSaid(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Body = 2048 })
	for frame, code := range map[string]string{
		`{"type":"execute"}`:                           "MISSING_PARAMETER",
		`{"type":"run","code":"1"}`:                    "INVALID_REQUEST",
		`{"code":"1"}`:                                 "INVALID_REQUEST",
		`{"type":"execute","code":"1","timeout":"x"}`:  "INVALID_REQUEST",
		`{"type":"execute","code":"1","language":"x"}`: "UNSUPPORTED_LANGUAGE",
		`not JSON`: "INVALID_JSON",
		`{"type":"execute","code":"` + strings.Repeat("x", 9999) + `"}`: "PAYLOAD_TOO_LARGE",
	} {
		conn, _ := h.dial(h.ann)
		h.say(conn, frame)
		if f := h.hear(conn); f["type"] != "error" || f["code"] != code || f["error"] == "" {
			t.Errorf("%s: got %v; want %s", frame, f, code)
		}
		if f := h.hear(conn); f["type"] != "complete" || f["success"] != false {
			t.Errorf("%s: got %v; want complete", frame, f)
		}
		h.closed(conn, websocket.StatusNormalClosure)
	}
	if list, err := h.store.List(t.Context(), execution.Filter{Limit: 1}); err != nil || len(list) != 0 {
		t.Errorf("stored %v, %v", list, err)
	}
}

func TestAProgramThatNeverRanIsAnErrorFrame(t *testing.T) {
	h := open(t)
	conn, _ := h.dial(h.ann)
	h.say(conn, sayHello)
	id := h.only()
	h.fail(id, execution.Result{
		State: execution.Failed, Reason: execution.ImageUnavailable, Error: "There is no image.", CompletedAt: moment(2), OutputComplete: true,
	})
	if f := h.hear(conn); f["type"] != "error" || f["code"] != "IMAGE_UNAVAILABLE" || f["error"] != "There is no image." {
		t.Errorf("got %v", f)
	}
	if f := h.hear(conn); f["type"] != "result" || f["exit_code"] != nil || f["status"] != "failed" {
		t.Errorf("got %v", f)
	}
	if f := h.hear(conn); f["type"] != "complete" || f["success"] != false {
		t.Errorf("got %v", f)
	}
}

func TestAHandshakeIsRefusedInJSON(t *testing.T) {
	h := open(t)
	for name, c := range map[string]struct {
		token, header string
		status        int
		code          string
	}{
		"no token":             {"", "X-A: a", 401, "INVALID_TOKEN"},
		"another site's page":  {h.ann, "Origin: https://evil.example", 403, "FORBIDDEN"},
		"an origin of nowhere": {h.ann, "Origin: null", 403, "FORBIDDEN"},
		"an empty key":         {h.ann, "Idempotency-Key: ", 400, "INVALID_REQUEST"},
	} {
		conn, a := h.dial(c.token, c.header)
		if conn != nil {
			t.Errorf("%s: it is open", name)
			continue
		}
		if got := a.json(t)["code"]; a.status != c.status || (got != c.code && got != "AUTHENTICATION_REQUIRED") {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	if a := h.get("/execute/stream", h.ann); a.status != http.StatusBadRequest {
		t.Errorf("no handshake: got %d %s", a.status, a.body)
	}
	conn, _ := h.dial(h.ann, "Origin: "+h.url) // a page of ours
	if conn == nil {
		t.Error("our own page is refused")
	}
}

// A socket that is lost ends nothing, and the same frame with the same key opens the same execution again.
func TestALostSocketEndsNothing(t *testing.T) {
	h := open(t)
	conn, _ := h.dial(h.ann, "Idempotency-Key: k")
	h.say(conn, sayHello)
	id := h.only()
	h.start(id)
	h.live.print(id, execution.Stdout, "one ")
	h.hear(conn)
	_ = conn.CloseNow()
	for { // until the server has noticed
		h.api.streams.mu.Lock()
		open := len(h.api.streams.taken)
		h.api.streams.mu.Unlock()
		if open == 0 {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the server does not notice")
		}
	}
	if e, err := h.store.Get(t.Context(), id); err != nil || e.State != execution.Running || e.CancelRequested {
		t.Errorf("got %+v, %v; want it running", e, err)
	}
	again, _ := h.dial(h.ann, "Idempotency-Key: k")
	h.say(again, sayHello)
	if f := h.hear(again); f["data"] != "one " || f["execution_id"] != string(id) {
		t.Errorf("got %v; want it from its first byte", f)
	}
}

func TestAServerThatStopsTellsItsSockets(t *testing.T) {
	h := open(t)
	conn, _ := h.dial(h.ann)
	h.say(conn, sayHello)
	id := h.only()
	waiting, _ := h.dial(h.ann) // has not said anything
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if f := h.hear(conn); f["type"] != "error" || f["code"] != "SERVICE_UNAVAILABLE" || !strings.Contains(fmt.Sprint(f["error"]), string(id)) {
		t.Errorf("got %v", f)
	}
	h.closed(conn, websocket.StatusServiceRestart)
	if _, _, err := waiting.Read(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who has said nothing: got %v; want it closed", err)
	}
}

// fail ends an execution that has no callback.
func (h *house) fail(id execution.ID, r execution.Result) {
	h.t.Helper()
	if err := h.store.Finish(h.t.Context(), id, r, nil); err != nil {
		h.t.Fatal(err)
	}
}
