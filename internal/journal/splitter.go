package journal

import (
	"bytes"
	"encoding/json"
	"io"
)

// Splitter reads one raw stream of a container's log: it passes on what the program wrote, byte for byte and as soon as
// it is there, and reads the frames.
//
// A frame that the log cut off, that bears another nonce, or that this version does not understand is dropped, and
// proves nothing.
type Splitter struct {
	marker   []byte // of a frame, behind its escape
	payload  io.Writer
	files    FileSink // nil: they are passed over
	inFile   bool     // what is read is the content of a file
	left     int64    // bytes of it that are yet to come; negative when more came than was announced
	astray   bool     // what is read belongs to nobody
	state    state
	matched  int    // bytes of the marker that were read
	frame    []byte // what has come of the frame behind a whole marker
	plain    []byte // payload of one write, before it is passed on
	start    *Start
	end      *End
	consumed int64
}

// state is where in the log a splitter stands.
type state int

const (
	inPiece  state = iota // the program's bytes
	escaped               // behind an escape
	inMarker              // in what must become the marker of a frame
	inFrame               // behind a marker
	inScrap               // in what nobody understands; it ends at the newline
)

// NewSplitter makes a splitter for one stream. Write errors of payload are ignored: the proof of the end is worth more.
func NewSplitter(nonce string, payload io.Writer) *Splitter {
	return &Splitter{
		marker:  []byte(markerPrefix + nonce)[1:],
		payload: payload,
		frame:   make([]byte, 0, maxFrame),
	}
}

// NewFilesSplitter makes a splitter for a stream that holds files as well. Calls of files come within those of Write.
func NewFilesSplitter(nonce string, payload io.Writer, files FileSink) *Splitter {
	s := NewSplitter(nonce, payload)
	s.files = files
	return s
}

// Write takes the next bytes of the raw stream, in any chunks. It never fails and keeps nothing of p. All that
// follows the end frame is ignored.
func (s *Splitter) Write(p []byte) (int, error) {
	n := len(p)
	s.consumed += int64(n)
	s.plain = s.plain[:0]
	for len(p) > 0 && s.end == nil {
		switch s.state {
		case inPiece:
			p = s.unpack(p)
		case escaped:
			p = s.unescape(p)
		case inMarker:
			p = s.match(p)
		case inFrame:
			p = s.collect(p)
		case inScrap:
			p = s.skip(p)
		}
	}
	s.passOn()
	return n, nil
}

// passOn hands what is unpacked to whom it belongs.
func (s *Splitter) passOn() {
	switch {
	case len(s.plain) == 0:
		return
	case s.astray:
	case !s.inFile:
		_, _ = s.payload.Write(s.plain)
	default:
		s.left -= int64(len(s.plain))
		if s.files != nil {
			_, _ = s.files.Write(s.plain)
		}
	}
	s.plain = s.plain[:0]
}

// Start returns the first start frame, nil as long as there was none.
func (s *Splitter) Start() *Start { return s.start }

// End returns the end frame, nil as long as there was none.
func (s *Splitter) End() *End { return s.end }

// Consumed is how many raw bytes were written to the splitter: the offset at which another reader of the same log has
// to go on.
func (s *Splitter) Consumed() int64 { return s.consumed }

// unpack takes payload up to an escape. The newlines in it end pieces and are not the program's.
func (s *Splitter) unpack(p []byte) []byte {
	piece, rest, found := bytes.Cut(p, []byte{escape})
	for line := range bytes.SplitSeq(piece, []byte{'\n'}) {
		s.plain = append(s.plain, line...)
	}
	if found {
		s.state = escaped
	}
	return rest
}

// unescape looks at the byte behind an escape.
func (s *Splitter) unescape(p []byte) []byte {
	s.state = inPiece
	switch p[0] {
	case escapedNewline:
		s.plain = append(s.plain, '\n')
	case escapedEscape:
		s.plain = append(s.plain, escape)
	default:
		s.state, s.matched = inMarker, 0
		return p
	}
	return p[1:]
}

// match goes on with a marker, maybe one that began in an earlier write.
func (s *Splitter) match(p []byte) []byte {
	n := 0
	for n < len(p) && s.matched < len(s.marker) && p[n] == s.marker[s.matched] {
		n++
		s.matched++
	}
	switch {
	case s.matched == len(s.marker):
		s.state, s.frame = inFrame, s.frame[:0]
	case n < len(p):
		s.state = inScrap
	}
	return p[n:]
}

// collect gathers a frame up to its newline. Of a frame that is too long it keeps what no JSON reader will accept.
func (s *Splitter) collect(p []byte) []byte {
	text, rest, whole := bytes.Cut(p, []byte{'\n'})
	s.frame = append(s.frame, text[:min(len(text), maxFrame-len(s.frame))]...)
	if whole {
		s.read(s.frame)
		s.state = inPiece
	}
	return rest
}

// skip passes over what nobody understands.
func (s *Splitter) skip(p []byte) []byte {
	_, rest, found := bytes.Cut(p, []byte{'\n'})
	if found {
		s.state = inPiece
	}
	return rest
}

func (s *Splitter) read(frame []byte) {
	if len(frame) == 0 {
		return
	}
	s.passOn()
	switch text := frame[1:]; frame[0] {
	case kindStart:
		var start Start
		if err := json.Unmarshal(text, &start); err == nil && s.start == nil {
			s.start = &start
		}
	case kindEnd:
		var end End
		if err := json.Unmarshal(text, &end); err == nil {
			s.endFile()
			s.end = &end
		}
	case kindFile:
		s.readCollected(text)
	case kindPresent:
		s.readPresent(text)
	case kindOmitted:
		s.readOmitted(text)
	case kindCollection:
		s.readCollection(text)
	}
}
