//go:build linux

package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"boomerang/internal/journal"
)

const (
	chunk = 128 << 10 // bytes of one read

	// Each read becomes at least one entry of the log, which costs the engine some 10 µs. What an ordinary program prints
	// is passed on at once; one that prints byte by byte without end fills its pipe meanwhile.
	pace  = time.Millisecond // between two reads of the head, on average
	burst = 256              // reads that need not wait
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

	limit    int64           // bytes that the program may write; 0 = any number
	seen     int64           // bytes that it has written
	exceeded chan<- struct{} // is told when they are more

	due        time.Time     // when the next read would come at an even pace
	rest       *time.Timer   // until then; one for all, because nothing that the init allocates is ever collected
	inputEnded chan struct{} // closed when nothing can be written to the pipe any more
}

func newStream(pipe *os.File, log *log, head, tail int64) *stream {
	return &stream{
		pipe: pipe, log: log, head: head, tail: tail,
		buf:        make([]byte, tail+chunk), // pages that nothing is read into cost no memory
		rest:       time.NewTimer(0),
		inputEnded: make(chan struct{}),
	}
}

// pump returns when it has read all, at the end of the file or after settle. While the log takes nothing it waits, and
// so does the program.
func (s *stream) pump() {
	defer func() { _ = s.pipe.Close() }()
	if s.pumpHead() {
		s.pumpRest()
	}
}

// settle tells pump that what is in the pipe is all. Nobody being left is not enough for an end of file: a program can
// leave its end in flight in a socket of its own, where the kernel finds it when it next looks for garbage.
func (s *stream) stopWhenEmpty() {
	close(s.inputEnded)
	_ = s.pipe.SetReadDeadline(time.Unix(1, 0))
}

func (s *stream) read(p []byte) (int, error) {
	n, err := s.pipe.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return readNow(s.pipe, p)
	}
	s.countBytes(n)
	return n, err
}

// breathe keeps the reads of the head at their pace, until settle.
func (s *stream) paceReads() {
	now := time.Now()
	if s.due = s.due.Add(pace); s.due.Before(now.Add(-burst * pace)) {
		s.due = now.Add(-burst * pace)
	}
	if early := s.due.Sub(now); early > 0 {
		s.rest.Reset(early)
		select {
		case <-s.inputEnded:
		case <-s.rest.C:
		}
	}
}

// count tells who supervises when the program has written more than it may.
func (s *stream) countBytes(n int) {
	s.seen += int64(n)
	if s.limit > 0 && s.seen > s.limit {
		select {
		case s.exceeded <- struct{}{}:
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
	for s.head > 0 {
		n, err := s.read(s.buf[:min(s.head, chunk)])
		s.log.payload(s.buf[:n])
		s.passed += int64(n)
		s.head -= int64(n)
		if err != nil {
			return false
		}
		s.paceReads()
	}
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

// finish writes the tail, what else there is to write, and the end frame, completed with this stream's counts.
func (s *stream) finish(nonce string, end journal.End, more func()) error {
	kept := min(s.tail, s.behind)
	if from := int64(s.next) - kept; from >= 0 {
		s.log.payload(s.buf[from:s.next])
	} else {
		s.log.payload(s.buf[int64(len(s.buf))+from:])
		s.log.payload(s.buf[:s.next])
	}
	more()
	end.Bytes = s.passed + s.behind
	end.LeftOut = s.behind - kept
	if end.LeftOut > 0 {
		end.Tail = kept
	}
	s.log.raw(journal.AppendEnd(nil, nonce, end))
	return s.log.err
}

// log writes to one stream of the container's log. After an error it takes everything and writes nothing: the program
// goes on, and the missing end frame tells.
type log struct {
	w      io.Writer
	packed []byte // made before the program starts: it may leave the init no more memory
	err    error
}

func newLog(w io.Writer) *log { return &log{w: w, packed: make([]byte, 0, 2*journal.MaxPiece+1)} }

func (l *log) payload(p []byte) {
	for piece := range slices.Chunk(p, journal.MaxPiece) {
		l.raw(journal.AppendPayload(l.packed, piece))
	}
}

func (l *log) raw(p []byte) {
	if l.err == nil && len(p) > 0 {
		_, l.err = l.w.Write(p)
	}
}
