package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// script answers each request for events with its next part, and records the Last-Event-ID of each request.
type script struct {
	parts []any // a string is a stream, which then ends; an int is a status with the body of a fault
	ids   []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.ids = append(s.ids, r.Header.Get("Last-Event-ID"))
	part := s.parts[0]
	s.parts = s.parts[1:]
	switch part := part.(type) {
	case string:
		_, _ = fmt.Fprint(w, part)
	case int:
		w.WriteHeader(part)
		_, _ = fmt.Fprint(w, map[int]string{
			503: `{"message":"The server stops.","code":"SERVICE_UNAVAILABLE"}`,
			502: "<h1>Bad Gateway</h1>",
			404: `{"message":"There is no such execution.","code":"EXECUTION_NOT_FOUND"}`,
		}[part])
	}
}

const theEnd = "id: o9.e1.s3\nevent: end\ndata: {\"status\":\"failed\",\"exit_code\":3}\n\n"

func TestFollowSurvivesBrokenConnections(t *testing.T) {
	s := &script{parts: []any{
		"retry: 1000\n\nid: o0.e0.s1\nevent: status\ndata: {\"status\":\"queued\",\"ahead\":2}\n\n" +
			"id: o4.e0.s2\nevent: stdout\ndata: {\"data\":\"one\\n\"}\n\n" +
			"id: o9.e0.s2\nevent: stdout\ndata: {\"da", // the stream ends within a line
		503,
		502,
		":\n\n", // only a heartbeat
		"id: o4.e1.s2\nevent: stderr\ndata: {\"data\":\"/w==\",\"encoding\":\"base64\"}\n\n" +
			"id: o9.e1.s2\nevent: stdout\ndata: {\"data\":\"12345\"}\n", // the stream ends before the empty line
		"id: o9.e1.s2\r\nevent:stdout\r\ndata:{\"data\":\"two..\"}\r\n\r\nid: x\nevent: later\ndata: {}\n\n" +
			"id: o9.e1.s2\nevent: stdout\ndata: {\"data\":\"\"}\n\n" +
			"id: o9.e1.s2\nevent: gap\ndata: {\"stream\":\"stderr\",\"bytes\":5}\n\n" + theEnd,
	}}
	var events []string
	record, err := serve(t, s.ServeHTTP).Follow(t.Context(), "exec_1", func(e Event) error {
		number := e.LeftOut + int64(e.Ahead)
		events = append(events, fmt.Sprintf("%s %s%s %q %d", e.Kind, e.Status, e.Stream, e.Data, number))
		return nil
	})
	if err != nil || record.Status != execution.Failed || *record.ExitCode != 3 {
		t.Errorf("got %+v, %v", record, err)
	}
	want := []string{
		`status queued "" 2`, `output stdout "one\n" 0`, `output stderr "\xff" 0`, `output stdout "two.." 0`,
		`gap stderr "" 5`,
	}
	if strings.Join(events, "\n") != strings.Join(want, "\n") {
		t.Errorf("got the events\n%s\nwant\n%s", strings.Join(events, "\n"), strings.Join(want, "\n"))
	}
	if got := fmt.Sprintf("%q", s.ids); got != `["" "o4.e0.s2" "o4.e0.s2" "o4.e0.s2" "o4.e0.s2" "o4.e1.s2"]` {
		t.Errorf("got the event IDs %s", got)
	}
}

func TestFollowReturnsPermanentErrors(t *testing.T) {
	gone := errors.New("the terminal is gone")
	for name, c := range map[string]struct {
		part any
		want error
	}{
		"a refusal":             {404, nil},
		"an event without JSON": {"id: o1.e0.s2\nevent: stdout\ndata: {\n\n", nil},
		"an event with bad base64": {
			"id: o1.e0.s2\nevent: stdout\ndata: {\"data\":\"?\",\"encoding\":\"base64\"}\n\n", nil,
		},
		"an end without JSON":     {"id: o1.e0.s3\nevent: end\ndata: {\n\n", nil},
		"an error of the handler": {"id: o1.e0.s2\nevent: stdout\ndata: {\"data\":\"x\"}\n\n", gone},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{parts: []any{c.part}}
			_, err := serve(t, s.ServeHTTP).Follow(t.Context(), "exec_1", func(Event) error { return gone })
			f, _ := errors.AsType[*fault.Error](err)
			if err == nil || c.want != nil && !errors.Is(err, c.want) ||
				c.part == 404 && (f == nil || f.Code != fault.ExecutionNotFound) {
				t.Errorf("got %v; want an error of the right kind", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := silent.Follow(ctx, "exec_1", func(Event) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the end of ctx: got %v; want the cause", err)
	}
}
