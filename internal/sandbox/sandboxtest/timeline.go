package sandboxtest

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// forever is longer than any test waits, and short enough to add to a time.
const forever = 100 * 365 * 24 * time.Hour

// timeline lists the output of a program and its times, counted from the start.
type timeline struct {
	events          []event
	length          time.Duration // time until the program ends by itself
	ignoresTermFrom time.Duration // time from which the program ignores SIGTERM
	end             journal.End   // the end without a signal or deadline
	files           map[string][]byte
}

type event struct {
	at     time.Duration
	stream execution.Stream
	text   []byte
}

// newTimeline reads the program of a job. Code that is no program cannot be started.
func newTimeline(job journal.Job) timeline {
	t := timeline{ignoresTermFrom: forever, files: make(map[string][]byte)}
	program, err := Read(strings.NewReader(job.Code))
	if err != nil || job.Argv[0] == Missing {
		t.end.StartError = "the fake plays nothing but programs of sandboxtest"
		return t
	}
	for _, s := range program {
		switch {
		case len(s.Stdout) > 0:
			t.events = append(t.events, event{t.length, execution.Stdout, bytes.Repeat(s.Stdout, max(s.Times, 1))})
		case len(s.Stderr) > 0:
			t.events = append(t.events, event{t.length, execution.Stderr, bytes.Repeat(s.Stderr, max(s.Times, 1))})
		case s.Path != "":
			t.files[s.Path] = s.Content
		case s.Sleep > 0:
			t.length += s.Sleep
		case s.IgnoreTerm:
			t.ignoresTermFrom = t.length
		case s.Exit > 0:
			t.end.ExitCode = s.Exit
			return t
		case s.Die > 0:
			t.end.Signal = s.Die
			return t
		case s.Hang:
			t.length = forever
			return t
		}
	}
	return t
}

// ending returns the time and the form of the program's end if it is stopped at stop, which may be forever.
func (t timeline) ending(job journal.Job, stop time.Duration) (time.Duration, journal.End) {
	end, order := t.end, min(job.Timeout, stop)
	if order >= t.length {
		return t.length, end
	}
	end.TimedOut, end.Stopped = job.Timeout <= stop, stop < job.Timeout
	killed, signal := order, syscall.SIGTERM
	if t.ignoresTermFrom <= order {
		killed, signal = order+job.Grace, syscall.SIGKILL
	}
	if killed >= t.length {
		return t.length, end
	}
	end.ExitCode, end.Signal = 0, int(signal)
	return killed, end
}

// headAndTail passes on one stream as the init does: the head at once, the tail at the end.
type headAndTail struct {
	to         io.Writer
	head, tail int64
	bytes      int64
	beyond     []byte // the last bytes beyond the head, at most tail
}

func (o *headAndTail) write(text []byte) {
	head := min(max(o.head-o.bytes, 0), int64(len(text)))
	_, _ = o.to.Write(text[:head])
	o.bytes += int64(len(text))
	o.beyond = append(o.beyond, text[head:]...)
	o.beyond = o.beyond[max(0, int64(len(o.beyond))-o.tail):]
}

func (o *headAndTail) finish(end journal.End) *journal.End {
	_, _ = o.to.Write(o.beyond)
	end.Bytes = o.bytes
	end.LeftOut = max(o.bytes-o.head-int64(len(o.beyond)), 0)
	if end.LeftOut > 0 {
		end.Tail = int64(len(o.beyond))
	}
	return &end
}
