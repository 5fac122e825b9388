package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"boomerang/internal/execution"
)

// NewEncoder returns a JSON encoder that leaves "<", ">" and "&" as they are: a program's output is not HTML.
func NewEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}

// noOutput is the output in the JSON of a Result with empty texts. The texts of clients do not contain it: JSON escapes
// the quotes in a string, and writes the key "stderr" of a map before "stdout".
var noOutput = []byte(`"stdout":"","stderr":""`)

// EncodeWithOutput writes the JSON of v with the output as InsertOutput does.
func EncodeWithOutput(w io.Writer, v any, stdout, stderr execution.Text) error {
	var text bytes.Buffer
	if err := NewEncoder(&text).Encode(v); err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return InsertOutput(w, text.Bytes(), stdout, stderr)
}

// InsertOutput writes the JSON of a value that contains a Result with empty texts, with these texts in their place. The
// texts are most of the JSON, so they are written in pieces, and the whole is never in memory. Errors are those of w
// and of the texts.
func InsertOutput(w io.Writer, text []byte, stdout, stderr execution.Text) error {
	before, after, _ := bytes.Cut(text, noOutput)
	if _, err := w.Write(before); err != nil || len(after) == 0 { // a record without a result
		return err
	}
	for _, stream := range []struct {
		key  string
		text execution.Text
	}{{`"stdout":`, stdout}, {`,"stderr":`, stderr}} {
		if _, err := io.WriteString(w, stream.key); err != nil {
			return err
		}
		if err := EncodeText(w, stream.text); err != nil {
			return err
		}
	}
	_, err := w.Write(after)
	return err
}

// maxPiece is the number of bytes that EncodeText encodes at a time. Their JSON has up to six times as many.
const maxPiece = 4 << 10

// EncodeText writes t as a JSON string. Bytes that are not UTF-8 become U+FFFD. Errors are those of w and of t.
func EncodeText(w io.Writer, t execution.Text) error {
	if _, err := w.Write([]byte{'"'}); err != nil {
		return err
	}
	var quoted bytes.Buffer
	encoder := NewEncoder(&quoted)
	if err := t.Pieces(maxPiece, func(piece []byte) error {
		quoted.Reset()
		if err := encoder.Encode(rawText(piece)); err != nil {
			return fmt.Errorf("encode text: %w", err)
		}
		_, err := w.Write(quoted.Bytes()[1 : quoted.Len()-len("\"\n")])
		return err
	}); err != nil {
		return err
	}
	_, err := w.Write([]byte{'"'})
	return err
}

// rawText encodes as a JSON string without a conversion to string.
type rawText []byte

// MarshalText implements encoding.TextMarshaler.
func (v rawText) MarshalText() ([]byte, error) { return v, nil }
