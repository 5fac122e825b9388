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

// lineLimit is the limit of a line of the log in bytes, including the line break.
const lineLimit = 2 << 10

// bounded is a formatter whose lines never exceed lineLimit. It shortens long fields and states how much it left out.
type bounded struct{ logrus.Formatter }

// valueLimits are the limits of a field's value that Format tries in turn; the last one is for lines with dozens of
// fields.
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
	// The line has too many fields or too long names. Keep the first fields by name, as many as fit.
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

// shortened returns a copy of an entry whose message and values each take at most limit bytes in the log, including
// escapes.
func shortened(e *logrus.Entry, limit int) *logrus.Entry {
	short := *e
	short.Buffer = &bytes.Buffer{} // the entry's own buffer contains the long line
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

// shortenWritten shortens a text until it takes at most limit bytes, including the escapes of JSON. An escape takes
// up to six bytes.
func shortenWritten(text string, limit int) string {
	for most := limit; ; most = most * 3 / 4 {
		short := shorten.Middle(text, most)
		if lengthWritten(short) <= max(limit, 64) || most < 32 {
			return short
		}
	}
}

// lengthWritten returns an upper limit of the bytes that a text takes, including escapes.
func lengthWritten(text string) int {
	n := len(text)
	for _, c := range []byte(text) {
		switch {
		case c < ' ', c == '<', c == '>', c == '&':
			n += len(`\u0000`) - 1
		case strings.IndexByte(`"\`, c) >= 0:
			n++
		case c > '~': // may be unprintable or invalid UTF-8
			n += len(`\u0000`) - 1
		}
	}
	return n
}
