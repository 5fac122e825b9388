// Package shorten shortens texts for the log and says how many bytes it left out. It does not know the meaning of the
// texts.
package shorten

import (
	"fmt"
	"unicode/utf8"
)

// Middle returns text in at most limit bytes: the whole text if it fits, else its beginning and its end around a note
// with the number of left-out bytes. If limit is smaller than the note, the result is the note. Middle cuts no
// character in two.
func Middle(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	room := max(limit-len(note(len(text))), 0)
	begin, end := room-room/3, len(text)-room/3
	for begin > 0 && !utf8.RuneStart(text[begin]) {
		begin--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	return text[:begin] + note(end-begin) + text[end:]
}

func note(bytes int) string { return fmt.Sprintf(" [… %d bytes left out …] ", bytes) }
