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
	stdout, _ := z.Stdout.Inline(inline)
	stderr, _ := z.Stderr.Inline(inline)
	var body bytes.Buffer
	size := stdout.Len() + stderr.Len()
	body.Grow(int(size+size/16) + 1<<10)                                          // once, unless many bytes need an escape
	_ = wire.EncodeWithOutput(&body, wire.ResultOf(e, z, inline), stdout, stderr) // cannot fail: all is in memory
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

func encodeJSON(body any) []byte {
	var text bytes.Buffer
	_ = wire.NewEncoder(&text).Encode(body) // cannot fail: every field is a string, a number, a bool or a time
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}
