package execution

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Output is what is kept of one stream: its head, its tail, and the count of all that was written.
type Output struct {
	Head  []byte
	Tail  []byte // empty unless bytes between head and tail were left out
	Bytes int64  // what the program wrote in all, kept or not
}

// LeftOut is how many bytes the program wrote that were not kept.
func (o Output) LeftOut() int64 { return o.Bytes - int64(len(o.Head)) - int64(len(o.Tail)) }

// Kept renders what is kept, byte for byte: the head, a line that says how many bytes are missing if any are, and
// the tail. The caller must not write to it: a head that is all there is comes as it is.
func (o Output) Kept() []byte {
	if o.LeftOut() <= 0 {
		return append(slices.Clip(o.Head), o.Tail...)
	}
	return bytes.Join(join(o.Head, o.LeftOut(), o.Tail), nil)
}

// Text is text in parts, none of which ends in the middle of a rune that the next one goes on with.
type Text [][]byte

// String puts the parts together.
func (t Text) String() string {
	var whole strings.Builder
	whole.Grow(t.Len())
	for _, part := range t {
		_, _ = whole.Write(part) // never fails
	}
	return whole.String()
}

// Len is how many bytes it is.
func (t Text) Len() (n int) {
	for _, part := range t {
		n += len(part)
	}
	return n
}

// Inline renders at most limit bytes of what is kept for a message, cut in the middle: fifteen parts head, one part
// tail, and between them a line that says how much was left out. Cut tells whether anything was.
// No rune is cut in two; bytes that are not UTF-8 stay as they are, the encoder of the message replaces them.
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

// join puts the line that counts the missing bytes on a line of its own.
func join(head []byte, missing int64, tail []byte) Text {
	line := fmt.Sprintf("[... %d bytes left out ...]\n", missing)
	if len(head) > 0 && head[len(head)-1] != '\n' {
		line = "\n" + line
	}
	return Text{head, []byte(line), tail}
}

// BeforePartialRune returns b without the bytes of a rune that it ends in the middle of, at most 3.
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

// AfterPartialRune returns b without the bytes of a rune that it begins in the middle of, at most 3.
func AfterPartialRune(b []byte) []byte {
	for i := range min(utf8.UTFMax, len(b)) {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	if len(b) < utf8.UTFMax {
		return nil
	}
	return b // no UTF-8 at all
}
