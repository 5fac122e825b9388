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

// script answers each request for events with the next of its parts, and notes what it was asked with.
type script struct {
	parts []any // string: sent and then closed; int: a status with the body of a fault
	asked []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.Header.Get("Last-Event-ID"))
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

func TestFollowingSurvivesWhateverBreaks(t *testing.T) {
	s := &script{parts: []any{
		"retry: 1000\n\nid: o0.e0.s1\nevent: status\ndata: {\"status\":\"queued\",\"ahead\":2}\n\n" +
			"id: o4.e0.s2\nevent: stdout\ndata: {\"data\":\"one\\n\"}\n\nid: o9.e0.s2\nevent: stdout\ndata: {\"da", // cut within a line
		503,
		502,
		":\n\n", // nothing but a heartbeat
		"id: o4.e1.s2\nevent: stderr\ndata: {\"data\":\"/w==\",\"encoding\":\"base64\"}\n\nid: o9.e1.s2\nevent: stdout\ndata: {\"data\":\"12345\"}\n", // whole but for the empty line
		"id: o9.e1.s2\r\nevent:stdout\r\ndata:{\"data\":\"two..\"}\r\n\r\nid: x\nevent: later\ndata: {}\n\n" +
			"id: o9.e1.s2\nevent: gap\ndata: {\"stream\":\"stderr\",\"bytes\":5}\n\n" + theEnd,
	}}
	var told []string
	record, err := serve(t, s.ServeHTTP).Follow(t.Context(), "exec_1", func(e Event) error {
		told = append(told, fmt.Sprintf("%s %s%s %q %d", e.Kind, e.Status, e.Stream, e.Data, e.LeftOut+int64(e.Ahead)))
		return nil
	})
	if err != nil || record.Status != execution.Failed || *record.ExitCode != 3 {
		t.Errorf("got %+v, %v", record, err)
	}
	want := []string{
		`status queued "" 2`, `output stdout "one\n" 0`, `output stderr "\xff" 0`, `output stdout "two.." 0`, `gap stderr "" 5`,
	}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("was told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if got := fmt.Sprintf("%q", s.asked); got != `["" "o4.e0.s2" "o4.e0.s2" "o4.e0.s2" "o4.e0.s2" "o4.e1.s2"]` {
		t.Errorf("asked with %s", got)
	}
}

func TestFollowingEndsWhereThereIsNoUse(t *testing.T) {
	gone := errors.New("the terminal is gone")
	for name, c := range map[string]struct {
		part any
		want error
	}{
		"a refusal":                    {404, nil},
		"an event that is no JSON":     {"id: o1.e0.s2\nevent: stdout\ndata: {\n\n", nil},
		"base64 that is none":          {"id: o1.e0.s2\nevent: stdout\ndata: {\"data\":\"?\",\"encoding\":\"base64\"}\n\n", nil},
		"an end that is no JSON":       {"id: o1.e0.s3\nevent: end\ndata: {\n\n", nil},
		"somebody who does not listen": {"id: o1.e0.s2\nevent: stdout\ndata: {\"data\":\"x\"}\n\n", gone},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{parts: []any{c.part}}
			_, err := serve(t, s.ServeHTTP).Follow(t.Context(), "exec_1", func(Event) error { return gone })
			f, _ := errors.AsType[*fault.Error](err)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || c.part == 404 && (f == nil || f.Code != fault.ExecutionNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := silent.Follow(ctx, "exec_1", func(Event) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("told to stop: %v", err)
	}
}
