package server

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"

	"boomerang/internal/fault"
	"boomerang/internal/wire"
)

// heldAnswer is the length of an answer in bytes up to which it is complete before its first byte is sent, so that an
// error can still be answered.
const heldAnswer = 32 << 10

// Respond sends v as JSON. It encodes v completely before the first byte, so that its error can still be answered.
func Respond(w http.ResponseWriter, status int, v any) error {
	return RespondWith(w, status, v, func(w io.Writer, text []byte) error {
		_, err := w.Write(text)
		return err
	})
}

// RespondWith sends the JSON that write makes of the JSON of v, in small pieces if it is long.
func RespondWith(w http.ResponseWriter, status int, v any, write func(w io.Writer, text []byte) error) error {
	var text bytes.Buffer
	if err := wire.NewEncoder(&text).Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	release, err := chargeAnswer(w, text.Len())
	if err != nil {
		return err
	}
	defer release()
	return Stream(w, status, func(w io.Writer) error { return write(w, text.Bytes()) })
}

// Stream sends the JSON that write writes. A short answer has a Content-Length. A long one is sent while it is written:
// it takes no memory, and an error of write cuts it off, so that no client takes it for complete.
func Stream(w http.ResponseWriter, status int, write func(io.Writer) error) error {
	s := &answerStream{w: w, status: status}
	w.Header().Set("Content-Type", "application/json")
	err := write(s)
	switch {
	case s.broken: // the client has gone
		return nil
	case err == nil:
		s.end()
		return nil
	case !s.begun:
		return err
	}
	if x, ok := w.(*exchange); ok {
		x.fault = fault.Of(err)
	}
	panic(http.ErrAbortHandler)
}

// answerStream holds the beginning of an answer back.
type answerStream struct {
	w      http.ResponseWriter
	status int
	held   []byte
	begun  bool // the status was sent
	broken bool // the client takes nothing
}

// Write implements io.Writer.
func (s *answerStream) Write(p []byte) (int, error) {
	if !s.begun && len(s.held)+len(p) <= heldAnswer {
		s.held = append(s.held, p...)
		return len(p), nil
	}
	if !s.begun {
		s.begun = true
		s.w.WriteHeader(s.status)
		if _, err := s.w.Write(s.held); err != nil {
			s.broken = true
			return 0, err
		}
		s.held = nil
	}
	n, err := s.w.Write(p)
	s.broken = err != nil
	return n, err
}

// end sends an answer that was held back.
func (s *answerStream) end() {
	if s.begun {
		return
	}
	s.w.Header().Set("Content-Length", strconv.Itoa(len(s.held)))
	s.w.WriteHeader(s.status)
	_, _ = s.w.Write(s.held) // an error means that the client has gone
}

// List is an answer that is an object with a list. Its entries are read and sent a few at a time.
type List[T any] struct {
	Before any    // an object with the fields before the list; nil if there are none
	Name   string // of the list
	Pages  iter.Seq2[[]T, error]
	Encode func(w io.Writer, entry T) error // writes the JSON of an entry
	After  func() any                       // returns an object with the fields after the list
}

// pageSize is the number of entries of a list that are in memory at a time.
const pageSize = 20

// Pages reads up to limit entries of a list. The function read returns the next ones, at most limit, and fewer only at
// the end.
func Pages[T any](limit int, read func(limit int) ([]T, error)) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for left := limit; left > 0; {
			size := min(left, pageSize)
			page, err := read(size)
			if !yield(page, err) || err != nil || len(page) < size {
				return
			}
			left -= size
		}
	}
}

// RespondList sends a list. Errors are those of the pages before the first byte is sent; later ones break the answer
// off.
func RespondList[T any](w http.ResponseWriter, l List[T]) error {
	return Stream(w, http.StatusOK, func(w io.Writer) error {
		before := []byte("{")
		if l.Before != nil {
			fields, err := encoded(l.Before)
			if err != nil {
				return err
			}
			before = append(bytes.TrimSuffix(fields, []byte("}")), ',')
		}
		if _, err := fmt.Fprintf(w, "%s%q:[", before, l.Name); err != nil {
			return err
		}
		comma := ""
		for page, err := range l.Pages {
			if err != nil {
				return err
			}
			for _, entry := range page {
				if _, err := io.WriteString(w, comma); err != nil {
					return err
				}
				comma = ","
				if err := l.Encode(trimmed{w}, entry); err != nil {
					return err
				}
			}
		}
		after, err := encoded(l.After())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "],%s\n", after[len("{"):])
		return err
	})
}

// encoded returns the JSON of v without the newline behind it.
func encoded(v any) ([]byte, error) {
	var text bytes.Buffer
	err := wire.NewEncoder(&text).Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// trimmed leaves the newline out that an encoder writes behind a value.
type trimmed struct{ w io.Writer }

// Write implements io.Writer.
func (t trimmed) Write(p []byte) (int, error) {
	if n, err := t.w.Write(bytes.TrimSuffix(p, []byte("\n"))); err != nil {
		return n, err
	}
	return len(p), nil
}

// chargeAnswer counts an answer that waits in memory for its client.
func chargeAnswer(http.ResponseWriter, int) (release func(), err error) { return func() {}, nil }
