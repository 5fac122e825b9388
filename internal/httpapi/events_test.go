package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestEventsTellAnExecutionFromItsBeginningToItsEnd(t *testing.T) {
	h := apitest.Open(t)
	first := h.Submit(h.Ann, apitest.Hello)
	id := h.Submit(h.Ann, apitest.Hello)
	r := h.Events(id, h.Ann)
	if e, _ := r.Next(); e.Name != "status" || !strings.Contains(e.Data, `"status":"queued"`) ||
		!strings.Contains(e.Data, `"ahead":1`) {
		t.Errorf("first: %s", e)
	}
	h.Start(first)
	h.Start(id)
	for {
		e, ok := r.Next() // the one ahead may be told to be gone before
		if !ok || strings.Contains(e.Data, `"status":"running"`) {
			break
		}
	}
	h.Live.Print(id, execution.Stdout, "one\n")
	if e, _ := r.Next(); e.String() != `o4.e0.s2 stdout {"data":"one\n"}` {
		t.Errorf("got %s", e)
	}
	h.Live.Print(id, execution.Stderr, "\xff")
	if e, _ := r.Next(); e.String() != `o4.e1.s2 stderr {"data":"/w==","encoding":"base64"}` {
		t.Errorf("got %s", e)
	}
	h.Finish(id, apitest.Completed("one\n<two>", "\xff"))
	r.Want("o9.e1.s2 stdout "+`{"data":"<two>"}`, "o9.e1.s3 end completed")
	if a := h.Get("/executions/"+string(id)+"/events", h.Ann,
		"Last-Event-ID: o9.e1.s3"); a.Status != http.StatusNoContent {
		t.Errorf("after the end: got %d %s; want 204", a.Status, a.Body)
	}
}

func TestEventsGoOnWhereTheClientIs(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	z := apitest.Completed("", "0123456789")
	z.Stdout = execution.Output{Head: []byte("head"), Tail: []byte("tail"), Bytes: 108}
	h.Finish(id, z)
	const end = "o108.e10.s3 end completed"
	h.Events(id, h.Ann).Want(
		`o4.e0.s0 stdout {"data":"head"}`, `o104.e0.s0 gap {"stream":"stdout","bytes":100}`,
		`o108.e0.s0 stdout {"data":"tail"}`,
		`o108.e10.s0 stderr {"data":"0123456789"}`, end)
	h.Events(id, h.Ann, "Last-Event-ID: o4.e7.s2").Want(
		`o104.e7.s2 gap {"stream":"stdout","bytes":100}`, `o108.e7.s2 stdout {"data":"tail"}`,
		`o108.e10.s2 stderr {"data":"789"}`, end)
	h.Events(id, h.Admin, "Last-Event-ID: o108.e10.s2").Want(end)
	path := "/executions/" + string(id) + "/events"
	if a := h.Get(path+"?last_event_id=o108.e10.s2", h.Ann); strings.Count(a.Body, "event:") != 1 {
		t.Errorf("in the query: got %s", a.Body)
	}
	if a := h.Call(http.MethodHead, path, h.Ann, ""); a.Status != http.StatusOK || a.Body != "" {
		t.Errorf("HEAD: got %d %q", a.Status, a.Body)
	}
	for _, wrong := range []string{
		"Last-Event-ID: 12", "Last-Event-ID: o109.e0.s2", "Last-Event-ID: o0.e11.s2",
		"Last-Event-ID: ",
	} {
		a := h.Get(path, h.Ann, wrong)
		if details, _ := a.JSON(t)["details"].(map[string]any); a.Status != http.StatusBadRequest ||
			details["field"] != "Last-Event-ID" {
			t.Errorf("%s: got %d %s", wrong, a.Status, a.Body)
		}
	}
	lost := h.Submit(h.Ann, apitest.Hello) // its container and its output are gone
	h.Start(lost)
	h.Finish(lost, execution.Result{
		State: execution.Failed, Reason: execution.Lost, Error: "It was lost.",
		CompletedAt: time.Now(),
	})
	h.Events(lost, h.Ann, "Last-Event-ID: o7.e1.s2").Want("o7.e1.s3 end failed")
	queued := h.Submit(h.Ann, apitest.Hello)
	if a := h.Get("/executions/"+string(queued)+"/events", h.Ann,
		"Last-Event-ID: o1.e0.s2"); a.Status != http.StatusBadRequest {
		t.Errorf("output of one that has not begun: got %d %s", a.Status, a.Body)
	}
}

func TestToOthersThereAreNoEvents(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	for _, path := range []string{string(id), "exec_00000000000000000000000000", "nonsense"} {
		if a := h.Get("/executions/"+path+"/events", h.Bob); a.Status != http.StatusNotFound ||
			a.JSON(t)["code"] != "EXECUTION_NOT_FOUND" {
			t.Errorf("%s: got %d %s", path, a.Status, a.Body)
		}
	}
	if a := h.Get("/executions/"+string(id)+"/events", ""); a.Status != http.StatusUnauthorized {
		t.Errorf("without a token: got %d", a.Status)
	}
	if n := h.OpenStreams("bob"); n != 0 {
		t.Errorf("%d streams of a refused client count as open", n)
	}
}

// A stream stays open for longer than the timeout of a request, here 1 s.
func TestAStreamOutlivesTheTimeoutOfARequest(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Timeout = time.Second })
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	r := h.Events(id, h.Ann)
	r.Next()
	select {
	case <-time.After(2500 * time.Millisecond):
	case <-t.Context().Done():
	}
	h.Live.Print(id, execution.Stdout, "late")
	if e, ok := r.Next(); !ok || e.Name != "stdout" {
		t.Errorf("after 2.5 s: got %s, %v", e, ok)
	}
	h.Finish(id, apitest.Completed("late", ""))
	if _, last := r.All(); last.Name != "end" {
		t.Errorf("ended with %s", last)
	}
}

// A client that reads nothing is cut off: its stream no longer counts, and other clients do not wait for it.
func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, d *apitest.Deps) { c.Timeout = time.Second; d.Quota.Streams = 2 })
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is written
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a connection of %T", conn)
	}
	_ = tcp.SetReadBuffer(4096)
	if _, err := fmt.Fprintf(conn, "GET /executions/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
		id, h.Ann); err != nil {
		t.Fatal(err)
	}
	quick, got := h.Events(id, h.Ann), 0
	text := strings.Repeat(strings.Repeat("x", 1023)+"\n", 8<<10) // more than any buffer on the way
	h.Live.Print(id, execution.Stdout, text)
	for last := ""; got < len(text); {
		e, ok := quick.Next()
		if !ok { // on a machine that is slow enough it is cut off, too
			quick = h.Events(id, h.Ann, "Last-Event-ID: "+last)
			continue
		}
		if last = e.ID; e.Name == "stdout" {
			got += quick.Bytes[0].Len()
			quick.Bytes[0].Reset()
		}
	}
	for end := time.Now().Add(time.Minute); ; {
		open := h.OpenStreams("ann")
		if open == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d streams are open; want the quick one alone", open)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	h.Finish(id, apitest.Completed(text, ""))
	if _, last := quick.All(); last.Name != "end" || got != len(text) || quick.Bytes[0].Len() != 0 {
		t.Errorf("the quick one has %d and %d bytes and ends with %s", got, quick.Bytes[0].Len(), last)
	}
}

func TestASubjectHasSoManyStreams(t *testing.T) {
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Quota.Streams = 2 })
	id := h.Submit(h.Ann, apitest.Hello)
	for range 2 {
		h.Events(id, h.Ann)
	}
	path := "/executions/" + string(id) + "/events"
	if a := h.Get(path, h.Ann); a.Status != http.StatusTooManyRequests || a.JSON(t)["code"] != "QUOTA_EXCEEDED" ||
		a.Header.Get("Retry-After") == "" {
		t.Errorf("a third one: got %d %s", a.Status, a.Body)
	}
	if conn, a := h.Dial(h.Ann); conn != nil || a.Status != http.StatusTooManyRequests {
		t.Errorf("a socket: got %d %s", a.Status, a.Body)
	}
	h.Events(id, h.Admin) // others have their own
}

func TestAServerThatStopsEndsItsStreams(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	r := h.Events(id, h.Ann)
	r.Next()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.Server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited for its follower: %v", err)
	}
	if got, last := r.All(); last.Name == "end" {
		t.Errorf("got %v; want it to break off", got)
	}
	if err := r.Lines.Err(); err != nil {
		t.Errorf("the stream was cut, not closed: %v", err)
	}
}

// Over HTTP/2, where streams share a connection, the deadlines hold as well.
func TestAStreamOutlivesTheTimeoutOfARequestOverHTTP2(t *testing.T) {
	h := apitest.Open(t, func(c *server.Config, _ *apitest.Deps) { c.Timeout = time.Second })
	listener := h.Listener()
	listener.EnableHTTP2 = true
	listener.StartTLS()
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		listener.URL+"/executions/"+string(id)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.Ann)
	response, err := listener.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	e := &apitest.EventReader{T: t, Response: response, Lines: bufio.NewScanner(response.Body)}
	e.Next()
	select {
	case <-time.After(2500 * time.Millisecond):
	case <-t.Context().Done():
	}
	h.Finish(id, apitest.Completed("late", ""))
	if _, last := e.All(); last.Name != "end" || response.ProtoMajor != 2 {
		t.Errorf("over %s it ended with %s, %v", response.Proto, last, e.Lines.Err())
	}
}
