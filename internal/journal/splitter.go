package journal

import (
	"bytes"
	"encoding/json"
	"io"
)

// Splitter cuts the frames out of one raw stream of a container's log and passes on what the program wrote, at once
// and byte for byte. Of the payload it holds back at most the beginning of a marker, 42 bytes.
//
// What stands behind the right marker was written by the init, so it never becomes payload: a frame that the log cut
// off, or that this version does not understand, is dropped, and proves nothing. Frames with another nonce are payload.
type Splitter struct {
	marker   []byte
	payload  io.Writer
	matched  int    // bytes of the marker that the input so far ends with
	framed   bool   // a whole marker was read, and the frame behind it is being collected
	frame    []byte // what of it has come
	start    *Start
	end      *End
	consumed int64
}

// NewSplitter makes a splitter for one stream. Write errors of payload are ignored: the proof of the end is worth more.
func NewSplitter(nonce string, payload io.Writer) *Splitter {
	return &Splitter{
		marker:  []byte(markerPrefix + nonce),
		payload: payload,
		frame:   make([]byte, 0, maxFrame),
	}
}

// Write takes the next bytes of the raw stream, in any chunks. It never fails and keeps nothing of p. All that
// follows the end frame is ignored.
func (s *Splitter) Write(p []byte) (int, error) {
	n := len(p)
	s.consumed += int64(n)
	for len(p) > 0 && s.end == nil {
		switch {
		case s.framed:
			p = s.collect(p)
		case s.matched > 0:
			p = s.match(p)
		default:
			p = s.scan(p)
		}
	}
	return n, nil
}

// Flush passes on what was held back, for a stream that ended without its proof. A beginning of a marker is payload
// then: it may be the program's own.
func (s *Splitter) Flush() {
	s.pass(s.marker[:s.matched])
	s.matched = 0
}

// Start returns the first start frame, nil as long as there was none.
func (s *Splitter) Start() *Start { return s.start }

// End returns the end frame, nil as long as there was none.
func (s *Splitter) End() *End { return s.end }

// Consumed is how many raw bytes were written to the splitter: the offset at which another reader of the same log has
// to go on.
func (s *Splitter) Consumed() int64 { return s.consumed }

// scan passes on payload up to a marker or to what may be the beginning of one, and returns what is behind it.
func (s *Splitter) scan(p []byte) []byte {
	if i := bytes.Index(p, s.marker); i >= 0 {
		s.pass(p[:i])
		s.framed = true
		return p[i+len(s.marker):]
	}
	rest := p[max(0, len(p)-len(s.marker)+1):]
	if i := bytes.LastIndexByte(rest, s.marker[0]); i >= 0 && bytes.HasPrefix(s.marker, rest[i:]) {
		s.matched = len(rest) - i
		p = p[:len(p)-s.matched]
	}
	s.pass(p)
	return nil
}

// match goes on with a marker that began in an earlier write.
func (s *Splitter) match(p []byte) []byte {
	n := 0
	for n < len(p) && s.matched < len(s.marker) && p[n] == s.marker[s.matched] {
		n++
		s.matched++
	}
	switch {
	case s.matched == len(s.marker):
		s.matched, s.framed = 0, true
	case n < len(p):
		s.pass(s.marker[:s.matched])
		s.matched = 0
	}
	return p[n:]
}

// collect gathers a frame up to its newline. Of a frame that is too long it keeps what no JSON reader will accept.
func (s *Splitter) collect(p []byte) []byte {
	text, rest, whole := bytes.Cut(p, []byte{'\n'})
	s.frame = append(s.frame, text[:min(len(text), maxFrame-len(s.frame))]...)
	if whole {
		s.read(s.frame)
		s.frame, s.framed = s.frame[:0], false
	}
	return rest
}

func (s *Splitter) read(frame []byte) {
	if len(frame) == 0 {
		return // a wrap
	}
	switch text := frame[1:]; frame[0] {
	case kindStart:
		var start Start
		if err := json.Unmarshal(text, &start); err == nil && s.start == nil {
			s.start = &start
		}
	case kindEnd:
		var end End
		if err := json.Unmarshal(text, &end); err == nil {
			s.end = &end
		}
	}
}

func (s *Splitter) pass(p []byte) {
	if len(p) > 0 {
		_, _ = s.payload.Write(p)
	}
}
