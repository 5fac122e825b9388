package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"boomerang/internal/fault"
)

// maxDepth is how deep objects and arrays may be nested in a request; what we know needs 4.
const maxDepth = 32

// checkJSON tells whether text is exactly one JSON object that every reader takes in the same way: UTF-8, no half of
// a surrogate pair, no repeated key at any level, nothing behind it (RFC 8259, sections 4, 8.1 and 8.2). What is what the text
// is to its sender: a body or a frame. Errors: fault INVALID_JSON, which says what is wrong and where.
func checkJSON(what string, text []byte) error {
	if other := notAnObject(text); other != "" {
		return fault.New(fault.InvalidJSON, "The %s %s", what, other)
	}
	s := scanner{text: text}
	s.space()
	err := s.value()
	if s.space(); err == nil && s.at < len(text) {
		err = s.behind()
	}
	if err == nil {
		return nil
	}
	line := 1 + bytes.Count(text[:err.at], []byte("\n"))
	column := 1 + utf8.RuneCount(text[bytes.LastIndexByte(text[:err.at], '\n')+1:err.at])
	return fault.New(fault.InvalidJSON, "The %s is not JSON at line %d, column %d: %s.", what, line, column, err.clause).
		Detail("line", line).Detail("column", column)
}

// wanted ends the sentences about a text that is something else altogether.
const wanted = "it must be one JSON object."

var (
	formLike = regexp.MustCompile(`^[A-Za-z0-9_.~%+\[\]-]+=`)

	// Beginnings are those of what is no JSON text.
	beginnings = []struct{ bytes, is string }{
		{"\x00\x00\xfe\xff", "is UTF-32; JSON is sent as UTF-8."},
		{"\xff\xfe\x00\x00", "is UTF-32; JSON is sent as UTF-8."},
		{"\x00\x00\x00", "is UTF-32; JSON is sent as UTF-8."},
		{"{\x00\x00\x00", "is UTF-32; JSON is sent as UTF-8."},
		{"\xfe\xff", "is UTF-16; JSON is sent as UTF-8."},
		{"\xff\xfe", "is UTF-16; JSON is sent as UTF-8."},
		{"\xef\xbb\xbf", "begins with a byte order mark (the bytes EF BB BF); send the JSON without it."},
		{"\x1f\x8b", "is compressed with gzip; send the JSON as it is."},
		{"x\x9c", "is compressed with deflate; send the JSON as it is."},
		{"\x28\xb5\x2f\xfd", "is compressed with zstd; send the JSON as it is."},
		{"PK\x03\x04", "is a ZIP file; " + wanted},
	}
)

// notAnObject says what a text is that does not even begin like an object; "" for one that does.
func notAnObject(text []byte) string {
	for _, beginning := range beginnings {
		if bytes.HasPrefix(text, []byte(beginning.bytes)) {
			return beginning.is
		}
	}
	if bytes.IndexByte(text[:min(2, len(text))], 0) >= 0 {
		return "is UTF-16; JSON is sent as UTF-8."
	}
	text = bytes.TrimLeft(text, " \t\r\n")
	if len(text) == 0 {
		return "is empty; " + wanted
	}
	if text[0] == '{' {
		return ""
	}
	whole := json.Valid(text)
	switch first, _ := utf8.DecodeRune(text); {
	case first == '[':
		return "is a list; " + wanted
	case first == '"' && whole:
		return "is a string; " + wanted + " Perhaps it was turned into JSON twice."
	case whole:
		return fmt.Sprintf("is %s; %s", kindOf(text), wanted)
	case first == '<':
		return `begins with "<", like HTML or XML; ` + wanted
	case first == '\'':
		return "begins with a single quote, which a shell may have left there; " + wanted
	case bytes.HasPrefix(text, []byte("--")):
		return "looks like a multipart form; " + wanted
	case formLike.Match(text):
		return "looks like a form (name=value); " + wanted
	case first == utf8.RuneError:
		return "is not UTF-8 text; " + wanted
	default:
		return fmt.Sprintf(`begins with %s; %s`, shown(first), wanted)
	}
}

// kindOf names the type of a JSON value in a sentence.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f', 'n':
		return string(bytes.TrimRight(raw, " \t\r\n"))
	default:
		return "a number"
	}
}

// shown is a character in a sentence: one that could not be seen is named.
func shown(r rune) string {
	if r < ' ' || r == 0x7f {
		return fmt.Sprintf("the control character U+%04X", r)
	}
	if r == '"' {
		return `a double quote`
	}
	return `"` + string(r) + `"`
}

// Clip shortens the words of a client, which an error repeats, to 64 bytes.
func Clip(s string) string {
	const enough = 64
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}
