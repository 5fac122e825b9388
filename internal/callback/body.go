package callback

import (
	"bytes"
	"encoding/json"
	"io"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Body makes the callback's JSON of an execution that ended. It is made once, stored, and sent byte for byte the same on
// every attempt. At most inline bytes of each stream are in it; bytes that are not UTF-8 become U+FFFD.
func Body(e execution.Execution, z execution.Result, inline int) []byte {
	r, stdout, stderr := wire.ResultOf(e, z, inline)
	return withPrinted(encode(r), stdout, stderr)
}

// withPrinted writes what was printed into a body without. It is most of the body, so it is written once, where it stays: as
// strings in a struct there would be four of it at a time.
func withPrinted(body []byte, stdout, stderr execution.Text) []byte {
	before, after, _ := bytes.Cut(body, []byte(`"stdout":"","stderr":""`)) // no text of others stands before it
	size := len(body) + stdout.Len() + stderr.Len()
	whole := append(make([]byte, 0, size+size/16), before...)
	whole = appendText(append(whole, `"stdout":`...), stdout)
	whole = appendText(append(whole, `,"stderr":`...), stderr)
	return append(whole, after...)
}

// appendText appends t to dst as a JSON string, in pieces that end with a rune.
func appendText(dst []byte, t execution.Text) []byte {
	const piece = 16 << 10 // bytes
	var quoted bytes.Buffer
	encoder := newEncoder(&quoted)
	dst = append(dst, '"')
	for _, part := range t {
		for len(part) > 0 {
			next := part
			if len(next) > piece {
				next = execution.BeforePartialRune(next[:piece])
			}
			part = part[len(next):]
			quoted.Reset()
			_ = encoder.Encode(verbatim(next)) // cannot fail
			dst = append(dst, quoted.Bytes()[1:quoted.Len()-len("\"\n")]...)
		}
	}
	return append(dst, '"')
}

// verbatim is text of which nobody has made a string.
type verbatim []byte

// MarshalText implements encoding.TextMarshaler.
func (v verbatim) MarshalText() ([]byte, error) { return v, nil }

func encode(body any) []byte {
	var text bytes.Buffer
	_ = newEncoder(&text).Encode(body) // cannot fail: every field is a string, a number, a bool or a time of our own
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// newEncoder leaves "<", ">" and "&" as they are: a program's output is not HTML.
func newEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}
