package hopx

import (
	"testing"

	"boomerang/internal/fault"
)

func TestAFrameIsCalledAFrame(t *testing.T) {
	for frame, want := range map[string]string{
		"":            "The frame is empty; it must be one JSON object.",
		"\ufeff{}":    "The frame begins with a byte order mark (the bytes EF BB BF); send the JSON without it.",
		`{"type":"x}`: "The frame is not JSON at line 1, column 9: the text ends inside the string that begins here.",
	} {
		if _, err := decodeFrame([]byte(frame)); fault.Of(err).Sentence != want {
			t.Errorf("%q: got %v; want %s", frame, err, want)
		}
	}
}
