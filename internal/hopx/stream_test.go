package hopx_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"boomerang/internal/execution"
	"boomerang/internal/hopx"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

const sayHello = `{"type":"execute","code":"print('hello')","language":"py","workdir":"/workspace/a","env":{"A":"1"},` +
	`"callback_url":"https://example.com/"}`

func TestAStreamRunsCodeAndSendsItsOutput(t *testing.T) {
	h := apitest.Open(t)
	conn, _ := h.Dial(h.Ann)
	h.Say(conn, sayHello)
	id := h.Only()
	e, err := h.Store.Get(t.Context(), id)
	if err != nil || e.Language != "python" || e.WorkingDir != "/workspace/a" || e.Timeout != 120*time.Second ||
		e.Subject != "ann" || e.Callback.URL != "" {
		t.Errorf("stored %+v, %v", e, err)
	}
	h.Start(id)
	h.Live.Print(id, execution.Stdout, "hello")
	if f := h.Hear(conn); f["type"] != "stdout" || f["data"] != "hello" || f["execution_id"] != string(id) {
		t.Errorf("got %v", f)
	}
	began := time.Now()
	h.Live.Print(id, execution.Stderr, "oops \xff")
	h.Fail(id, apitest.Completed("hello\n", "oops \xff"))
	printed, frames := map[any]string{}, 0
	for {
		f := h.Hear(conn)
		frames++
		switch f["type"] {
		case "stdout", "stderr":
			printed[f["type"]] += fmt.Sprint(f["data"])
			continue
		case "result":
			if f["exit_code"] != 0.0 || f["execution_time"] != 1.5 || f["status"] != "completed" ||
				f["reason"] != "exited" {
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
	if took := time.Since(began); took < 3*hopx.FrameDistance { // never less, however slow the machine
		t.Errorf("the frames came within %s: some clients lose them", took)
	}
	h.Closed(conn, websocket.StatusNormalClosure)
}

func TestAFrameThatCannotRunIsRefused(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Body = 2048 })
	for frame, code := range map[string]string{
		`{"type":"execute"}`:                           "MISSING_PARAMETER",
		`{"type":"run","code":"1"}`:                    "INVALID_REQUEST",
		`{"code":"1"}`:                                 "INVALID_REQUEST",
		`{"type":"execute","code":"1","timeout":"x"}`:  "INVALID_REQUEST",
		`{"type":"execute","code":"1","language":"x"}`: "UNSUPPORTED_LANGUAGE",
		`not JSON`: "INVALID_JSON",
		`{"type":"execute","code":"` + strings.Repeat("x", 9999) + `"}`: "PAYLOAD_TOO_LARGE",
	} {
		conn, _ := h.Dial(h.Ann)
		h.Say(conn, frame)
		if f := h.Hear(conn); f["type"] != "error" || f["code"] != code || f["error"] == "" {
			t.Errorf("%s: got %v; want %s", frame, f, code)
		}
		if f := h.Hear(conn); f["type"] != "complete" || f["success"] != false {
			t.Errorf("%s: got %v; want complete", frame, f)
		}
		h.Closed(conn, websocket.StatusNormalClosure)
	}
	if list, err := h.Store.List(t.Context(), execution.Filter{Limit: 1}); err != nil || len(list.Executions) != 0 {
		t.Errorf("stored %v, %v", list, err)
	}
}

func TestAProgramThatNeverRanIsAnErrorFrame(t *testing.T) {
	h := apitest.Open(t)
	conn, _ := h.Dial(h.Ann)
	h.Say(conn, sayHello)
	id := h.Only()
	h.Fail(id, execution.Result{
		State: execution.Failed, Reason: execution.ImageUnavailable, Error: "There is no image.",
		CompletedAt: apitest.Moment(2), OutputComplete: true,
	})
	if f := h.Hear(conn); f["type"] != "error" || f["code"] != "IMAGE_UNAVAILABLE" ||
		f["error"] != "There is no image." {
		t.Errorf("got %v", f)
	}
	if f := h.Hear(conn); f["type"] != "result" || f["exit_code"] != nil || f["status"] != "failed" {
		t.Errorf("got %v", f)
	}
	if f := h.Hear(conn); f["type"] != "complete" || f["success"] != false {
		t.Errorf("got %v", f)
	}
}

func TestAHandshakeIsRefusedInJSON(t *testing.T) {
	h := apitest.Open(t)
	for name, c := range map[string]struct {
		token, header string
		status        int
		code          string
	}{
		"no token":             {"", "X-A: a", 401, "INVALID_TOKEN"},
		"another site's page":  {h.Ann, "Origin: https://evil.example", 403, "FORBIDDEN"},
		"an origin of nowhere": {h.Ann, "Origin: null", 403, "FORBIDDEN"},
		"an empty key":         {h.Ann, "Idempotency-Key: ", 400, "INVALID_REQUEST"},
	} {
		conn, a := h.Dial(c.token, c.header)
		if conn != nil {
			t.Errorf("%s: it is open", name)
			continue
		}
		if got := a.JSON(t)["code"]; a.Status != c.status || (got != c.code && got != "AUTHENTICATION_REQUIRED") {
			t.Errorf("%s: got %d %s", name, a.Status, a.Body)
		}
	}
	if a := h.Get("/execute/stream", h.Ann); a.Status != http.StatusBadRequest {
		t.Errorf("no handshake: got %d %s", a.Status, a.Body)
	}
	conn, _ := h.Dial(h.Ann, "Origin: "+h.URL) // a page of ours
	if conn == nil {
		t.Error("our own page is refused")
	}
}

// An execution goes on after its socket is lost, and the same frame with the same key opens the same execution again.
func TestALostSocketEndsNothing(t *testing.T) {
	h := apitest.Open(t)
	conn, _ := h.Dial(h.Ann, "Idempotency-Key: k")
	h.Say(conn, sayHello)
	id := h.Only()
	h.Start(id)
	h.Live.Print(id, execution.Stdout, "one ")
	h.Hear(conn)
	_ = conn.CloseNow()
	for h.OpenStreams("ann") > 0 { // until the server has noticed
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the server does not notice")
		}
	}
	if e, err := h.Store.Get(t.Context(), id); err != nil || e.State != execution.Running || e.CancelRequested {
		t.Errorf("got %+v, %v; want it running", e, err)
	}
	again, _ := h.Dial(h.Ann, "Idempotency-Key: k")
	h.Say(again, sayHello)
	if f := h.Hear(again); f["data"] != "one " || f["execution_id"] != string(id) {
		t.Errorf("got %v; want it from its first byte", f)
	}
}

func TestAServerThatStopsTellsItsSockets(t *testing.T) {
	h := apitest.Open(t)
	conn, _ := h.Dial(h.Ann)
	h.Say(conn, sayHello)
	id := h.Only()
	waiting, _ := h.Dial(h.Ann) // has not said server.Rest
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.Server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if f := h.Hear(conn); f["type"] != "error" || f["code"] != "SERVICE_UNAVAILABLE" ||
		!strings.Contains(fmt.Sprint(f["error"]), string(id)) {
		t.Errorf("got %v", f)
	}
	h.Closed(conn, websocket.StatusServiceRestart)
	if _, _, err := waiting.Read(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that has sent nothing: got %v; want it closed", err)
	}
}
