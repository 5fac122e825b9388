package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
)

// Docker's log copier hands on whole lines and makes an entry of each. So the log has newlines only where the init
// wants them: at the end of a piece of payload and at the end of a frame. Newlines and escapes in the output of the
// program are escaped.
//
// A frame is a marker, a letter for its kind, JSON, and a newline. No payload can contain a marker, because an escape
// in the payload is always followed by one of two other letters.
const (
	escape         = '\x1e'
	escapedNewline = 'n'
	escapedEscape  = 'e'
	special        = "\n\x1e" // bytes that are escaped

	nonceSize      = 16
	markerPrefix   = "\x1eboomerang"
	kindStart      = 'S'
	kindEnd        = 'E'
	kindFile       = 'F' // the content of the file follows, packed as payload, up to the next frame
	kindOmitted    = 'O'
	kindCollection = 'C'
	kindPresent    = 'P'
	maxFrame       = 4096 // bytes of letter and JSON
	maxStartError  = 512  // bytes; JSON needs at most six for each
)

// MaxPiece is the maximum number of payload bytes on one line of the log. Escaped they stay below the 16 KiB after
// which Docker's log copier breaks a line.
const MaxPiece = 8000

// NewNonce returns 32 random hexadecimal digits.
func NewNonce() string {
	var b [nonceSize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program rather than return an error
	return hex.EncodeToString(b[:])
}

// AppendStart appends a start frame to dst.
func AppendStart(dst []byte, nonce string, s Start) []byte {
	return appendFrame(dst, nonce, kindStart, s)
}

// AppendEnd appends an end frame to dst. It cuts a StartError after 512 bytes, so that every frame stays below 4 KiB.
func AppendEnd(dst []byte, nonce string, e End) []byte {
	if len(e.StartError) > maxStartError {
		e.StartError = strings.ToValidUTF8(e.StartError[:maxStartError], "")
	}
	return appendFrame(dst, nonce, kindEnd, e)
}

// AppendPayload appends p to dst, in pieces of at most MaxPiece bytes. An empty p appends nothing.
func AppendPayload(dst, p []byte) []byte {
	for piece := range slices.Chunk(p, MaxPiece) {
		for len(piece) > 0 {
			n := bytes.IndexAny(piece, special)
			if n < 0 {
				dst = append(dst, piece...)
				break
			}
			dst = append(dst, piece[:n]...)
			if piece[n] == '\n' {
				dst = append(dst, escape, escapedNewline)
			} else {
				dst = append(dst, escape, escapedEscape)
			}
			piece = piece[n+1:]
		}
		dst = append(dst, '\n')
	}
	return dst
}

func appendFrame(dst []byte, nonce string, kind byte, frame any) []byte {
	text, err := json.Marshal(frame)
	if err != nil {
		// A struct of numbers, strings and times of this century always has a JSON form.
		panic(err)
	}
	dst = append(appendMarker(dst, nonce, kind), text...)
	return append(dst, '\n')
}

func appendMarker(dst []byte, nonce string, kind byte) []byte {
	dst = append(dst, markerPrefix...)
	dst = append(dst, nonce...)
	return append(dst, kind)
}
