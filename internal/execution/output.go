package execution

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Output is the kept part of one stream: its head, its tail, and the number of bytes written.
type Output struct {
	Head   []byte
	Tail   []byte // empty unless bytes between head and tail were left out
	Bytes  int64  // bytes that the program wrote, kept or not
	Stored Sizes  // kept bytes that lie in the store, because a record has no output
}

// Sizes are the lengths of the kept parts of a stream in bytes.
type Sizes struct{ Head, Tail int64 }

// LeftOut returns the number of bytes written that were not kept.
func (o Output) LeftOut() int64 { return o.Bytes - o.kept() }

// Shortened reports whether Inline leaves out bytes.
func (o Output) Shortened(limit int) bool { return o.LeftOut() > 0 || o.kept() > int64(limit) }

func (o Output) kept() int64 {
	return int64(len(o.Head)) + int64(len(o.Tail)) + o.Stored.Head + o.Stored.Tail
}

// Printed returns a reader of the bytes in memory.
func (o Output) Printed() Printed {
	head, tail := bytes.NewReader(o.Head), bytes.NewReader(o.Tail)
	return Printed{
		ReaderAt: Text{io.NewSectionReader(head, 0, head.Size()), io.NewSectionReader(tail, 0, tail.Size())},
		Sizes:    Sizes{head.Size(), tail.Size()}, Bytes: o.Bytes,
	}
}

// Kept returns the kept bytes as Printed.Kept does. The caller must not write to the slice, because a complete head is
// returned without a copy.
func (o Output) Kept() []byte {
	if o.LeftOut() <= 0 {
		return append(slices.Clip(o.Head), o.Tail...)
	}
	text, _ := o.Printed().Kept() // memory can be read
	return []byte(text.String())
}

// Inline renders the output in memory as Printed.Inline does.
func (o Output) Inline(limit int) (text Text, cut bool) {
	text, cut, _ = o.Printed().Inline(limit) // memory can be read
	return text, cut
}

// Printed reads the kept part of one stream, wherever it lies: the head, and behind it the tail.
type Printed struct {
	io.ReaderAt
	Sizes
	Bytes int64 // bytes that the program wrote, kept or not
}

// LeftOut returns the number of bytes written that were not kept.
func (p Printed) LeftOut() int64 { return p.Bytes - p.Head - p.Tail }

// Kept returns the kept bytes: the head, a line with the number of missing bytes if any are missing, and the tail.
// Errors are those of the reader.
func (p Printed) Kept() (Text, error) {
	kept := p.Head + p.Tail
	if p.LeftOut() <= 0 {
		return Text{io.NewSectionReader(p, 0, kept)}, nil
	}
	return p.join(p.Head, p.LeftOut(), p.Head)
}

// Text is a text in parts, which are read when they are needed. No rune reaches from one part into the next.
type Text []*io.SectionReader

// String reads the whole text. It stops at an error of a reader, which memory does not have.
func (t Text) String() string {
	var whole strings.Builder
	whole.Grow(int(t.Len()))
	_, _ = io.Copy(&whole, io.NewSectionReader(t, 0, t.Len()))
	return whole.String()
}

// Len returns the length in bytes.
func (t Text) Len() (n int64) {
	for _, part := range t {
		n += part.Size()
	}
	return n
}

// ReadAt implements io.ReaderAt.
func (t Text) ReadAt(b []byte, at int64) (n int, err error) {
	for _, part := range t {
		if at >= part.Size() {
			at -= part.Size()
			continue
		}
		got, err := part.ReadAt(b[n:], at)
		n, at = n+got, 0
		if n == len(b) {
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	return n, io.EOF
}

// readSize is the number of bytes that Pieces reads at a time.
const readSize = 32 << 10

// Pieces calls each with the text in pieces of at most size bytes, 4 ≤ size ≤ 32 KiB, which end with a complete rune. The
// slice is valid until each returns. Errors are those of the readers and of each.
func (t Text) Pieces(size int, each func(piece []byte) error) error {
	buffer := make([]byte, min(readSize, t.Len()))
	for _, part := range t {
		var rest []byte // read, but not passed on
		for at := int64(0); at < part.Size() || len(rest) > 0; {
			if len(rest) < size && at < part.Size() {
				kept := copy(buffer, rest)
				rest = buffer[:min(int64(len(buffer)), int64(kept)+part.Size()-at)]
				n, err := part.ReadAt(rest[kept:], at)
				if n < len(rest)-kept {
					return cmp.Or(err, io.ErrUnexpectedEOF)
				}
				at += int64(n)
			}
			piece := rest[:min(size, len(rest))]
			if len(piece) < len(rest) || at < part.Size() {
				piece = BeforePartialRune(piece)
			}
			rest = rest[len(piece):]
			if err := each(piece); err != nil {
				return err
			}
		}
	}
	return nil
}

// Inline renders at most limit bytes of the output for a message: fifteen sixteenths from the head and one sixteenth
// from the tail, with a line between them that counts the missing bytes. The result cut reports whether bytes are
// missing. No rune is cut in two. Bytes that are not UTF-8 stay in the text; the encoder of the message replaces them.
// Errors are those of the reader.
func (p Printed) Inline(limit int) (text Text, cut bool, err error) {
	most, kept := int64(limit), p.Head+p.Tail
	if p.LeftOut() <= 0 && kept <= most {
		return Text{io.NewSectionReader(p, 0, kept)}, false, nil
	}
	head, tail := p.Head, p.Head // the end of the shown head, the start of the shown tail
	if p.LeftOut() <= 0 {
		head, tail = kept, 0
	}
	tail = max(tail, kept-most/16)
	start, err := p.read(tail, min(utf8.UTFMax, kept-tail))
	if err != nil {
		return nil, false, err
	}
	if start = AfterPartialRune(start); kept-tail < utf8.UTFMax || len(start) > 0 {
		tail += min(utf8.UTFMax, kept-tail) - int64(len(start))
	}
	head = min(head, most-(kept-tail))
	from := max(head-utf8.UTFMax, 0)
	end, err := p.read(from, head-from)
	if err != nil {
		return nil, false, err
	}
	head = from + int64(len(BeforePartialRune(end)))
	text, err = p.join(head, p.Bytes-head-(kept-tail), tail)
	return text, true, err
}

// join puts a line that counts the missing bytes between the head, which ends at an offset, and the tail, which starts
// at another.
func (p Printed) join(head, missing, tail int64) (Text, error) {
	line := fmt.Sprintf("[... %d bytes left out ...]\n", missing)
	if head > 0 {
		last, err := p.read(head-1, 1)
		if err != nil {
			return nil, err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	return Text{
		io.NewSectionReader(p, 0, head), io.NewSectionReader(strings.NewReader(line), 0, int64(len(line))),
		io.NewSectionReader(p, tail, p.Head+p.Tail-tail),
	}, nil
}

func (p Printed) read(at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := p.ReadAt(b, at); got < len(b) {
		return nil, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return b, nil
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
