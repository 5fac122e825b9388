package httpapi

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// sse is one event as it came.
type sse struct{ id, name, data string }

func (e sse) String() string { return e.id + " " + e.name + " " + e.data }

// eventReader reads a stream of events and holds each against the description.
type eventReader struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Scanner
	comments int
	bytes    [2]strings.Builder // of stdout and stderr, decoded
}

// events opens a stream; it must be one.
func (h *house) events(id execution.ID, token string, headers ...string) *eventReader {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.url+"/executions/"+string(id)+"/events", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = response.Body.Close() })
	if got := response.Header; response.StatusCode != http.StatusOK || got.Get("Content-Type") != "text/event-stream" ||
		got.Get("Cache-Control") != "no-store" || got.Get("X-Accel-Buffering") != "no" {
		h.t.Fatalf("got %d %v", response.StatusCode, got)
	}
	e := &eventReader{t: h.t, response: response, lines: bufio.NewScanner(response.Body)}
	e.lines.Buffer(nil, 1<<20)
	return e
}

// next returns the next event; false when the stream is closed.
func (r *eventReader) next() (e sse, ok bool) {
	r.t.Helper()
	for r.lines.Scan() {
		name, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case ":":
			r.comments++
		case "":
			if e.name != "" {
				r.check(e)
				return e, true
			}
		}
	}
	return sse{}, false
}

func (r *eventReader) check(e sse) {
	r.t.Helper()
	schema := map[string]string{
		"status": "EventStatus", "stdout": "EventOutput", "stderr": "EventOutput", "gap": "EventGap", "end": "EventEnd",
	}[e.name]
	d := description(r.t)
	d.visit(r.t, d.doc.Components.Schemas[schema].Value, answer{body: e.data})
	if schema != "EventOutput" {
		return
	}
	var p piece
	if err := json.Unmarshal([]byte(e.data), &p); err != nil {
		r.t.Error(err)
	}
	text := []byte(p.Data)
	if p.Encoding == "base64" {
		var err error
		if text, err = base64.StdEncoding.DecodeString(p.Data); err != nil {
			r.t.Error(err)
		}
	}
	r.bytes[map[string]int{"stdout": 0, "stderr": 1}[e.name]].Write(text)
}

// all reads to the end of the stream, and returns the events without those of the data that differ each time.
func (r *eventReader) all() (list []string, last sse) {
	r.t.Helper()
	for {
		e, ok := r.next()
		if !ok {
			return list, last
		}
		last = e
		if e.name == "status" || e.name == "end" {
			var v struct{ Status string }
			if err := json.Unmarshal([]byte(e.data), &v); err != nil {
				r.t.Error(err)
			}
			e.data = v.Status
		}
		list = append(list, e.String())
	}
}

func (r *eventReader) want(want ...string) {
	r.t.Helper()
	if got, _ := r.all(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEventsTellAnExecutionFromItsBeginningToItsEnd(t *testing.T) {
	h := open(t)
	first := h.submit(h.ann, hello)
	id := h.submit(h.ann, hello)
	r := h.events(id, h.ann)
	if e, _ := r.next(); e.name != "status" || !strings.Contains(e.data, `"status":"queued"`) || !strings.Contains(e.data, `"ahead":1`) {
		t.Errorf("first: %s", e)
	}
	h.start(first)
	h.start(id)
	for {
		e, ok := r.next() // the one ahead may be told to be gone before
		if !ok || strings.Contains(e.data, `"status":"running"`) {
			break
		}
	}
	h.live.print(id, execution.Stdout, "one\n")
	if e, _ := r.next(); e.String() != `o4.e0.s2 stdout {"data":"one\n"}` {
		t.Errorf("got %s", e)
	}
	h.live.print(id, execution.Stderr, "\xff")
	if e, _ := r.next(); e.String() != `o4.e1.s2 stderr {"data":"/w==","encoding":"base64"}` {
		t.Errorf("got %s", e)
	}
	h.finish(id, completed("one\n<two>", "\xff"))
	r.want("o9.e1.s2 stdout "+`{"data":"<two>"}`, "o9.e1.s3 end completed")
	if a := h.get("/executions/"+string(id)+"/events", h.ann, "Last-Event-ID: o9.e1.s3"); a.status != http.StatusNoContent {
		t.Errorf("after the end: got %d %s; want 204", a.status, a.body)
	}
}

func TestEventsGoOnWhereTheClientIs(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	h.start(id)
	z := completed("", "0123456789")
	z.Stdout = execution.Output{Head: []byte("head"), Tail: []byte("tail"), Bytes: 108}
	h.finish(id, z)
	const end = "o108.e10.s3 end completed"
	h.events(id, h.ann).want(
		`o4.e0.s0 stdout {"data":"head"}`, `o104.e0.s0 gap {"stream":"stdout","bytes":100}`, `o108.e0.s0 stdout {"data":"tail"}`,
		`o108.e10.s0 stderr {"data":"0123456789"}`, end)
	h.events(id, h.ann, "Last-Event-ID: o4.e7.s2").want(
		`o104.e7.s2 gap {"stream":"stdout","bytes":100}`, `o108.e7.s2 stdout {"data":"tail"}`, `o108.e10.s2 stderr {"data":"789"}`, end)
	h.events(id, h.admin, "Last-Event-ID: o108.e10.s2").want(end)
	path := "/executions/" + string(id) + "/events"
	if a := h.get(path+"?last_event_id=o108.e10.s2", h.ann); strings.Count(a.body, "event:") != 1 {
		t.Errorf("in the query: got %s", a.body)
	}
	if a := h.call(http.MethodHead, path, h.ann, ""); a.status != http.StatusOK || a.body != "" {
		t.Errorf("HEAD: got %d %q", a.status, a.body)
	}
	for _, wrong := range []string{"Last-Event-ID: 12", "Last-Event-ID: o109.e0.s2", "Last-Event-ID: o0.e11.s2", "Last-Event-ID: "} {
		a := h.get(path, h.ann, wrong)
		if details, _ := a.json(t)["details"].(map[string]any); a.status != http.StatusBadRequest || details["field"] != "Last-Event-ID" {
			t.Errorf("%s: got %d %s", wrong, a.status, a.body)
		}
	}
	lost := h.submit(h.ann, hello) // its container went, with what it had printed
	h.start(lost)
	h.finish(lost, execution.Result{State: execution.Failed, Reason: execution.Lost, Error: "It was lost.", CompletedAt: time.Now()})
	h.events(lost, h.ann, "Last-Event-ID: o7.e1.s2").want("o7.e1.s3 end failed")
	queued := h.submit(h.ann, hello)
	if a := h.get("/executions/"+string(queued)+"/events", h.ann, "Last-Event-ID: o1.e0.s2"); a.status != http.StatusBadRequest {
		t.Errorf("output of one that has not begun: got %d %s", a.status, a.body)
	}
}

func TestToOthersThereAreNoEvents(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	for _, path := range []string{string(id), "exec_00000000000000000000000000", "nonsense"} {
		if a := h.get("/executions/"+path+"/events", h.bob); a.status != http.StatusNotFound || a.json(t)["code"] != "EXECUTION_NOT_FOUND" {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	if a := h.get("/executions/"+string(id)+"/events", ""); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: got %d", a.status)
	}
	if len(h.api.streams.taken) != 0 {
		t.Errorf("places are taken by those who were refused: %v", h.api.streams.taken)
	}
}

// A stream is open for longer than any request may take, and longer than its reading may: here 1 s.
func TestAStreamOutlivesTheTimeoutOfARequest(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Timeout = time.Second })
	id := h.submit(h.ann, hello)
	h.start(id)
	r := h.events(id, h.ann)
	r.next()
	select {
	case <-time.After(2500 * time.Millisecond):
	case <-t.Context().Done():
	}
	h.live.print(id, execution.Stdout, "late")
	if e, ok := r.next(); !ok || e.name != "stdout" {
		t.Errorf("after 2.5 s: got %s, %v", e, ok)
	}
	h.finish(id, completed("late", ""))
	if _, last := r.all(); last.name != "end" {
		t.Errorf("ended with %s", last)
	}
}

// A client that takes nothing is cut off: its place becomes free, and nobody else waits for it.
func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Timeout = time.Second; c.Streams = 2 })
	id := h.submit(h.ann, hello)
	h.start(id)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // nothing is written
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		t.Fatalf("a connection of %T", conn)
	}
	_ = tcp.SetReadBuffer(4096)
	if _, err := fmt.Fprintf(conn, "GET /executions/%s/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", id, h.ann); err != nil {
		t.Fatal(err)
	}
	quick, got := h.events(id, h.ann), 0
	text := strings.Repeat(strings.Repeat("x", 1023)+"\n", 8<<10) // more than any buffer on the way
	h.live.print(id, execution.Stdout, text)
	for last := ""; got < len(text); {
		e, ok := quick.next()
		if !ok { // on a machine that is slow enough it is cut off, too
			quick = h.events(id, h.ann, "Last-Event-ID: "+last)
			continue
		}
		if last = e.id; e.name == "stdout" {
			got += quick.bytes[0].Len()
			quick.bytes[0].Reset()
		}
	}
	for end := time.Now().Add(time.Minute); ; {
		h.api.streams.mu.Lock()
		open := h.api.streams.taken["ann"]
		h.api.streams.mu.Unlock()
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
	h.finish(id, completed(text, ""))
	if _, last := quick.all(); last.name != "end" || got != len(text) || quick.bytes[0].Len() != 0 {
		t.Errorf("the quick one has %d and %d bytes and ends with %s", got, quick.bytes[0].Len(), last)
	}
}

func TestASubjectHasSoManyStreams(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Streams = 2 })
	id := h.submit(h.ann, hello)
	for range 2 {
		h.events(id, h.ann)
	}
	path := "/executions/" + string(id) + "/events"
	if a := h.get(path, h.ann); a.status != http.StatusTooManyRequests || a.json(t)["code"] != "RATE_LIMIT_EXCEEDED" || a.header.Get("Retry-After") == "" {
		t.Errorf("a third one: got %d %s", a.status, a.body)
	}
	if conn, a := h.dial(h.ann); conn != nil || a.status != http.StatusTooManyRequests {
		t.Errorf("a socket: got %d %s", a.status, a.body)
	}
	h.events(id, h.admin) // others have their own
}

func TestAServerThatStopsEndsItsStreams(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	r := h.events(id, h.ann)
	r.next()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := h.server.Shutdown(ctx); err != nil {
		t.Errorf("the server waited for its follower: %v", err)
	}
	if got, last := r.all(); last.name == "end" {
		t.Errorf("got %v; want it to break off", got)
	}
	if err := r.lines.Err(); err != nil {
		t.Errorf("the stream was cut, not closed: %v", err)
	}
}

// Over HTTP/2, where a connection is not a stream's own, the same deadlines hold.
func TestAStreamOutlivesTheTimeoutOfARequestOverHTTP2(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.Timeout = time.Second })
	server := httptest.NewUnstartedServer(nil)
	server.Config = Server(h.api.config, h.api, h.api.Log)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	id := h.submit(h.ann, hello)
	h.start(id)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/executions/"+string(id)+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+h.ann)
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	e := &eventReader{t: t, response: response, lines: bufio.NewScanner(response.Body)}
	e.next()
	select {
	case <-time.After(2500 * time.Millisecond):
	case <-t.Context().Done():
	}
	h.finish(id, completed("late", ""))
	if _, last := e.all(); last.name != "end" || response.ProtoMajor != 2 {
		t.Errorf("over %s it ended with %s, %v", response.Proto, last, e.lines.Err())
	}
}
