package journal

import (
	"bytes"
	"encoding/json"
	"io"
)

// Splitter reads one raw stream of a container's log. It passes on the output of the program, byte for byte and at
// once, and reads the frames.
//
// A frame that is cut off, has another nonce or cannot be parsed is dropped and proves nothing.
type Splitter struct {
	marker    []byte // of a frame, after its escape
	payload   io.Writer
	files     FileSink // nil skips the files
	inFile    bool     // the content of a file is being read
	remaining int64    // bytes of this file still to come; negative if more came than announced
	unnamed   bool     // the content of a file without a readable frame is being read and dropped
	state     state
	matched   int    // bytes of the marker read so far
	frame     []byte // bytes of the frame after a complete marker
	plain     []byte // payload of one write that is not passed on yet
	start     *Start
	end       *End
	consumed  int64
}

// state is the position of a splitter in the log.
type state int

const (
	inPiece   state = iota // in payload
	escaped                // after an escape
	inMarker               // in the expected marker of a frame
	inFrame                // after a marker
	inUnknown              // in unknown bytes, which end at a newline
)

// NewSplitter makes a splitter for one stream. It ignores write errors of payload, because the proof of the end matters
// more.
func NewSplitter(nonce string, payload io.Writer) *Splitter {
	return &Splitter{
		marker:  []byte(markerPrefix + nonce)[1:],
		payload: payload,
		frame:   make([]byte, 0, maxFrame),
	}
}

// NewFilesSplitter makes a splitter for a stream that contains files, too. It calls files only within Write.
func NewFilesSplitter(nonce string, payload io.Writer, files FileSink) *Splitter {
	s := NewSplitter(nonce, payload)
	s.files = files
	return s
}

// Write processes the next bytes of the raw stream, in chunks of any size. It never fails and does not keep p. It
// ignores all bytes after the end frame.
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
			p = s.matchMarker(p)
		case inFrame:
			p = s.gatherFrame(p)
		case inUnknown:
			p = s.skipUnknown(p)
		}
	}
	s.flush()
	return n, nil
}

// flush passes the unpacked bytes on to the payload or to the file sink.
func (s *Splitter) flush() {
	switch {
	case len(s.plain) == 0:
		return
	case s.unnamed:
	case !s.inFile:
		_, _ = s.payload.Write(s.plain)
	default:
		s.remaining -= int64(len(s.plain))
		if s.files != nil {
			_, _ = s.files.Write(s.plain)
		}
	}
	s.plain = s.plain[:0]
}

// Start returns the first start frame, or nil if there was none yet.
func (s *Splitter) Start() *Start { return s.start }

// End returns the end frame, or nil if there was none yet.
func (s *Splitter) End() *End { return s.end }

// Consumed returns the number of raw bytes written to the splitter: the offset at which another reader of the log must
// continue.
func (s *Splitter) Consumed() int64 { return s.consumed }

// unpack reads payload up to an escape. Newlines in it end pieces and are not output of the program.
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

// unescape reads the byte after an escape.
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

// matchMarker continues with a marker, which may have begun in an earlier write.
func (s *Splitter) matchMarker(p []byte) []byte {
	n := 0
	for n < len(p) && s.matched < len(s.marker) && p[n] == s.marker[s.matched] {
		n++
		s.matched++
	}
	switch {
	case s.matched == len(s.marker):
		s.state, s.frame = inFrame, s.frame[:0]
	case n < len(p):
		s.state = inUnknown
	}
	return p[n:]
}

// gatherFrame reads a frame up to its newline. It keeps only the start of a frame that is too long, which is not valid
// JSON.
func (s *Splitter) gatherFrame(p []byte) []byte {
	text, rest, whole := bytes.Cut(p, []byte{'\n'})
	s.frame = append(s.frame, text[:min(len(text), maxFrame-len(s.frame))]...)
	if whole {
		s.readFrame(s.frame)
		s.state = inPiece
	}
	return rest
}

// skipUnknown skips unknown bytes up to a newline.
func (s *Splitter) skipUnknown(p []byte) []byte {
	_, rest, found := bytes.Cut(p, []byte{'\n'})
	if found {
		s.state = inPiece
	}
	return rest
}

func (s *Splitter) readFrame(frame []byte) {
	if len(frame) == 0 {
		return
	}
	s.flush()
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
