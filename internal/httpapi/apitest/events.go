package apitest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

// Event is one event of a stream.
type Event struct{ ID, Name, Data string }

func (e Event) String() string { return e.ID + " " + e.Name + " " + e.Data }

// EventReader reads a stream of events and checks each against the description.
type EventReader struct {
	T        *testing.T
	Response *http.Response
	Lines    *bufio.Scanner
	comments int
	Bytes    [2]strings.Builder // of stdout and stderr, decoded
}

// Events opens a stream of events.
func (f *Fixture) Events(id execution.ID, token string, headers ...string) *EventReader {
	f.T.Helper()
	r, err := http.NewRequestWithContext(f.T.Context(), http.MethodGet, f.URL+"/executions/"+string(id)+"/events", nil)
	if err != nil {
		f.T.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.T.Fatal(err)
	}
	f.T.Cleanup(func() { _ = response.Body.Close() })
	if got := response.Header; response.StatusCode != http.StatusOK || got.Get("Content-Type") != "text/event-stream" ||
		got.Get("Cache-Control") != "no-store" || got.Get("X-Accel-Buffering") != "no" {
		f.T.Fatalf("got %d %v", response.StatusCode, got)
	}
	e := &EventReader{T: f.T, Response: response, Lines: bufio.NewScanner(response.Body)}
	e.Lines.Buffer(nil, 1<<20)
	return e
}

// Next returns the next event; false when the stream is closed.
func (r *EventReader) Next() (e Event, ok bool) {
	r.T.Helper()
	for r.Lines.Scan() {
		name, value, _ := strings.Cut(r.Lines.Text(), ": ")
		switch name {
		case "id":
			e.ID = value
		case "event":
			e.Name = value
		case "data":
			e.Data = value
		case ":":
			r.comments++
		case "":
			if e.Name != "" {
				r.check(e)
				return e, true
			}
		}
	}
	return Event{}, false
}

func (r *EventReader) check(e Event) {
	r.T.Helper()
	schema := map[string]string{
		"status": "EventStatus", "stdout": "EventOutput", "stderr": "EventOutput", "gap": "EventGap", "end": "EventEnd",
	}[e.Name]
	d := Description(r.T)
	d.Visit(r.T, d.Doc.Components.Schemas[schema].Value, Answer{Body: e.Data})
	if schema != "EventOutput" {
		return
	}
	var p struct{ Data, Encoding string }
	if err := json.Unmarshal([]byte(e.Data), &p); err != nil {
		r.T.Error(err)
	}
	text := []byte(p.Data)
	if p.Encoding == "base64" {
		var err error
		if text, err = base64.StdEncoding.DecodeString(p.Data); err != nil {
			r.T.Error(err)
		}
	}
	_, _ = r.Bytes[map[string]int{"stdout": 0, "stderr": 1}[e.Name]].Write(text) // never fails
}

// All reads to the end of the stream. It returns the events, those of a state with the state alone, and the last event.
func (r *EventReader) All() (list []string, last Event) {
	r.T.Helper()
	for {
		e, ok := r.Next()
		if !ok {
			return list, last
		}
		last = e
		if e.Name == "status" || e.Name == "end" {
			var v struct{ Status string }
			if err := json.Unmarshal([]byte(e.Data), &v); err != nil {
				r.T.Error(err)
			}
			e.Data = v.Status
		}
		list = append(list, e.String())
	}
}

// Want reads to the end of the stream and compares the events.
func (r *EventReader) Want(want ...string) {
	r.T.Helper()
	if got, _ := r.All(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.T.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Last reads to the end of the stream and returns the last event with its data.
func (r *EventReader) Last() (last Event) {
	r.T.Helper()
	for {
		e, ok := r.Next()
		if !ok {
			return last
		}
		last = e
	}
}
