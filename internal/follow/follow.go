// Package follow sends the output and the state of an execution to its followers, each from its own position.
//
// One query of the record and one reader of the streams serve any number of followers, and a slow follower does not
// delay the others. The package does not know the protocol of the followers or the source of the bytes.
package follow

import (
	"bytes"
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"boomerang/internal/execution"
)

const (
	outputInterval = 100 * time.Millisecond // between two reads of the streams
	idleInterval   = 15 * time.Second       // a follower gets an Idle event after this time without another event
	maxPiece       = 32 << 10               // bytes of one event, and the bytes that a slow follower holds
)

// Kind is the kind of an event.
type Kind string

// The kinds of events.
const (
	Status Kind = "status" // the execution is queued or runs; repeated if its place in the queue changes
	Output Kind = "output" // bytes of a stream
	Gap    Kind = "gap"    // bytes of a stream that were not kept; the next bytes follow after them
	End    Kind = "end"    // the execution has ended; the last event
	Idle   Kind = "idle"   // no other event for a while
)

// Event is one message to a follower. Each follower has its own, so that a slow one holds only the bytes of one event.
type Event struct {
	Kind   Kind
	At     Position // position of the follower after this event
	View   View     // set for Status and End
	Stream execution.Stream
	Piece  []byte // set for Output: never empty, and valid UTF-8 where the output is
	Bytes  int64  // set for Gap: number of omitted bytes
}

// streams in the order in which they are read.
var streams = [...]execution.Stream{execution.Stdout, execution.Stderr}

// follower sends events from a position to the end of an execution.
type follower struct {
	followed *Followed
	at       Position
	ahead    int // last sent queue position; -1 before the first
	deliver  func(Event) error
	lastSent time.Time // time of the last event
}

// send sends an event with the current position.
func (w *follower) send(e Event) error {
	e.At = w.at
	err := w.deliver(e)
	w.lastSent = time.Now()
	return err
}

// Follow sends all events from a position on, and returns nil when the execution has ended and all events are sent. It
// returns early with the error of tell, or with nil when stop is closed or ctx ends. A slow tell delays only this
// follower.
//
// Stdout comes before stderr if both have new bytes, because the order of the program's writes is unknown.
func (f *Followed) Follow(ctx context.Context, stop <-chan struct{}, at Position, tell func(Event) error) error {
	w := follower{followed: f, at: at, ahead: -1, deliver: tell, lastSent: time.Now()}
	timer := time.NewTimer(idleInterval)
	defer timer.Stop()
	for {
		view, changed := f.Look()
		if view.State.Terminal() {
			return w.sendRest(ctx, view)
		}
		if err := w.sendStatus(view); err != nil {
			return err
		}
		var grown [len(streams)]<-chan struct{}
		printed := false
		if view.State == execution.Running {
			for i, stream := range streams {
				some, more, err := w.sendLive(stream)
				if grown[i], printed = more, printed || some; err != nil {
					return err
				}
			}
		}
		wake := w.lastSent.Add(idleInterval)
		if printed {
			grown, wake = [len(streams)]<-chan struct{}{}, time.Now().Add(outputInterval) // more output may follow
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return nil
		case <-stop:
			return nil
		case <-changed:
		case <-grown[0]:
		case <-grown[1]:
		case <-timer.C:
			if printed {
				continue
			}
			if err := w.send(Event{Kind: Idle}); err != nil {
				return err
			}
		}
	}
}

// sendStatus sends the state of the execution, unless the follower knows it.
func (w *follower) sendStatus(view View) error {
	told := Queued
	if view.State == execution.Running {
		told = Running
	}
	if w.at.Told == told && (told == Running || w.ahead == view.Ahead) {
		return nil
	}
	w.at.Told, w.ahead = told, view.Ahead
	return w.send(Event{Kind: Status, View: view})
}

// sendLive sends the bytes that a running program has written after the position, and reports whether there were any.
// The channel is closed when there are more. An incomplete rune at the end waits for its rest. The follower copies each
// piece, because a slice of the output would keep all of it in memory after the end of the program.
func (w *follower) sendLive(stream execution.Stream) (some bool, grown <-chan struct{}, err error) {
	at := w.at.offset(stream)
	kept, grown := w.followed.read(stream)
	for end := int64(len(kept)); *at < end; { // not the bytes that come meanwhile, which may be without end
		if int64(len(kept)) < end { // the execution has ended meanwhile
			break
		}
		piece := bytes.Clone(nextPiece(kept[*at:end], false))
		if len(piece) == 0 {
			break
		}
		*at += int64(len(piece))
		some = true
		if err := w.send(Event{Kind: Output, Stream: stream, Piece: piece}); err != nil {
			return some, nil, err
		}
		kept, _ = w.followed.read(stream)
	}
	return some, grown, nil
}

// sendRest sends the remaining events of an execution that has ended.
func (w *follower) sendRest(ctx context.Context, view View) error {
	for _, stream := range streams {
		o, err := w.followed.hub.records.Output(ctx, view.ID, stream)
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
		if err := w.sendStored(stream, o, 0, o.Head, 0); err != nil {
			return err
		}
		at := w.at.offset(stream)
		tail := o.Bytes - o.Tail // offset of the tail
		if left := tail - *at; left > 0 {
			*at = tail
			if err := w.send(Event{Kind: Gap, Stream: stream, Bytes: left}); err != nil {
				return err
			}
		}
		if err := w.sendStored(stream, o, o.Head, o.Tail, tail); err != nil {
			return err
		}
	}
	w.at.Told = Ended
	return w.send(Event{Kind: End, View: view})
}

// sendStored sends a part of a stored stream, size bytes from the offset from of the kept bytes on. The parameter begin
// is the position of the part in the stream.
func (w *follower) sendStored(stream execution.Stream, o execution.Printed, from, size, begin int64) error {
	for at := w.at.offset(stream); *at >= begin && *at-begin < size; {
		piece := make([]byte, min(maxPiece, size-(*at-begin)))
		if n, err := o.ReadAt(piece, from+*at-begin); n < len(piece) {
			return fmt.Errorf("read output: %w", err)
		}
		piece = nextPiece(piece, true)
		*at += int64(len(piece))
		if err := w.send(Event{Kind: Output, Stream: stream, Piece: piece}); err != nil {
			return err
		}
	}
	return nil
}

// nextPiece returns the first bytes of fresh that may be sent at once. It holds an incomplete rune at the end back,
// unless fresh is all that will come. The rest of a rune at the beginning is a piece of its own, so that the next piece
// is valid UTF-8.
func nextPiece(fresh []byte, all bool) []byte {
	cut := fresh[:min(len(fresh), maxPiece)]
	if whole := execution.BeforePartialRune(cut); len(whole) > 0 || !all {
		cut = whole
	}
	if !utf8.Valid(cut) {
		text := execution.AfterPartialRune(cut)
		if begun := len(cut) - len(text); begun > 0 && utf8.Valid(text) {
			return cut[:begun]
		}
	}
	return cut
}
