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

// maxDepth is the deepest nesting of objects and lists in a request; the known fields need 4.
const maxDepth = 32

// checkJSON checks that text is exactly one JSON object that all readers understand alike: UTF-8, complete surrogate
// pairs, no repeated key at any level, nothing after the object (RFC 8259, sections 4, 8.1 and 8.2). The noun names the
// text: "body" or "frame". Errors: fault INVALID_JSON with the mistake and its place.
func checkJSON(noun string, text []byte) error {
	if other := notAnObject(text); other != "" {
		return fault.New(fault.InvalidJSON, "The %s %s", noun, other)
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
	return fault.New(fault.InvalidJSON, "The %s is not JSON at line %d, column %d: %s.", noun, line, column,
		err.clause).
		Detail("line", line).Detail("column", column)
}

// wanted ends the sentences about a text that is no JSON object.
const wanted = "it must be one JSON object."

var (
	formLike = regexp.MustCompile(`^[A-Za-z0-9_.~%+\[\]-]+=`)

	// The beginnings of texts that are not JSON.
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

// notAnObject describes a text that does not begin like an object; it returns "" for one that does.
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

// shown writes a character for a sentence; an invisible character by its name.
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
