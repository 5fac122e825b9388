//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"boomerang/internal/journal"
)

const (
	chunk     = 128 << 10              // bytes of one read
	maxLine   = 8 << 10                // bytes that are written without a newline before a wrap
	liveAfter = 100 * time.Millisecond // how long the beginning of a line is held back by the log before a wrap
	liveWraps = 16 << 10               // how many wraps a stream may spend on that: they make the log longer
)

// stream carries one stream of the program into the container's log: the head as it comes, then nothing, and at the
// end the tail.
type stream struct {
	pipe   *os.File // from the program
	log    *log
	head   int64  // bytes that are still passed on as they come
	tail   int64  // bytes that are kept beyond the head
	buf    []byte // behind the head it is a ring, read into directly; a whole tail is always behind next
	next   int
	passed int64
	behind int64 // bytes that came behind the head

	limit int64           // bytes that the program may write; 0 = any number
	seen  int64           // bytes that it has written
	over  chan<- struct{} // is told when they are more

	mu   sync.Mutex // so that no deadline of pump's takes the place of settle's
	last bool       // nothing can be written to the pipe any more
}

func newStream(pipe *os.File, log *log, head, tail int64) *stream {
	// Pages of the buffer that nothing is read into cost no memory.
	return &stream{pipe: pipe, log: log, head: head, tail: tail, buf: make([]byte, tail+chunk)}
}

// pump returns when it has read all, at the end of the file or after settle. While the log takes nothing it waits, and
// so does the program.
func (s *stream) pump() {
	defer func() { _ = s.pipe.Close() }()
	if s.pumpHead() {
		s.log.wrap()
		s.pumpRest()
	}
}

// settle tells pump that what is in the pipe is all. Nobody being left is not enough for an end of file: a program can
// leave its end in flight in a socket of its own, where the kernel finds it when it next looks for garbage.
func (s *stream) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	_ = s.pipe.SetReadDeadline(time.Unix(1, 0))
}

// giveUp sets when a read ends with os.ErrDeadlineExceeded, zero for never.
func (s *stream) giveUp(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last {
		_ = s.pipe.SetReadDeadline(at)
	}
}

func (s *stream) read(p []byte) (int, error) {
	n, err := s.pipe.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		s.count(n)
		return n, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last {
		return 0, err
	}
	return readNow(s.pipe, p)
}

// count tells who supervises when the program has written more than it may.
func (s *stream) count(n int) {
	s.seen += int64(n)
	if s.limit > 0 && s.seen > s.limit {
		select {
		case s.over <- struct{}{}:
		default:
		}
	}
}

// readNow reads without waiting; an empty pipe is at its end.
func readNow(pipe *os.File, p []byte) (n int, err error) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return 0, err
	}
	if e := conn.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), p) }); e != nil {
		return 0, e
	}
	switch {
	case errors.Is(err, syscall.EINTR):
		return 0, nil
	case err != nil || n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// pumpHead tells whether there may be more than the head.
func (s *stream) pumpHead() bool {
	armed := false
	for s.head > 0 {
		if due := s.log.open > 0 && s.log.live > 0; due != armed {
			armed = due
			var at time.Time
			if due {
				at = time.Now().Add(liveAfter)
			}
			s.giveUp(at)
		}
		n, err := s.read(s.buf[:min(s.head, chunk)])
		s.log.write(s.buf[:n])
		s.passed += int64(n)
		s.head -= int64(n)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.log.live--
			s.log.wrap()
		case err != nil:
			return false
		}
	}
	s.giveUp(time.Time{})
	return true
}

func (s *stream) pumpRest() {
	for {
		n, err := s.read(s.buf[s.next:min(s.next+chunk, len(s.buf))])
		s.behind += int64(n)
		s.next = (s.next + n) % len(s.buf)
		if err != nil {
			return
		}
	}
}

// finish writes the tail and the end frame, completed with this stream's counts.
func (s *stream) finish(nonce string, end journal.End) error {
	kept := min(s.tail, s.behind)
	if from := int64(s.next) - kept; from >= 0 {
		s.log.write(s.buf[from:s.next])
	} else {
		s.log.write(s.buf[int64(len(s.buf))+from:])
		s.log.write(s.buf[:s.next])
	}
	end.Bytes = s.passed + s.behind
	end.LeftOut = s.behind - kept
	if end.LeftOut > 0 {
		end.Tail = kept
	}
	s.log.raw(journal.AppendEnd(nil, nonce, end))
	return s.log.err
}

// log writes to one stream of the container's log and keeps its lines short. After an error it takes everything and
// writes nothing: the program goes on, and the missing end frame tells.
type log struct {
	w       io.Writer
	newline []byte // a wrap frame
	open    int    // bytes since the last newline
	live    int    // wraps that may still be spent on unfinished lines
	lines   int    // written, with those of the frames
	err     error
}

func newLog(w io.Writer, nonce string) *log {
	return &log{w: w, newline: journal.AppendWrap(nil, nonce), live: liveWraps}
}

// write writes p with a wrap wherever there is no newline in maxLine bytes.
func (l *log) write(p []byte) {
	from, to := 0, 0
	for to < len(p) {
		window := p[to:min(to+maxLine-l.open, len(p))]
		to += len(window)
		if i := bytes.LastIndexByte(window, '\n'); i >= 0 {
			l.open = len(window) - 1 - i
			continue
		}
		l.open += len(window)
		if l.open == maxLine {
			l.raw(p[from:to])
			l.wrap()
			from = to
		}
	}
	l.raw(p[from:])
}

// wrap ends a line that is unfinished.
func (l *log) wrap() {
	if l.open > 0 {
		l.raw(l.newline)
		l.open = 0
	}
}

func (l *log) raw(p []byte) {
	if l.err == nil && len(p) > 0 {
		l.lines += bytes.Count(p, []byte{'\n'})
		_, l.err = l.w.Write(p)
	}
}
