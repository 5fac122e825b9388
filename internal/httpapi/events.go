package httpapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"boomerang/internal/auth"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/follow"
	"boomerang/internal/server"
	"boomerang/internal/wire"
)

// headerLast has the id of the last event that a client received before the stream broke (HTML, section 9.2).
const headerLast = "Last-Event-ID"

// The data of the events.
type (
	standing struct {
		ExecutionID execution.ID    `json:"execution_id"`
		Status      execution.State `json:"status"`
		CreatedAt   time.Time       `json:"created_at"`
		StartedAt   *time.Time      `json:"started_at"` // null while the execution is queued
		Ahead       *int            `json:"ahead"`      // null unless the execution is queued
	}
	piece struct {
		Data     string `json:"data"`
		Encoding string `json:"encoding,omitempty"` // "base64", or absent for text
	}
	hole struct {
		Stream execution.Stream `json:"stream"`
		Bytes  int64            `json:"bytes"`
	}
)

// handleEvents streams the output and the states of an execution as Server-Sent Events, from the position of the
// client.
func (a *api) handleEvents(w http.ResponseWriter, r *http.Request, caller auth.Principal) error {
	at, err := lastSeen(r)
	if err != nil {
		return err
	}
	release, err := a.Executions.AcquireStream(caller.Subject)
	if err != nil {
		return err
	}
	defer release()
	f, err := a.Executions.Follow(r.Context(), execution.ID(r.PathValue("id")), caller)
	if err != nil {
		return err
	}
	defer f.Leave()
	if view, _ := f.Look(); !at.Within(view.Execution) {
		return fault.New(fault.InvalidRequest, "%s is ahead of what this execution has printed.", headerLast).
			Field(headerLast)
	}
	if at.Told == follow.Ended {
		w.WriteHeader(http.StatusNoContent) // an EventSource reconnects after the last event until it gets a 204
		return nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	s := eventStream{
		w: w, control: http.NewResponseController(w), patience: server.Patience(r),
		inline: a.Executions.Inline,
		complete: func(e execution.Execution) (execution.Execution, error) {
			return a.Executions.Complete(r.Context(), e)
		},
	}
	if err := s.open(); err != nil {
		return err
	}
	if err := f.Follow(r.Context(), server.Stopping(r.Context()), at, s.write); err != nil {
		a.Log.WithField("request_id", server.RequestID(r)).WithError(err).Debug("stream of events broke")
		return nil
	}
	return s.setDeadline(time.Now().Add(s.patience)) // net/http writes the last bytes
}

// lastSeen reads the position of the client from the header or, for a client that cannot set a header, from the query.
// The position of a client that names none is the beginning.
func lastSeen(r *http.Request) (follow.Position, error) {
	name := headerLast
	text, err := server.HeaderOnce(r, name)
	if err == nil && text == "" {
		name = "last_event_id"
		q := server.QueryOf(r)
		text, err = q.Text(name), q.Err()
	}
	if err != nil || text == "" {
		return follow.Position{}, err
	}
	at, err := follow.Parse(text)
	if err != nil {
		return at, fault.New(fault.InvalidRequest, "%s must be the id of an event of this execution.", name).
			Field(name).Because(err)
	}
	return at, nil
}

// eventStream writes events to one client. A client that takes no bytes for longer than patience is cut off.
type eventStream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	inline   int // bytes of each stream in a result
	complete func(execution.Execution) (execution.Execution, error)
	text     bytes.Buffer
}

// reconnectDelay is the delay in milliseconds after which a client reconnects when its stream has broken.
const reconnectDelay = 1000

// open sends the first bytes, which tell the client that the stream is open.
func (s *eventStream) open() error {
	fmt.Fprintf(&s.text, "retry: %d\n\n", reconnectDelay)
	return s.flush()
}

// write sends one event of the follower.
func (s *eventStream) write(e follow.Event) error {
	switch e.Kind {
	case follow.Status:
		return s.event(e, string(e.Kind), standingOf(e.View))
	case follow.Output:
		return s.event(e, string(e.Stream), pieceOf(e.Piece))
	case follow.Gap:
		return s.event(e, string(e.Kind), hole{e.Stream, e.Bytes})
	case follow.End:
		whole, err := s.complete(e.View.Execution)
		if err != nil {
			return err
		}
		return s.event(e, string(e.Kind), finalOf(whole, s.inline))
	case follow.Idle:
		s.text.WriteString(":\n\n")
		return s.flush()
	}
	return nil
}

func (s *eventStream) event(e follow.Event, name string, data any) error {
	fmt.Fprintf(&s.text, "id: %s\nevent: %s\ndata: ", e.At, name)
	if err := wire.NewEncoder(&s.text).Encode(data); err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	s.text.WriteByte('\n')
	return s.flush()
}

// maxKept is the largest buffer, in bytes, that a stream keeps for the next event: thousands of streams may be open.
const maxKept = 8 << 10

func (s *eventStream) flush() error {
	defer func() {
		if s.text.Reset(); s.text.Cap() > maxKept {
			s.text = bytes.Buffer{}
		}
	}()
	if err := s.setDeadline(time.Now().Add(s.patience)); err != nil {
		return err
	}
	if _, err := s.w.Write(s.text.Bytes()); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return s.setDeadline(time.Time{}) // over HTTP/2 a deadline ends an idle stream too
}

// setDeadline limits the next writes; the zero time is no limit.
func (s *eventStream) setDeadline(at time.Time) error {
	if err := s.control.SetWriteDeadline(at); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	return nil
}

func standingOf(v follow.View) standing {
	s := standing{ExecutionID: v.ID, Status: v.State, CreatedAt: wire.Time(v.CreatedAt)}
	if v.Run != nil {
		s.StartedAt = wire.TimeOrNull(v.Run.StartedAt)
	}
	if v.State == execution.Queued {
		s.Ahead = &v.Ahead
	}
	return s
}

// pieceOf encodes bytes as text or, if they are not UTF-8, as base64.
func pieceOf(b []byte) piece {
	if utf8.Valid(b) {
		return piece{Data: string(b)}
	}
	return piece{Data: base64.StdEncoding.EncodeToString(b), Encoding: "base64"}
}
