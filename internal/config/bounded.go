package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"boomerang/internal/shorten"
)

// lineLimit is how many bytes a line of the log may have, its end included.
const lineLimit = 2 << 10

// bounded is a formatter whose lines never exceed lineLimit: it shortens long fields, and says how much it left out.
type bounded struct{ logrus.Formatter }

// The limits of a field's value that are tried one after another; the last one is for lines with dozens of fields.
var valueLimits = []int{1024, 512, 256, 128, 64}

// Format implements logrus.Formatter.
func (b bounded) Format(e *logrus.Entry) ([]byte, error) {
	line, err := b.Formatter.Format(e)
	if err != nil || len(line) <= lineLimit {
		return line, err
	}
	for _, limit := range valueLimits {
		if line, err = b.Formatter.Format(shortened(e, limit)); err != nil || len(line) <= lineLimit {
			return line, err
		}
	}
	// So many fields, or such long names: the first ones by name stay, as many as fit.
	names := slices.Sorted(maps.Keys(e.Data))
	for n := len(names) / 2; ; n /= 2 {
		few := shortened(e, 64)
		for _, name := range names[n:] {
			delete(few.Data, name)
		}
		few.Data["left_out"] = fmt.Sprintf("%d fields", len(names)-n)
		if line, err = b.Formatter.Format(few); err != nil || len(line) <= lineLimit || n == 0 {
			return line, err
		}
	}
}

// shortened returns a copy of an entry in which the message and each value have at most limit bytes as they are written.
func shortened(e *logrus.Entry, limit int) *logrus.Entry {
	short := *e
	short.Buffer = &bytes.Buffer{} // the line that was too long lies in the entry's own
	short.Message = shortenWritten(e.Message, limit)
	short.Data = make(logrus.Fields, len(e.Data))
	for name, value := range e.Data {
		text, isText := value.(string)
		if err, isErr := value.(error); isErr {
			text, isText = err.Error(), true
		}
		if !isText {
			text = fmt.Sprint(value)
		}
		if cut := shortenWritten(text, limit); isText || cut != text {
			short.Data[name] = cut
		} else {
			short.Data[name] = value
		}
	}
	return &short
}

// shortenWritten shortens a text until it takes at most limit bytes with the escapes of JSON, of which one may be as long as
// six bytes.
func shortenWritten(text string, limit int) string {
	for most := limit; ; most = most * 3 / 4 {
		short := shorten.Middle(text, most)
		if lengthWritten(short) <= max(limit, 64) || most < 32 {
			return short
		}
	}
}

// lengthWritten returns how many bytes a text takes with its escapes, at most.
func lengthWritten(text string) int {
	n := len(text)
	for _, c := range []byte(text) {
		switch {
		case c < ' ', c == '<', c == '>', c == '&':
			n += len(`\u0000`) - 1
		case strings.IndexByte(`"\`, c) >= 0:
			n++
		case c > '~': // perhaps not printable, or no UTF-8
			n += len(`\u0000`) - 1
		}
	}
	return n
}
