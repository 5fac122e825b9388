package callback

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync/atomic"
)

// recordedConn is a connection that records the answer's bytes in the trace of an attempt. A failing write on it does
// not end the attempt.
//
// A receiver may answer after the head of a request and close the connection before it has read the body. The answer
// and the write error then reach net/http at the same time, and net/http reports either of them. So Write reports a
// failed write as done: no more bytes can be written, and the next read decides. The read returns the answer if it has
// come, and otherwise the error or the end of the connection, at once. Linux keeps the bytes received before an RST. An
// answer that the receiver's own kernel discarded with the connection is lost.
type recordedConn struct {
	net.Conn
	trace       atomic.Pointer[connTrace] // trace of the attempt on this connection; nil before the first attempt
	writeFailed atomic.Bool               // a write has failed
}

func recordConn(conn net.Conn) *recordedConn { return &recordedConn{Conn: conn} }

// Read implements net.Conn.
func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if t := c.trace.Load(); t != nil {
		t.recordBytes(p[:n], err != nil)
	}
	return n, err
}

// Write implements net.Conn. It returns an error only if the connection was closed on this side.
func (c *recordedConn) Write(p []byte) (int, error) {
	if c.writeFailed.Load() {
		return len(p), nil
	}
	n, err := c.Conn.Write(p)
	if err == nil || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	c.writeFailed.Store(true)
	return len(p), nil
}

// unwrapConn returns the topmost recordedConn, which carries plain HTTP, and the guardedConn below it. Either may be
// nil.
func unwrapConn(conn net.Conn) (top *recordedConn, base *guardedConn) {
	for {
		switch c := conn.(type) {
		case *recordedConn:
			if top == nil {
				top = c
			}
			conn = c.Conn
		case *tls.Conn:
			conn = c.NetConn()
		case *guardedConn:
			base, conn = c, c.Conn
		default:
			return top, base
		}
	}
}

// partialAnswer is the part of an answer that could be read.
type partialAnswer struct {
	status     int
	retryAfter string // value of the header; empty if it did not come
	complete   bool   // the headers arrived to their end
}

// parsePartialAnswer reads the first bytes of an answer, which may break off anywhere and be malformed after the status
// line. It returns false without a complete status line. It skips 1xx answers, except 101, which is the last answer on
// its connection.
func parsePartialAnswer(head []byte) (p partialAnswer, ok bool) {
	for {
		line, rest, ended := nextLine(head)
		if !ended {
			return partialAnswer{}, false
		}
		status := io.MultiReader(bytes.NewReader(line), strings.NewReader("\r\n\r\n"))
		response, err := http.ReadResponse(bufio.NewReader(status), nil) //nolint:bodyclose // it has none
		if err != nil || !validStatus(response.StatusCode) {
			return partialAnswer{}, false
		}
		p.status = response.StatusCode
		for p.complete = false; !p.complete; {
			if line, rest, ended = nextLine(rest); !ended {
				break
			}
			p.complete = len(line) == 0
			name, value, _ := bytes.Cut(line, []byte(":"))
			if p.retryAfter == "" && strings.EqualFold(string(name), "Retry-After") {
				p.retryAfter = string(bytes.TrimSpace(value))
			}
		}
		if p.status >= 200 || p.status == http.StatusSwitchingProtocols {
			return p, true
		}
		if !p.complete {
			return partialAnswer{}, false
		}
		head, p = rest, partialAnswer{}
	}
}

// validStatus reports whether a number is a status (RFC 9110 §15). The package net/http also accepts "000" and "+20".
func validStatus(status int) bool { return 100 <= status && status <= 999 }

// nextLine cuts off the first line; ended is false if the line has no end.
func nextLine(text []byte) (line, rest []byte, ended bool) {
	line, rest, ended = bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest, ended
}

// defect describes the error behind the status line of an answer. The parameter heard is the number of recorded bytes,
// ended says that the connection ended after them, and err is the error of net/http. The description never quotes err,
// which contains text of the receiver.
func (p partialAnswer) defect(heard int, ended bool, err error) string {
	switch {
	case ended && !p.complete:
		return "the connection broke off within its headers"
	case heard >= maxAnswerHeaders && !p.complete:
		return "its headers have more than 32 KiB"
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return "one of its headers is malformed"
	}
	if p.complete {
		return "its Content-Length, Transfer-Encoding or Trailer is not valid"
	}
	return "its headers could not be read"
}
