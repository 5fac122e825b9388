package callback

import (
	"bytes"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Body returns the JSON body of the callback of an execution that ended. The body is made once, stored, and sent byte
// for byte identical on every attempt. It holds at most inline bytes of each stream. Bytes that are not UTF-8 become
// U+FFFD.
func Body(e execution.Execution, z execution.Result, inline int) []byte {
	r, stdout, stderr := wire.ResultOf(e, z, inline)
	return withOutput(encodeJSON(r), stdout, stderr)
}

// withOutput inserts the program's output into a body without output. The output is most of the body, so it is written
// once, into its final place. Strings in a struct would hold four copies of the output at a time.
func withOutput(body []byte, stdout, stderr execution.Text) []byte {
	before, after, _ := bytes.Cut(body, []byte(`"stdout":"","stderr":""`)) // no client's text stands before this place
	size := len(body) + stdout.Len() + stderr.Len()
	whole := append(make([]byte, 0, size+size/16), before...)
	whole = appendText(append(whole, `"stdout":`...), stdout)
	whole = appendText(append(whole, `,"stderr":`...), stderr)
	return append(whole, after...)
}

// appendText appends t to dst as a JSON string, in pieces that end with a complete rune.
func appendText(dst []byte, t execution.Text) []byte {
	const piece = 16 << 10 // bytes
	var quoted bytes.Buffer
	encoder := wire.NewEncoder(&quoted)
	dst = append(dst, '"')
	for _, part := range t {
		for len(part) > 0 {
			next := part
			if len(next) > piece {
				next = execution.BeforePartialRune(next[:piece])
			}
			part = part[len(next):]
			quoted.Reset()
			_ = encoder.Encode(rawText(next)) // cannot fail
			dst = append(dst, quoted.Bytes()[1:quoted.Len()-len("\"\n")]...)
		}
	}
	return append(dst, '"')
}

// rawText encodes as a JSON string without a conversion to string.
type rawText []byte

// MarshalText implements encoding.TextMarshaler.
func (v rawText) MarshalText() ([]byte, error) { return v, nil }

func encodeJSON(body any) []byte {
	var text bytes.Buffer
	_ = wire.NewEncoder(&text).Encode(body) // cannot fail: every field is a string, a number, a bool or a time
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}
