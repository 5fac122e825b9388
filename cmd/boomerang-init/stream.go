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

	// Each read becomes at least one entry of the log, which costs the engine about 10 µs. The output of an ordinary
	// program passes at once. A program that prints byte by byte without end fills its pipe meanwhile.
	pace  = time.Millisecond // average time between two reads of the head
	burst = 256              // reads without a pause
)

// stream copies one stream of the program into the container's log: the head at once, the middle not at all, and the
// tail at the end.
type stream struct {
	pipe   *os.File // from the program
	log    *log
	head   int64  // bytes that may still pass at once
	tail   int64  // bytes that are kept beyond the head
	buf    []byte // beyond the head, a ring buffer; the tail always lies before next
	next   int
	passed int64
	beyond int64 // bytes that arrived beyond the head

	limit    int64           // largest number of bytes that the program may write; 0 means no limit
	seen     int64           // bytes that the program has written
	exceeded chan<- struct{} // receives a value when seen exceeds limit

	nextRead   time.Time     // time of the next read at an even pace
	paceTimer  *time.Timer   // fires at nextRead; reused, because the init's allocations are never collected
	inputEnded chan struct{} // closed when no process can write to the pipe any more
}

func newStream(pipe *os.File, log *log, head, tail int64) *stream {
	return &stream{
		pipe: pipe, log: log, head: head, tail: tail,
		buf:        make([]byte, tail+chunk), // untouched pages cost no memory
		paceTimer:  time.NewTimer(0),
		inputEnded: make(chan struct{}),
	}
}

// pump reads the whole stream: until the end of the file, or until the pipe is empty after stopWhenEmpty. While the log
// accepts nothing, pump waits, and so does the program.
func (s *stream) pump() {
	defer func() { _ = s.pipe.Close() }()
	if s.pumpHead() {
		s.pumpRest()
	}
}

// stopWhenEmpty tells pump that no more bytes will enter the pipe. The end of all processes does not guarantee an end
// of file: a program can leave its end of the pipe in flight in a socket, until the kernel's garbage collection finds
// it.
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

// paceReads delays the reads of the head until stopWhenEmpty.
func (s *stream) paceReads() {
	now := time.Now()
	if s.nextRead = s.nextRead.Add(pace); s.nextRead.Before(now.Add(-burst * pace)) {
		s.nextRead = now.Add(-burst * pace)
	}
	if early := s.nextRead.Sub(now); early > 0 {
		s.paceTimer.Reset(early)
		select {
		case <-s.inputEnded:
		case <-s.paceTimer.C:
		}
	}
}

// countBytes notifies the supervisor when the program exceeds its limit.
func (s *stream) countBytes(n int) {
	s.seen += int64(n)
	if s.limit > 0 && s.seen > s.limit {
		select {
		case s.exceeded <- struct{}{}:
		default:
		}
	}
}

// readNow reads without waiting, and treats an empty pipe as the end of the file.
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

// pumpHead reads the head and reports whether more bytes may follow.
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
		s.beyond += int64(n)
		s.next = (s.next + n) % len(s.buf)
		if err != nil {
			return
		}
	}
}

// finish writes the tail, then calls more, and writes the end frame with the counts of this stream.
func (s *stream) finish(nonce string, end journal.End, more func()) error {
	kept := min(s.tail, s.beyond)
	if from := int64(s.next) - kept; from >= 0 {
		s.log.payload(s.buf[from:s.next])
	} else {
		s.log.payload(s.buf[int64(len(s.buf))+from:])
		s.log.payload(s.buf[:s.next])
	}
	more()
	end.Bytes = s.passed + s.beyond
	end.LeftOut = s.beyond - kept
	if end.LeftOut > 0 {
		end.Tail = kept
	}
	s.log.raw(journal.AppendEnd(nil, nonce, end))
	return s.log.err
}

// log writes to one stream of the container's log. After an error it discards all bytes: the program continues, and the
// missing end frame reveals the error.
type log struct {
	w      io.Writer
	packed []byte // allocated before the program starts, which may leave the init no memory
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
