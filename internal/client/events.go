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
	// A stream that is silent for longer is considered broken. A server sends a comment every 15 s.
	silenceTimeout = 45 * time.Second
	// The pause between two attempts to open a stream.
	retryPause = time.Second
	// The longest time without a word from the server. A restart takes less.
	giveUpAfter = 2 * time.Minute
	// The limit of one line of a stream, in bytes. A piece of output has up to 64 KiB; JSON may take six times as much.
	maxLine = 1 << 20
)

// EventKind is the kind of an event.
type EventKind string

// The kinds of events.
const (
	EventStatus EventKind = "status"
	EventOutput EventKind = "output"
	EventGap    EventKind = "gap"
)

// Event is a change of an execution or a piece of its output.
type Event struct {
	Kind      EventKind
	Status    execution.State  // EventStatus: queued or running
	Ahead     int              // EventStatus: number of executions ahead in the queue, at most 1000
	CreatedAt time.Time        // EventStatus
	Stream    execution.Stream // EventOutput and EventGap
	Data      []byte           // EventOutput: not empty
	LeftOut   int64            // EventGap: number of output bytes that the server did not store
}

// Follow calls handle with each event of an execution, from the start to the end of the execution, and returns its
// record. Each byte of output arrives once, even if the connection breaks or the server restarts. The record contains
// neither the output nor the state of the callback.
//
// Follow returns early with an error of handle, if the server refuses the request, or after two minutes without a
// server.
func (c *Client) Follow(ctx context.Context, id execution.ID, handle func(Event) error) (Record, error) {
	f := follower{client: c, id: id, handle: handle, heard: time.Now()}
	for {
		record, err := f.connect(ctx)
		switch {
		case err == nil:
			return record, nil
		case ctx.Err() != nil:
			return Record{}, context.Cause(ctx)
		case f.failed != nil:
			return Record{}, f.failed
		case permanent(err) || time.Since(f.heard) > giveUpAfter:
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

// permanent reports whether another request would get the same refusal. An error that is not a fault is a broken
// connection.
func permanent(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && !slices.Contains([]fault.Code{
		fault.RateLimitExceeded, fault.QueueFull, fault.ServiceUnavailable, fault.InternalError,
	}, f.Code)
}

// follower follows one execution over any number of connections.
type follower struct {
	client *Client
	id     execution.ID
	handle func(Event) error
	last   string    // ID of the last handled event
	heard  time.Time // time of the last line from the server
	failed error     // error of handle or of an unreadable event; a retry would not help
}

var errBroken = errors.New("the stream of events ended before the execution")

// connect follows the execution over one connection. It returns the record, or an error if the connection ends before
// the execution.
func (f *follower) connect(ctx context.Context) (Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silenceTimeout, cancel)
	defer silence.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	u := f.client.base.JoinPath("executions", string(f.id), "events")
	response, err := f.client.send(ctx, f.client.streams, http.MethodGet, u, header, nil)
	if err != nil {
		return Record{}, err
	}
	defer response.Body.Close() //nolint:errcheck // an error of the body is returned already
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxLine)
	var e rawEvent
	for lines.Scan() {
		f.heard = time.Now()
		silence.Reset(silenceTimeout)
		if complete := e.add(lines.Bytes()); !complete {
			continue
		}
		record, ended, err := f.process(e)
		if err != nil || ended {
			return record, err
		}
		e = rawEvent{}
	}
	return Record{}, errors.Join(errBroken, lines.Err())
}

// rawEvent collects the lines of one event (HTML standard, section 9.2.6).
type rawEvent struct {
	id, name string
	data     []byte
}

// add adds a line and reports whether the event is complete.
func (e *rawEvent) add(line []byte) (complete bool) {
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

// process passes an event to the handler and remembers its ID. The event "end" carries the record.
func (f *follower) process(e rawEvent) (record Record, ended bool, err error) {
	if e.name == "end" {
		f.failed = wrapRead(json.Unmarshal(e.data, &record))
		return record, f.failed == nil, f.failed
	}
	event, known, err := e.event()
	if f.failed = wrapRead(err); f.failed == nil && known {
		f.failed = f.handle(event)
	}
	f.heard, f.last = time.Now(), e.id // the handler may take longer than giveUpAfter
	return record, false, f.failed
}

func wrapRead(err error) error {
	if err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return nil
}

// event decodes the event. An event of a later version of the server is not known, and not an error.
func (e *rawEvent) event() (_ Event, known bool, err error) {
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
		return Event{Kind: EventOutput, Stream: execution.Stream(e.name), Data: text}, len(text) > 0, nil
	}
	return Event{}, false, nil
}
