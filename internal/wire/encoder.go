package wire

import (
	"encoding/json"
	"io"
)

// NewEncoder returns a JSON encoder that leaves "<", ">" and "&" as they are: a program's output is not HTML.
func NewEncoder(w io.Writer) *json.Encoder {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder
}
