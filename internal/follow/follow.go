// Package follow sends the output and the state of an execution to its followers, each from its own position.
//
// One query of the record and one reader of the streams serve any number of followers, and a slow follower does not
// delay the others. The package does not know the protocol of the followers or the source of the bytes.
package follow

import (
	"context"
	"time"
	"unicode/utf8"

	"boomerang/internal/execution"
)

const (
	outputInterval = 100 * time.Millisecond // between two reads of the streams
	idleInterval   = 15 * time.Second       // a follower gets an Idle event after this time without another event
	maxPiece       = 64 << 10               // bytes of one event
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

// Event is one message to a follower.
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
// Stdout comes before stderr if both have new bytes, because the order of the program's writes is unknown. The slices
// in the events are shared by all followers.
func (f *Followed) Follow(ctx context.Context, stop <-chan struct{}, at Position, tell func(Event) error) error {
	w := follower{followed: f, at: at, ahead: -1, deliver: tell, lastSent: time.Now()}
	timer := time.NewTimer(idleInterval)
	defer timer.Stop()
	for {
		view, changed := f.Look()
		if view.State.Terminal() {
			return w.sendRest(view)
		}
		if err := w.sendStatus(view); err != nil {
			return err
		}
		var grown [len(streams)]<-chan struct{}
		printed := false
		if view.State == execution.Running {
			for i, stream := range streams {
				var kept []byte
				kept, grown[i] = f.read(stream)
				some, err := w.sendOutput(stream, kept, false)
				if printed = printed || some; err != nil {
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

// sendOutput sends the bytes of kept after the position, and reports whether there were any. An incomplete rune at the
// end of kept waits for its rest, unless kept is complete.
func (w *follower) sendOutput(stream execution.Stream, kept []byte, all bool) (some bool, err error) {
	at := w.at.offset(stream)
	for *at < int64(len(kept)) {
		piece := nextPiece(kept[*at:], all)
		if len(piece) == 0 {
			break
		}
		*at += int64(len(piece))
		some = true
		if err := w.send(Event{Kind: Output, Stream: stream, Piece: piece}); err != nil {
			return some, err
		}
	}
	return some, nil
}

// sendRest sends the remaining events of an execution that has ended.
func (w *follower) sendRest(view View) error {
	for _, stream := range streams {
		o := view.Result.Stdout
		if stream == execution.Stderr {
			o = view.Result.Stderr
		}
		if _, err := w.sendOutput(stream, o.Head, true); err != nil {
			return err
		}
		at := w.at.offset(stream)
		tail := o.Bytes - int64(len(o.Tail)) // offset of the tail
		if left := tail - *at; left > 0 {
			*at = tail
			if err := w.send(Event{Kind: Gap, Stream: stream, Bytes: left}); err != nil {
				return err
			}
		}
		if err := w.sendTail(stream, o.Tail, tail); err != nil {
			return err
		}
	}
	w.at.Told = Ended
	return w.send(Event{Kind: End, View: view})
}

// sendTail sends the bytes after a gap. The parameter offset is the position of kept in the stream.
func (w *follower) sendTail(stream execution.Stream, kept []byte, offset int64) error {
	for at := w.at.offset(stream); *at >= offset && *at-offset < int64(len(kept)); {
		piece := nextPiece(kept[*at-offset:], true)
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
