package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may be nested in a request; what we know needs 2.
const maxDepth = 32

// checkJSON tells whether text is exactly one JSON object that every reader takes in the same way: UTF-8, no half of
// a surrogate pair, no repeated key at any level, nothing behind it (RFC 8259, sections 4, 8.1 and 8.2). The error is a
// clause for a person.
func checkJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	err := json.Unmarshal(text, new(json.RawMessage))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("%w (at byte %d)", syntax, syntax.Offset)
	}
	if err != nil {
		return err // never: raw text has no type that it could miss
	}
	if at := loneSurrogate(text); at >= 0 {
		return fmt.Errorf("it has half of a surrogate pair (at byte %d)", at)
	}
	if text := bytes.TrimLeft(text, " \t\r\n"); text[0] != '{' {
		return errors.New("it is not an object")
	}
	return checkKeys(text)
}

// checkKeys walks valid JSON and refuses a key that stands twice in one object, and too deep a nesting.
func checkKeys(text []byte) error {
	type level struct {
		keys map[json.Token]bool // nil for an array
		key  bool                // the next token is a key
	}
	var open []level
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a float64 does not hold every number, and nobody wants one here
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // never: the text is known to be valid
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			open = open[:len(open)-1]
			continue
		}
		if n := len(open) - 1; n >= 0 && open[n].keys != nil {
			if open[n].key && open[n].keys[token] {
				return fmt.Errorf("the key %q stands twice in one object", clip(fmt.Sprint(token)))
			}
			if open[n].key {
				open[n].keys[token] = true
			}
			open[n].key = !open[n].key
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{keys: map[json.Token]bool{}, key: true})
		case json.Delim('['):
			open = append(open, level{})
		}
		if len(open) > maxDepth {
			return fmt.Errorf("it is nested deeper than %d levels", maxDepth)
		}
	}
}

// loneSurrogate finds a \u escape in valid JSON that is half of a UTF-16 surrogate pair, or returns -1. The decoder of
// the standard library would put U+FFFD in its place without a word, which in code is another program.
func loneSurrogate(text []byte) int {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // the escaped character; a backslash stands inside strings only, and never last
		if text[i] != 'u' {
			continue
		}
		unit := codeUnit(text[i+1:])
		i += 4
		if unit < 0xD800 || unit > 0xDFFF {
			continue
		}
		low := text[i+1:]
		if unit > 0xDBFF || !bytes.HasPrefix(low, []byte(`\u`)) || codeUnit(low[2:])&0xFC00 != 0xDC00 {
			return i - 5
		}
		i += 6
	}
	return -1
}

func codeUnit(hex []byte) uint64 {
	unit, _ := strconv.ParseUint(string(hex[:4]), 16, 16) // valid JSON has four hexadecimal digits here
	return unit
}

// clip keeps a client's own words short enough to be said back to it.
func clip(s string) string {
	const enough = 64
	if len(s) <= enough {
		return s
	}
	return strings.ToValidUTF8(s[:enough], "") + "…"
}
