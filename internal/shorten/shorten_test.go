package shorten_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"boomerang/internal/shorten"
)

func TestMiddleKeepsBothEndsAndSaysHowMuchIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"short", 5, "short"},
		{strings.Repeat("a", 50) + strings.Repeat("z", 50), 56, strings.Repeat("a", 18) + " [… 74 bytes left out …] " +
			strings.Repeat("z", 8)},
		{strings.Repeat("a", 40), 1, " [… 40 bytes left out …] "},
	} {
		if got := shorten.Middle(c.text, c.limit); got != c.want {
			t.Errorf("Middle of %d bytes at %d: %q, want %q", len(c.text), c.limit, got, c.want)
		}
	}
}

func TestMiddleNeverCutsACharacterNorExceedsTheLimit(t *testing.T) {
	for _, letter := range []string{"x", "é", "…", "🙂"} {
		text := strings.Repeat(letter, 400)
		for limit := 40; limit < 200; limit++ {
			got := shorten.Middle(text, limit)
			if len(got) > limit || !utf8.ValidString(got) || !strings.Contains(got, "left out") {
				t.Errorf("%q at %d: %d bytes, %q", letter, limit, len(got), got)
			}
		}
	}
}
