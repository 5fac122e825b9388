// Package follow tells those who follow an execution what it prints and where it stands, each from the position where he is.
//
// It knows how one look at the record and one reading of the streams serve any number of followers, and that a slow one
// costs nobody else anything. It refuses to know how the followers are spoken to, and where the bytes come from.
package follow

import (
	"context"
	"time"
	"unicode/utf8"

	"boomerang/internal/execution"
)

const (
	outputInterval     = 100 * time.Millisecond // between two looks at the streams: what is printed within it comes together
	idleInterval  = 15 * time.Second       // after which a follower is told that there is nothing
	maxPiece = 64 << 10               // bytes of one event
)

// Kind is what an event is about.
type Kind string

// The kinds.
const (
	Status Kind = "status" // it is queued, or runs; again when more or fewer are ahead of it
	Output Kind = "output" // bytes of a stream
	Gap    Kind = "gap"    // bytes of a stream that were not kept; the next that come are those behind them
	End    Kind = "end"    // it has ended; the last event
	Idle   Kind = "idle"   // nothing has happened for a while
)

// Event is one thing that a follower is told.
type Event struct {
	Kind   Kind
	At     Position // what the follower has with this event
	View   View     // of Status and End
	Stream execution.Stream
	Piece  []byte // of Output: never empty, and text where it can be: no rune is cut unless the program did it
	Bytes  int64  // of Gap: how many are left out
}

// streams in the order in which they are read.
var streams = [...]execution.Stream{execution.Stdout, execution.Stderr}

// follower is one on the way from a position to the end.
type follower struct {
	followed *Followed
	at       Position
	ahead    int // that was told; -1: none
	deliver     func(Event) error
	lastSent     time.Time // when it was told something
}

// send tells the follower what it has by now.
func (w *follower) send(e Event) error {
	e.At = w.at
	err := w.deliver(e)
	w.lastSent = time.Now()
	return err
}

// Follow tells everything from a position on, until the execution has ended and all is told: then it returns nil. It ends
// early with what tell returns, or with nil when stop is closed or ctx ends. While tell takes its time, it alone waits.
//
// Stdout comes before stderr where both have something new; nobody knows which the program wrote first. Pieces are slices
// of what all followers share.
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
			grown, wake = [len(streams)]<-chan struct{}{}, time.Now().Add(outputInterval) // then there may be more
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

// status tells where the execution stands, unless that is known.
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

// output tells what kept has behind the position, and whether that was something. A rune that kept ends in the middle of
// waits for its rest, unless kept is all.
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

// rest tells what is left of an execution that has ended.
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
		tail := o.Bytes - int64(len(o.Tail)) // where it begins
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

// tail tells what lies at an offset behind a gap.
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

// next returns the beginning of fresh that is to be told at once. A rune that it ends in the middle of is left for later,
// unless fresh is all that will come; the end of one that it begins in the middle of goes alone, so that what follows is text.
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
