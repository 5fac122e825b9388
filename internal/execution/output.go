package execution

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Output is the kept part of one stream: its head, its tail, and the number of bytes written.
type Output struct {
	Head  []byte
	Tail  []byte // empty unless bytes between head and tail were left out
	Bytes int64  // bytes that the program wrote, kept or not
}

// LeftOut returns the number of bytes written that were not kept.
func (o Output) LeftOut() int64 { return o.Bytes - int64(len(o.Head)) - int64(len(o.Tail)) }

// Kept returns the kept bytes: the head, a line with the number of missing bytes if any are missing, and the tail. The
// caller must not write to the slice, because a complete head is returned without a copy.
func (o Output) Kept() []byte {
	if o.LeftOut() <= 0 {
		return append(slices.Clip(o.Head), o.Tail...)
	}
	return bytes.Join(join(o.Head, o.LeftOut(), o.Tail), nil)
}

// Text is a text in parts. No rune reaches from one part into the next.
type Text [][]byte

// String joins the parts.
func (t Text) String() string {
	var whole strings.Builder
	whole.Grow(t.Len())
	for _, part := range t {
		_, _ = whole.Write(part) // never fails
	}
	return whole.String()
}

// Len returns the length in bytes.
func (t Text) Len() (n int) {
	for _, part := range t {
		n += len(part)
	}
	return n
}

// Inline renders at most limit bytes of the output for a message: fifteen sixteenths from the head and one sixteenth
// from the tail, with a line between them that counts the missing bytes. The result cut reports whether bytes are
// missing. No rune is cut in two. Bytes that are not UTF-8 stay in the text; the encoder of the message replaces them.
func (o Output) Inline(limit int) (text Text, cut bool) {
	if o.LeftOut() <= 0 && len(o.Head)+len(o.Tail) <= limit {
		return Text{o.Kept()}, false
	}
	head, tail := o.Head, o.Tail
	if o.LeftOut() <= 0 {
		head = o.Kept()
		tail = head
	}
	tail = AfterPartialRune(tail[len(tail)-min(len(tail), limit/16):])
	head = BeforePartialRune(head[:min(len(head), limit-len(tail))])
	return join(head, o.Bytes-int64(len(head))-int64(len(tail)), tail), true
}

// join puts a line that counts the missing bytes between head and tail.
func join(head []byte, missing int64, tail []byte) Text {
	line := fmt.Sprintf("[... %d bytes left out ...]\n", missing)
	if len(head) > 0 && head[len(head)-1] != '\n' {
		line = "\n" + line
	}
	return Text{head, []byte(line), tail}
}

// BeforePartialRune returns b without an incomplete rune at its end, which has at most 3 bytes.
func BeforePartialRune(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		last := b[len(b)-i:]
		if utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return b
			}
			return b[:len(b)-i]
		}
	}
	return b
}

// AfterPartialRune returns b without an incomplete rune at its start, which has at most 3 bytes.
func AfterPartialRune(b []byte) []byte {
	for i := range min(utf8.UTFMax, len(b)) {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	if len(b) < utf8.UTFMax {
		return nil
	}
	return b // not UTF-8 at all
}
