package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const (
	// Quiet is how long a stream may say nothing before it is taken for broken; a server breaks its silence every 15 s.
	quiet = 45 * time.Second
	// Breath is between two tries to open a stream.
	retryPause = time.Second
	// Lost is how long a server may be away before it is given up: longer than a restart takes.
	lost = 2 * time.Minute
	// MaxEvent bounds one line of a stream, in bytes: a piece of output has 64 KiB and may be written in six times as many.
	maxEvent = 1 << 20
)

// EventKind is what an event is about.
type EventKind string

// The kinds.
const (
	EventStatus EventKind = "status"
	EventOutput EventKind = "output"
	EventGap    EventKind = "gap"
)

// Event is one thing that happened to an execution.
type Event struct {
	Kind      EventKind
	Status    execution.State  // of EventStatus: queued or running
	Ahead     int              // of EventStatus: how many are in line before it, 1000 for more
	CreatedAt time.Time        // of EventStatus
	Stream    execution.Stream // of EventOutput and EventGap
	Data      []byte           // of EventOutput
	LeftOut   int64            // of EventGap: bytes that were not kept
}

// Follow hands on what happens to an execution, from its beginning to its end, each byte of its output once, however often
// the connection breaks or the server is restarted meanwhile. It returns the record at the end, without what was printed and
// without how far the callback is.
// It ends early with an error of handle, and when the server refuses or is away for two minutes.
func (c *Client) Follow(ctx context.Context, id execution.ID, handle func(Event) error) (Record, error) {
	f := following{client: c, id: id, handle: handle, heard: time.Now()}
	for {
		record, err := f.once(ctx)
		switch {
		case err == nil:
			return record, nil
		case ctx.Err() != nil:
			return Record{}, context.Cause(ctx)
		case f.failed != nil:
			return Record{}, f.failed
		case final(err) || time.Since(f.heard) > lost:
			return Record{}, fmt.Errorf("follow execution: %w", err)
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// final tells whether another request would get the same refusal. An error that is no fault is a broken connection.
func final(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && !slices.Contains([]fault.Code{
		fault.RateLimitExceeded, fault.QueueFull, fault.ServiceUnavailable, fault.InternalError,
	}, f.Code)
}

// following is one execution over as many connections as it takes.
type following struct {
	client *Client
	id     execution.ID
	handle func(Event) error
	last   string    // the id of the last event that was handled
	heard  time.Time // when the server was last heard
	failed error     // of handle, or of an event that cannot be read: no use to try again
}

var errBroken = errors.New("the stream of events ended too early")

// once follows over one connection.
func (f *following) once(ctx context.Context) (Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(quiet, cancel)
	defer silence.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	response, err := f.client.do(ctx, f.client.streams, http.MethodGet, f.client.base.JoinPath("executions", string(f.id), "events"), header, nil)
	if err != nil {
		return Record{}, err
	}
	defer response.Body.Close() //nolint:errcheck // the error is told already
	if response.StatusCode != http.StatusOK {
		return Record{}, refusal(response)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	var e received
	for lines.Scan() {
		f.heard = time.Now()
		silence.Reset(quiet)
		if !e.add(lines.Bytes()) {
			continue
		}
		record, ended, err := f.take(e)
		if err != nil || ended {
			return record, err
		}
		e = received{}
	}
	return Record{}, errors.Join(errBroken, lines.Err())
}

// received is one event as it comes (HTML, section 9.2.6), line by line.
type received struct {
	id, name string
	data     []byte
}

// add takes a line; it tells whether the event is whole.
func (e *received) add(line []byte) bool {
	if len(line) == 0 {
		return e.name != ""
	}
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "id":
		e.id = string(value)
	case "event":
		e.name = string(value)
	case "data":
		e.data = append(e.data, value...)
	}
	return false
}

// take hands on an event and remembers that it is handled.
func (f *following) take(e received) (record Record, ended bool, err error) {
	if e.name == "end" {
		f.failed = unreadable(json.Unmarshal(e.data, &record))
		return record, f.failed == nil, f.failed
	}
	event, known, err := e.event()
	if f.failed = unreadable(err); f.failed == nil && known {
		f.failed = f.handle(event)
	}
	f.heard, f.last = time.Now(), e.id // however long it took
	return record, false, f.failed
}

func unreadable(err error) error {
	if err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return nil
}

// event reads the data; what a later version of the server may send is not known.
func (e *received) event() (_ Event, known bool, err error) {
	var data struct {
		Status    execution.State  `json:"status"`
		Ahead     int              `json:"ahead"`
		CreatedAt time.Time        `json:"created_at"`
		Data      string           `json:"data"`
		Encoding  string           `json:"encoding"`
		Stream    execution.Stream `json:"stream"`
		Bytes     int64            `json:"bytes"`
	}
	if err := json.Unmarshal(e.data, &data); err != nil {
		return Event{}, false, err
	}
	switch e.name {
	case "status":
		return Event{Kind: EventStatus, Status: data.Status, Ahead: data.Ahead, CreatedAt: data.CreatedAt}, true, nil
	case "gap":
		return Event{Kind: EventGap, Stream: data.Stream, LeftOut: data.Bytes}, true, nil
	case "stdout", "stderr":
		text := []byte(data.Data)
		if data.Encoding == "base64" {
			if text, err = base64.StdEncoding.DecodeString(data.Data); err != nil {
				return Event{}, false, err
			}
		}
		return Event{Kind: EventOutput, Stream: execution.Stream(e.name), Data: text}, true, nil
	}
	return Event{}, false, nil
}
