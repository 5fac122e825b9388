package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"

	"github.com/alecthomas/units"

	"boomerang/internal/fault"
)

// ParseObject parses a text that must be one JSON object. The noun names the text in errors: "body", "frame". Errors:
// fault INVALID_JSON.
func ParseObject(noun string, text []byte) (o Object, err error) {
	if err := checkJSON(noun, text); err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o.fields); err != nil { // never: checkJSON has accepted the text
		return o, fault.New(fault.InvalidJSON, "The %s must be one JSON object.", noun).Because(err)
	}
	return o, nil
}

// Object is a JSON object whose fields are read by type. It remembers the first field that has another type: read all
// fields, then check Err. Names are case-sensitive; encoding/json would take "CODE" for "code" of a struct. A field
// that is null counts as absent. An absent field reads as the zero value.
type Object struct {
	prefix string // of the fields' names in errors, such as "files[0]."
	fields map[string]json.RawMessage
	err    error
}

// Err returns the first error of a field, a fault INVALID_REQUEST unless Fail was given another.
func (o *Object) Err() error { return o.err }

// Text reads a string.
func (o *Object) Text(name string) string {
	var s string
	if raw, there := o.Value(name); there && !IsText(raw, &s) {
		o.Mismatch(name, "must be a string", raw)
	}
	return s
}

// Whole reads a whole number, at most 2^53 in size. JSON has no integers: 3600, 3600.0 and 3.6e3 are the same whole
// number. The rule ends the sentence about another value.
func (o *Object) Whole(name, rule string) int64 {
	const exact = 1 << 53 // a float64 does not hold every whole number beyond; far above every limit
	n := o.Number(name, rule)
	if n != math.Trunc(n) {
		o.Refuse(name, rule+", not "+Clip(string(o.fields[name]))+".")
		return 0
	}
	return int64(max(-exact, min(n, exact)))
}

// Number reads a number; one beyond the range of a float64 is infinite.
func (o *Object) Number(name, rule string) float64 {
	raw, there := o.Value(name)
	if !there {
		return 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if raw[0] == '"' || (err != nil && !math.IsInf(n, 0)) {
		o.Mismatch(name, rule, raw)
		return 0
	}
	return n
}

// Texts reads an object of strings.
func (o *Object) Texts(name string) map[string]string {
	raw, there := o.Value(name)
	if !there {
		return nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		o.Mismatch(name, "must be an object of strings", raw)
		return nil
	}
	texts := make(map[string]string, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		var s string
		if !IsText(entries[key], &s) {
			o.Fail(fault.New(fault.InvalidRequest, "%s must be an object of strings, and the value of %q is %s.",
				o.prefix+name, Clip(key), kindOf(entries[key])).
				Field(o.prefix+name).Detail("key", Clip(key)))
			return nil
		}
		texts[key] = s
	}
	return texts
}

// TextOrList reads a string or a list of strings. An empty string counts as absent.
func (o *Object) TextOrList(name string) []string {
	raw, there := o.Value(name)
	if !there {
		return nil
	}
	var s string
	switch {
	case IsText(raw, &s) && s == "":
		return nil
	case IsText(raw, &s):
		return []string{s}
	}
	return o.strings(name, "must be a string or a list of strings", raw)
}

// Value returns the raw value of a field, and whether the field is present.
func (o *Object) Value(name string) (raw json.RawMessage, there bool) {
	raw = o.fields[name]
	return raw, raw != nil && string(raw) != "null"
}

// Mismatch records that a field has a value of another type. The error names that type but not the value, which may be
// secret.
func (o *Object) Mismatch(name, rule string, raw json.RawMessage) {
	o.Refuse(name, rule+", not "+kindOf(raw)+".")
}

// Refuse records that a field is wrong. The rule follows the name of the field in the sentence.
func (o *Object) Refuse(name, rule string) {
	o.Fail(fault.New(fault.InvalidRequest, "%s %s", o.prefix+name, rule).Field(o.prefix + name))
}

// Fail records an error, which may be nil, unless there is an earlier one.
func (o *Object) Fail(err error) {
	if o.err == nil {
		o.err = err
	}
}

// IsText reads a string from raw. It returns false for null, which encoding/json would read as an empty string.
func IsText(raw json.RawMessage, s *string) bool {
	return raw[0] == '"' && json.Unmarshal(raw, s) == nil
}

// strings reads a list of strings. The rule ends the sentence about a value of another type.
func (o *Object) strings(name, rule string, raw json.RawMessage) (list []string) {
	for i, entry := range o.Members(name, rule, raw) {
		var s string
		if !IsText(entry, &s) {
			o.Mismatch(fmt.Sprintf("%s[%d]", name, i), "must be a string", entry)
			return nil
		}
		list = append(list, s)
	}
	return list
}

// Members splits a list into its raw members.
func (o *Object) Members(name, rule string, raw json.RawMessage) (list []json.RawMessage) {
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		o.Mismatch(name, rule, raw)
		return nil
	}
	return list
}

// Bool reads true or false; an absent field is fallback.
func (o *Object) Bool(name string, fallback bool) bool {
	raw, there := o.Value(name)
	if there && json.Unmarshal(raw, &fallback) != nil {
		o.Mismatch(name, "must be true or false", raw)
	}
	return fallback
}

// List reads a list of strings.
func (o *Object) List(name string) []string {
	raw, there := o.Value(name)
	if !there {
		return nil
	}
	return o.strings(name, "must be a list of strings", raw)
}

// Content reads bytes: a string, {"text": …} or {"base64": …}.
func (o *Object) Content(name string) []byte {
	raw, there := o.Value(name)
	if !there {
		return nil
	}
	var s string
	if IsText(raw, &s) {
		return []byte(s)
	}
	inner, ok := o.Inner(name, raw)
	if !ok {
		o.Mismatch(name, `must be a string, {"text": …} or {"base64": …}`, raw)
		return nil
	}
	if inner.Count("text", "base64") != 1 {
		o.Refuse(name, "must have exactly one of text and base64.")
		return nil
	}
	content := inner.Bytes()
	o.Fail(inner.err)
	return content
}

// Bytes reads the bytes that the object itself holds in its field text or base64 (RFC 4648 §4, line breaks ignored).
func (o *Object) Bytes() []byte {
	if o.Count("base64") == 0 {
		return []byte(o.Text("text"))
	}
	content, err := base64.StdEncoding.Strict().DecodeString(o.Text("base64"))
	if err != nil {
		o.Refuse("base64", "must be base64 with its padding.")
	}
	return content
}

var octal = regexp.MustCompile(`^[0-7]{3,4}$`)

// Mode reads permissions as chmod writes them, in a string: some clients would write a number in decimal, others in
// octal.
func (o *Object) Mode(name string) uint32 {
	raw, there := o.Value(name)
	if !there {
		return 0
	}
	var s string
	if !IsText(raw, &s) || !octal.MatchString(s) {
		o.Refuse(name, `must be a string of three or four octal digits, like "755".`)
		return 0
	}
	mode, _ := strconv.ParseUint(s, 8, 32) // four digits fit
	if mode == 0 {
		o.Refuse(name, "must be permissions from 001 to 777.")
	}
	return uint32(mode)
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,15}B|[0-9]{1,9}(\.[0-9]{1,9})?[KMG]iB)$`) // always fits an int64

// Size reads a number of bytes: a whole number, or a string such as "256MiB".
func (o *Object) Size(name string) int64 {
	const rule = "must be a whole number of bytes or a size such as 256MiB"
	raw, there := o.Value(name)
	var s string
	if !there || !IsText(raw, &s) {
		return o.Whole(name, rule)
	}
	n, err := units.ParseBase2Bytes(s)
	if err != nil || !sizeForm.MatchString(s) {
		o.Refuse(name, rule+".")
		return 0
	}
	return int64(n)
}

// Inner reads the value raw of a field as an object. It returns false if raw is no object.
func (o *Object) Inner(name string, raw json.RawMessage) (inner Object, ok bool) {
	inner.prefix = o.prefix + name + "."
	return inner, raw[0] == '{' && json.Unmarshal(raw, &inner.fields) == nil
}

// Count returns how many of the fields are present.
func (o *Object) Count(names ...string) (n int) {
	for _, name := range names {
		if _, there := o.Value(name); there {
			n++
		}
	}
	return n
}
