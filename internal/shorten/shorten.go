// Package shorten shortens texts for the log and says how much it left out. It does not know what the texts mean.
package shorten

import (
	"fmt"
	"unicode/utf8"
)

// Middle returns a text of at most limit bytes: the text itself if it fits, else its beginning and its end, and between them
// how many bytes are left out. A limit that is too small for these words is enlarged to their length. No character is cut in two.
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
