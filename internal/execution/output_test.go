package execution_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"boomerang/internal/execution"
)

func TestKeptIsExactWhenNothingIsLeftOut(t *testing.T) {
	o := execution.Output{Head: []byte("a\x00\xff"), Tail: []byte("b"), Bytes: 4}
	if got, want := string(o.Kept()), "a\x00\xffb"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}

func TestKeptSaysHowMuchIsMissing(t *testing.T) {
	o := execution.Output{Head: []byte("head"), Tail: []byte("tail\n"), Bytes: 1009}
	if got, want := string(o.Kept()), "head\n[... 1000 bytes left out ...]\ntail\n"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}

func TestInline(t *testing.T) {
	long := strings.Repeat("x", 1000) + strings.Repeat("y", 1000)
	for _, c := range []struct {
		name   string
		output execution.Output
		limit  int
		text   string
		cut    bool
	}{
		{"nothing was written", execution.Output{}, 32, "", false},
		{"it fits", execution.Output{Head: []byte("hi\n"), Bytes: 3}, 32, "hi\n", false},
		{
			"it fits exactly",
			execution.Output{Head: bytes.Repeat([]byte("x"), 32), Bytes: 32},
			32,
			strings.Repeat("x", 32), false,
		},
		{
			"complete but too long",
			execution.Output{Head: []byte(long), Bytes: 2000},
			160,
			strings.Repeat("x", 150) + "\n[... 1840 bytes left out ...]\n" + strings.Repeat("y", 10), true,
		},
		{
			"with a tail that fits",
			execution.Output{Head: []byte("head\n"), Tail: []byte("tail"), Bytes: 1009},
			160,
			"head\n[... 1000 bytes left out ...]\ntail", true,
		},
		{
			"with a tail that is too long",
			execution.Output{Head: bytes.Repeat([]byte("h"), 160), Tail: bytes.Repeat([]byte("t"), 160), Bytes: 1320},
			160,
			strings.Repeat("h", 150) + "\n[... 1160 bytes left out ...]\n" + strings.Repeat("t", 10), true,
		},
		{
			"complete in two parts",
			execution.Output{Head: bytes.Repeat([]byte("h"), 160), Tail: bytes.Repeat([]byte("t"), 5), Bytes: 165},
			160,
			strings.Repeat("h", 150) + "\n[... 5 bytes left out ...]\n" + strings.Repeat("h", 5) + strings.Repeat("t",
				5), true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, cut := c.output.Inline(c.limit)
			if text.String() != c.text || cut != c.cut {
				t.Errorf("got %q, %t; want %q, %t", text, cut, c.text, c.cut)
			}
		})
	}
}

func FuzzInlineCountsEveryByteAndCutsNoRune(f *testing.F) {
	f.Add("grüße, 世界", "🎈🎈", int64(0), 16)
	f.Add(strings.Repeat("é", 100), strings.Repeat("世", 100), int64(1<<40), 48)
	f.Add("", "\x80\x80", int64(3), 1)
	f.Fuzz(func(t *testing.T, head, tail string, gap int64, limit int) {
		if gap < 0 || gap > 1<<50 || limit < 0 || limit > 1<<20 || gap == 0 && tail != "" {
			t.Skip()
		}
		o := execution.Output{Head: []byte(head), Tail: []byte(tail), Bytes: int64(len(head)+len(tail)) + gap}
		parts, cut := o.Inline(limit)
		text := []byte(parts.String())
		if !cut {
			if string(text) != head+tail {
				t.Fatalf("not cut, but %q is not %q", text, head+tail)
			}
			return
		}
		before, after, ok := bytes.Cut(text, []byte("[... "))
		number, rest, ok2 := bytes.Cut(after, []byte(" bytes left out ...]\n"))
		if strings.Contains(head+tail, "[... ") {
			t.Skip() // the program itself may write such a line
		}
		if !ok || !ok2 {
			t.Fatalf("cut without saying so: %q", text)
		}
		missing, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		shown := len(before) + len(rest)
		if int64(shown)+missing == o.Bytes+1 && bytes.HasSuffix(before, []byte("\n")) {
			shown-- // the line began on a new line
		}
		if int64(shown)+missing != o.Bytes {
			t.Errorf("%d shown and %d missing are not %d", shown, missing, o.Bytes)
		}
		if shown > limit {
			t.Errorf("%d bytes shown, limit %d", shown, limit)
		}
		if parts.Len() != int64(len(text)) {
			t.Errorf("it is said to be %d bytes, and is %d", parts.Len(), len(text))
		}
		if utf8.ValidString(head) && utf8.ValidString(tail) && !utf8.Valid(text) {
			t.Errorf("a rune was cut: %q", text)
		}
	})
}
