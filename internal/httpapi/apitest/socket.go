package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"boomerang/internal/execution"
)

// Dial opens a stream, or returns the answer of a refusal.
func (f *Fixture) Dial(token string, headers ...string) (*websocket.Conn, Answer) {
	f.T.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		header.Add(name, value)
	}
	url := strings.Replace(f.URL, "http", "ws", 1) + "/execute/stream"
	options := &websocket.DialOptions{HTTPHeader: header}
	// The documentation of websocket: "You never need to close resp.Body yourself."
	conn, response, err := websocket.Dial(f.T.Context(), url, options) //nolint:bodyclose // as documented
	if err != nil {
		var body [1024]byte
		n, _ := response.Body.Read(body[:])
		return nil, Answer{response.StatusCode, response.Header, string(body[:n])}
	}
	f.T.Cleanup(func() { _ = conn.CloseNow() })
	return conn, Answer{}
}

// Say sends the first frame.
func (f *Fixture) Say(conn *websocket.Conn, frame string) {
	f.T.Helper()
	if err := conn.Write(f.T.Context(), websocket.MessageText, []byte(frame)); err != nil {
		f.T.Fatal(err)
	}
}

// Hear reads a frame.
func (f *Fixture) Hear(conn *websocket.Conn) map[string]any {
	f.T.Helper()
	ctx, cancel := context.WithTimeout(f.T.Context(), time.Minute)
	defer cancel()
	_, text, err := conn.Read(ctx)
	if err != nil {
		f.T.Fatal(err)
	}
	var frame map[string]any
	if err := json.Unmarshal(text, &frame); err != nil {
		f.T.Fatal(err)
	}
	if at, err := time.Parse(time.RFC3339, fmt.Sprint(frame["timestamp"])); err != nil || at.IsZero() {
		f.T.Errorf("frame %v has no time: %v", frame, err)
	}
	return frame
}

// Closed fails unless the server closes the socket with a status.
func (f *Fixture) Closed(conn *websocket.Conn, want websocket.StatusCode) {
	f.T.Helper()
	ctx, cancel := context.WithTimeout(f.T.Context(), time.Minute)
	defer cancel()
	if _, text, err := conn.Read(ctx); websocket.CloseStatus(err) != want {
		f.T.Errorf("got %q, %v; want the socket closed with %d", text, err, want)
	}
}

// Only returns the single stored execution, and waits for it.
func (f *Fixture) Only() execution.ID {
	f.T.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		list, err := f.Store.List(f.T.Context(), execution.Filter{Limit: 2})
		if err != nil || len(list.Executions) > 1 {
			f.T.Fatalf("%d executions, %v", len(list.Executions), err)
		}
		if len(list.Executions) == 1 {
			return list.Executions[0].ID
		}
	}
	f.T.Fatal("nothing was stored")
	return ""
}
