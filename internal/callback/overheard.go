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

// overheard is a connection that lets the witness of an attempt hear what the receiver says, and on which a failing
// write does not end the attempt.
//
// A receiver may answer from the head of a request and hang up before it has read the body. Then the answer and the
// failure of our write reach net/http at the same time, and it takes either. So a write that fails is reported as done:
// nothing can be written any more, and reading the connection decides. It gives the answer, if it has come, and otherwise
// the error or end of the same connection, at once. Linux keeps what was received before an RST; an answer that the
// receiver's own kernel threw away together with the connection cannot be had.
type overheard struct {
	net.Conn
	witness atomic.Pointer[witness] // of the attempt that the connection carries; nil before the first
	cut     atomic.Bool             // a write has failed
}

func overhear(conn net.Conn) *overheard { return &overheard{Conn: conn} }

// Read implements net.Conn.
func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.Conn.Read(p)
	if w := o.witness.Load(); w != nil {
		w.hear(p[:n], err != nil)
	}
	return n, err
}

// Write implements net.Conn. It reports no failure but that the connection was closed on this side.
func (o *overheard) Write(p []byte) (int, error) {
	if o.cut.Load() {
		return len(p), nil
	}
	n, err := o.Conn.Write(p)
	if err == nil || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	o.cut.Store(true)
	return len(p), nil
}

// layers returns the uppermost overheard connection, on which HTTP is spoken, and the vetted one below it. Either may be
// nil.
func layers(conn net.Conn) (top *overheard, base *vetted) {
	for {
		switch c := conn.(type) {
		case *overheard:
			if top == nil {
				top = c
			}
			conn = c.Conn
		case *tls.Conn:
			conn = c.NetConn()
		case *vetted:
			base, conn = c, c.Conn
		default:
			return top, base
		}
	}
}

// beginning is what the beginning of an answer says.
type beginning struct {
	status     int
	retryAfter string // the header's value; empty if it did not come
	whole      bool   // the headers came to their end
}

// beginningOf reads the beginning of an answer, which may break off anywhere and hold nonsense behind its status line. It is
// false when there is no whole status line. 1xx answers are passed over, except for 101, which is the last.
func beginningOf(head []byte) (b beginning, ok bool) {
	for {
		line, rest, ended := nextLine(head)
		if !ended {
			return beginning{}, false
		}
		status := io.MultiReader(bytes.NewReader(line), strings.NewReader("\r\n\r\n"))
		response, err := http.ReadResponse(bufio.NewReader(status), nil) //nolint:bodyclose // it has none
		if err != nil || !isStatus(response.StatusCode) {
			return beginning{}, false
		}
		b.status = response.StatusCode
		for b.whole = false; !b.whole; {
			if line, rest, ended = nextLine(rest); !ended {
				break
			}
			b.whole = len(line) == 0
			name, value, _ := bytes.Cut(line, []byte(":"))
			if b.retryAfter == "" && strings.EqualFold(string(name), "Retry-After") {
				b.retryAfter = string(bytes.TrimSpace(value))
			}
		}
		if b.status >= 200 || b.status == http.StatusSwitchingProtocols {
			return b, true
		}
		if !b.whole {
			return beginning{}, false
		}
		head, b = rest, beginning{}
	}
}

// isStatus tells whether a number can be a status (RFC 9110 §15); net/http takes "000" and "+20" for one.
func isStatus(status int) bool { return 100 <= status && status <= 999 }

// nextLine cuts the first line off; ended is false if it has no end.
func nextLine(text []byte) (line, rest []byte, ended bool) {
	line, rest, ended = bytes.Cut(text, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), rest, ended
}

// flaw says what was wrong with an answer behind its status line, of which heard bytes were read and, if ended, no more
// could be: err is why net/http could not read it. The words are ours, because those of err are the receiver's.
func (b beginning) flaw(heard int, ended bool, err error) string {
	switch {
	case ended && !b.whole:
		return "the connection broke off within its headers"
	case heard >= answerHeaders && !b.whole:
		return "its headers have more than 32 KiB"
	}
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return "one of its headers is malformed"
	}
	if b.whole {
		return "its Content-Length, Transfer-Encoding or Trailer is not valid"
	}
	return "its headers could not be read"
}
