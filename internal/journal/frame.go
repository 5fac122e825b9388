package journal

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// A frame is a marker, a letter for its kind, JSON, and a newline, because Docker's log copier hands on at newlines.
// A wrap frame is the marker and the newline alone. A frame stands wherever it was written, also behind a program's
// output that did not end its line.
const (
	nonceSize     = 16
	markerPrefix  = "\x1eboomerang" // the control byte occurs nowhere else in a marker: a marker cannot begin inside another
	kindStart     = 'S'
	kindEnd       = 'E'
	maxFrame      = 4096 // bytes of letter and JSON
	maxStartError = 512  // bytes; JSON makes at most six of one
)

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

// AppendEnd appends an end frame to dst. A StartError of more than 512 bytes is cut, so that every frame stays below
// 4 KiB.
func AppendEnd(dst []byte, nonce string, e End) []byte {
	if len(e.StartError) > maxStartError {
		e.StartError = strings.ToValidUTF8(e.StartError[:maxStartError], "")
	}
	return appendFrame(dst, nonce, kindEnd, e)
}

// AppendWrap appends a wrap frame to dst: a newline that is not the program's. Docker's log copier hands on at
// newlines or after 16 KiB, and its "local" log of Engine 20.10 loses the newline of a longer line; with wraps no
// line gets that long and unfinished lines are not held back.
func AppendWrap(dst []byte, nonce string) []byte {
	dst = append(dst, markerPrefix...)
	dst = append(dst, nonce...)
	return append(dst, '\n')
}

func appendFrame(dst []byte, nonce string, kind byte, frame any) []byte {
	text, err := json.Marshal(frame)
	if err != nil {
		// A struct of numbers, strings and times of this century always has a JSON form.
		panic(err)
	}
	dst = append(dst, markerPrefix...)
	dst = append(dst, nonce...)
	dst = append(dst, kind)
	dst = append(dst, text...)
	return append(dst, '\n')
}
