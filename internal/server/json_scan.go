package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scanner finds the first mistake in a JSON text. Package encoding/json finds fewer mistakes, and its errors are for
// programmers.
type scanner struct {
	text []byte
	at   int
	path []step // to the value that is read
}

// step is a field of an object, or a member of a list.
type step struct {
	name   string
	member int // -1 for a field
}

// misfit is a mistake and its place.
type misfit struct {
	at     int
	clause string // of a sentence; without values of the client, which may be secret
}

func (s *scanner) wrong(at int, format string, args ...any) *misfit {
	return &misfit{at, fmt.Sprintf(format, args...)}
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// next returns the next byte; 0 at the end of the text.
func (s *scanner) next() byte {
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) ended() bool { return s.at == len(s.text) }

// value reads one value, without the white space after it.
func (s *scanner) value() *misfit {
	switch c := s.next(); {
	case c == '{':
		return s.object()
	case c == '[':
		return s.list()
	case c == '"':
		_, err := s.quoted()
		return err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(s.text[s.at:], []byte(word)) && !wordGoesOn(s.text[s.at+len(word):]) {
			s.at += len(word)
			return nil
		}
	}
	return s.noValue()
}

// object reads from one brace to the other.
func (s *scanner) object() *misfit {
	opened := s.at
	if len(s.path) == maxDepth {
		return s.wrong(s.at, "objects and lists may be nested %d deep and no deeper", maxDepth)
	}
	s.at++
	keys := map[string]bool{}
	s.path = append(s.path, step{member: -1})
	defer func() { s.path = s.path[:len(s.path)-1] }()
	for s.space(); s.next() != '}' || len(keys) > 0; s.space() {
		if s.ended() {
			return s.wrong(opened, "the text ends inside the object that begins here")
		}
		begun := s.at
		if s.next() != '"' {
			return s.noKey(len(keys) > 0)
		}
		name, err := s.quoted()
		if err != nil {
			return err
		}
		key := unquoted(name)
		s.path[len(s.path)-1].name = key
		if keys[key] {
			return s.wrong(begun, "the field %s is given twice", Clip(s.where()))
		}
		keys[key] = true
		if s.space(); s.next() != ':' {
			return s.missing(opened, "a colon must follow the name of a field")
		}
		s.at++
		if s.space(); s.next() == ',' || s.next() == '}' {
			return s.wrong(s.at, "the field %s has no value", Clip(s.where()))
		}
		if s.ended() {
			return s.wrong(opened, "the text ends inside the object that begins here")
		}
		first := s.next()
		if err := s.value(); err != nil {
			return err
		}
		if s.space(); s.next() == '}' {
			break
		}
		if s.next() != ',' {
			return s.missing(opened, "a comma or } must follow the value of a field"+hint(first))
		}
		s.at++
	}
	s.at++
	return nil
}

// list reads from one bracket to the other.
func (s *scanner) list() *misfit {
	opened := s.at
	if len(s.path) == maxDepth {
		return s.wrong(s.at, "objects and lists may be nested %d deep and no deeper", maxDepth)
	}
	s.at++
	s.path = append(s.path, step{})
	defer func() { s.path = s.path[:len(s.path)-1] }()
	for s.space(); s.next() != ']' || s.path[len(s.path)-1].member > 0; s.space() {
		if s.ended() {
			return s.wrong(opened, "the text ends inside the list that begins here")
		}
		first := s.next()
		if err := s.value(); err != nil {
			return err
		}
		if s.space(); s.next() == ']' {
			break
		}
		if s.next() != ',' {
			return s.missing(opened, "a comma or ] must follow an entry of a list"+hint(first))
		}
		s.at++
		s.path[len(s.path)-1].member++
	}
	s.at++
	return nil
}

// hint returns a clause on the likely reason why a value ended too early.
func hint(first byte) string {
	if first == '"' {
		return `, and a double quote in a string is written \"`
	}
	return ""
}

// missing returns the mistake at an unexpected place: the end of the text, a comment, or the mistake that clause
// describes.
func (s *scanner) missing(opened int, clause string) *misfit {
	if s.ended() {
		return s.wrong(opened, "the text ends inside the %s that begins here",
			map[byte]string{'{': "object", '[': "list"}[s.text[opened]])
	}
	if s.comment() {
		return s.wrong(s.at, "JSON has no comments")
	}
	return s.wrong(s.at, "%s", clause)
}

func (s *scanner) comment() bool {
	rest := s.text[s.at:]
	return bytes.HasPrefix(rest, []byte("//")) || bytes.HasPrefix(rest, []byte("/*")) ||
		bytes.HasPrefix(rest, []byte("#"))
}

// noKey returns the mistake in place of the name of a field.
func (s *scanner) noKey(behindComma bool) *misfit {
	c, _ := utf8.DecodeRune(s.text[s.at:])
	switch {
	case c == '}':
		return s.wrong(s.at, "remove the comma before this }")
	case c == ',' && behindComma:
		return s.wrong(s.at, "remove one of these two commas")
	case c == ',':
		return s.wrong(s.at, "something is missing before this comma")
	case s.comment():
		return s.wrong(s.at, "JSON has no comments")
	case quotes[c]:
		return s.wrong(s.at, "names of fields are written in double quotes, not in %c", c)
	case c == '{' || c == '[':
		return s.wrong(s.at, "this value has no name, and everything in an object has one")
	}
	return s.wrong(s.at, "names of fields are written in double quotes")
}

// quotes are quotation marks of other languages.
var quotes = map[rune]bool{
	'\'': true, '`': true, '“': true, '”': true, '„': true, '‘': true, '’': true, '«': true, '»': true,
}

// foreign maps words of other languages to their JSON.
var foreign = map[string]string{
	"True": "true", "TRUE": "true", "False": "false", "FALSE": "false",
	"None": "null", "Null": "null", "NULL": "null", "nil": "null", "undefined": "null",
}

// noValue returns the mistake in place of a value.
func (s *scanner) noValue() *misfit {
	c, _ := utf8.DecodeRune(s.text[s.at:])
	word := string(s.text[s.at : s.at+wordLength(s.text[s.at:])])
	switch {
	case c == ',':
		return s.wrong(s.at, "something is missing before this comma")
	case c == ']':
		return s.wrong(s.at, "remove the comma before this ]")
	case s.comment():
		return s.wrong(s.at, "JSON has no comments")
	case quotes[c]:
		return s.wrong(s.at, "strings are written in double quotes, not in %c", c)
	case word == "NaN" || word == "Infinity":
		return s.wrong(s.at, "JSON has no %s", word)
	case foreign[word] != "":
		return s.wrong(s.at, "JSON writes %s, not %s", foreign[word], word)
	case c == '+' || c == '.':
		return s.wrong(s.at, "a number begins with a digit or a minus, not with %c", c)
	case word != "":
		return s.wrong(s.at, "strings are written in double quotes; the only words without are true, false and null")
	case c == utf8.RuneError:
		return s.notUTF8()
	}
	return s.wrong(s.at, "no value begins with %s", shown(c))
}

func wordLength(text []byte) int {
	n := bytes.IndexFunc(text, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if n < 0 {
		return len(text)
	}
	return n
}

func wordGoesOn(text []byte) bool { return wordLength(text) > 0 }

// number reads a number (RFC 8259, section 6).
func (s *scanner) number() *misfit {
	begun := s.at
	if s.next() == '-' {
		s.at++
	}
	if rest := s.text[s.at:]; bytes.HasPrefix(rest, []byte("Infinity")) {
		return s.wrong(begun, "JSON has no -Infinity")
	}
	whole := s.digits()
	switch {
	case len(whole) == 0:
		return s.wrong(begun, "there is no digit behind this minus")
	case len(whole) > 1 && whole[0] == '0':
		return s.wrong(begun, "a number has no leading zero")
	}
	if s.next() == '.' {
		if s.at++; len(s.digits()) == 0 {
			return s.wrong(begun, "there is no digit behind the point of this number")
		}
	}
	if s.next() == 'e' || s.next() == 'E' {
		if s.at++; s.next() == '+' || s.next() == '-' {
			s.at++
		}
		if len(s.digits()) == 0 {
			return s.wrong(begun, "there is no digit in the exponent of this number")
		}
	}
	if wordGoesOn(s.text[s.at:]) || s.next() == '.' {
		return s.wrong(begun, "this is not a number: JSON knows digits, a minus, a point and an exponent")
	}
	return nil
}

func (s *scanner) digits() []byte {
	begun := s.at
	for c := s.next(); c >= '0' && c <= '9'; c = s.next() {
		s.at++
	}
	return s.text[begun:s.at]
}

// quoted reads a string and returns it with its quotes.
func (s *scanner) quoted() ([]byte, *misfit) {
	begun := s.at
	s.at++
	for !s.ended() {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[begun:s.at], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, s.control(c)
		case c < utf8.RuneSelf:
			s.at++
		default:
			r, size := utf8.DecodeRune(s.text[s.at:])
			if r == utf8.RuneError && size == 1 {
				return nil, s.notUTF8()
			}
			s.at += size
		}
	}
	return nil, s.wrong(begun, "the text ends inside the string that begins here")
}

func unquoted(quoted []byte) string {
	var text string
	_ = json.Unmarshal(quoted, &text) // never fails: quoted has accepted the string
	return text
}

func (s *scanner) control(c byte) *misfit {
	switch c {
	case '\n':
		return s.wrong(s.at, `a line break in a string is written \n`)
	case '\r':
		return s.wrong(s.at, `a carriage return in a string is written \r`)
	case '\t':
		return s.wrong(s.at, `a tab in a string is written \t`)
	}
	return s.wrong(s.at, `the control character U+%04X in a string is written \u%04x`, c, c)
}

func (s *scanner) notUTF8() *misfit {
	return s.wrong(s.at, "the byte %02X does not belong to UTF-8 text", s.text[s.at])
}

// escape reads an escape sequence.
func (s *scanner) escape() *misfit {
	begun := s.at
	s.at++
	if s.ended() {
		return nil // the string is not closed either
	}
	c := s.text[s.at]
	s.at++
	if strings.IndexByte(`"\/bfnrt`, c) >= 0 {
		return nil
	}
	if c != 'u' {
		return s.wrong(begun, `a backslash in a string is written \\, unless one of " \ / b f n r t u is behind it`)
	}
	unit, err := s.unit(begun)
	if err != nil || unit < 0xD800 || unit > 0xDFFF {
		return err
	}
	if unit <= 0xDBFF && bytes.HasPrefix(s.text[s.at:], []byte(`\u`)) {
		s.at += len(`\u`)
		if low, err := s.unit(s.at - len(`\u`)); err != nil || low&0xFC00 == 0xDC00 {
			return err
		}
	}
	return s.wrong(begun, `this is half of a surrogate pair, and the other half is missing`)
}

// unit reads the four digits of a \u that begins at an offset.
func (s *scanner) unit(begun int) (uint64, *misfit) {
	hex := s.text[s.at:min(s.at+4, len(s.text))]
	unit, err := strconv.ParseUint(string(hex), 16, 16)
	if err != nil || len(hex) < 4 {
		return 0, s.wrong(begun, `four hexadecimal digits must follow \u`)
	}
	s.at += 4
	return unit, nil
}

// behind returns the mistake in the text after the object.
func (s *scanner) behind() *misfit {
	switch c := s.next(); {
	case c == '{':
		return s.wrong(s.at, "there must be one object, and here another one begins")
	case c == '}' || c == ']':
		return s.wrong(s.at, "there is a %c too many", c)
	case c == ',':
		return s.wrong(s.at, "there is a comma behind the object")
	case s.comment():
		return s.wrong(s.at, "JSON has no comments")
	}
	return s.wrong(s.at, "there is something behind the object")
}

// where returns the path of the current value as sentences write it: files[0].path.
func (s *scanner) where() string {
	var path strings.Builder
	for i, step := range s.path {
		switch {
		case step.member >= 0:
			fmt.Fprintf(&path, "[%d]", step.member)
		case i > 0:
			path.WriteString("." + step.name)
		default:
			path.WriteString(step.name)
		}
	}
	return path.String()
}
