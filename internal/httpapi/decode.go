package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"boomerang/internal/admission"
	"boomerang/internal/fault"
)

// decodeSubmission reads the body of POST /execute/async and its companions. It knows the fields and their types; whether their values
// are allowed is the business of admission. Unknown fields are ignored, and null is the same as absent. Errors are
// faults: INVALID_JSON, or INVALID_REQUEST that names the field.
func decodeSubmission(body []byte) (admission.Submission, error) {
	o, err := objectOf("body", body)
	if err != nil {
		return admission.Submission{}, err
	}
	s := o.submission()
	s.Body = body
	return s, o.err
}

// objectOf is the object that a text must be; what names the text in an error. Errors: fault INVALID_JSON.
func objectOf(what string, text []byte) (o object, err error) {
	if err := checkJSON(what, text); err != nil {
		return o, err
	}
	if err := json.Unmarshal(text, &o.fields); err != nil { // never: the text was read to its end
		return o, fault.New(fault.InvalidJSON, "The %s must be one JSON object.", what).Because(err)
	}
	return o, nil
}

// submission reads the fields of one submission.
func (o *object) submission() admission.Submission {
	s := admission.Submission{
		Name:            o.text("name"),
		Code:            o.text("code"),
		CallbackURL:     o.text("callback_url"),
		Language:        o.text("language"),
		Timeout:         o.seconds("timeout"),
		WorkingDir:      o.text("working_dir"),
		Env:             o.texts("env"),
		Args:            o.list("args"),
		Stdin:           o.content("stdin"),
		Files:           o.files("files"),
		Artifacts:       o.list("artifacts"),
		Limits:          o.limits("limits"),
		Metadata:        o.texts("metadata"),
		Network:         o.text("network"),
		Workspace:       o.workspace("workspace"),
		CallbackHeaders: o.texts("callback_headers"),
		Secrets:         o.textOrList("callback_signature_secret"),
	}
	if dir := o.text("workdir"); dir != "" { // what the SDKs send
		s.WorkingDir = dir
	}
	return s
}

// object reads typed fields and remembers the first that has another type. Names are exact; a struct would take
// "CODE" for "code".
type object struct {
	prefix string // of its fields' names, in what is said of them
	fields map[string]json.RawMessage
	err    error
}

func (o *object) text(name string) string {
	var s string
	if raw, there := o.get(name); there && !isText(raw, &s) {
		o.mismatch(name, "must be a string", raw)
	}
	return s
}

func (o *object) seconds(name string) int64 {
	return o.whole(name, "must be a whole number of seconds")
}

// whole reads a whole number. JSON knows no integers: 3600, 3600.0 and 3.6e3 are the same number and all are whole.
func (o *object) whole(name, rule string) int64 {
	const exact = 1 << 53 // from here on a float64 does not tell neighbours apart; far above every limit
	n := o.number(name, rule)
	if n != math.Trunc(n) {
		o.refuse(name, rule+", not "+clip(string(o.fields[name]))+".")
		return 0
	}
	return int64(max(-exact, min(n, exact)))
}

// number reads any number; one that no float64 holds is infinite.
func (o *object) number(name, rule string) float64 {
	raw, there := o.get(name)
	if !there {
		return 0
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if raw[0] == '"' || (err != nil && !math.IsInf(n, 0)) {
		o.mismatch(name, rule, raw)
		return 0
	}
	return n
}

func (o *object) texts(name string) map[string]string {
	raw, there := o.get(name)
	if !there {
		return nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		o.mismatch(name, "must be an object of strings", raw)
		return nil
	}
	texts := make(map[string]string, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		var s string
		if !isText(entries[key], &s) {
			o.fail(fault.New(fault.InvalidRequest, "%s must be an object of strings, and the value of %q is %s.", o.prefix+name, clip(key), kindOf(entries[key])).
				Field(o.prefix+name).Detail("key", clip(key)))
			return nil
		}
		texts[key] = s
	}
	return texts
}

// textOrList reads one string, where "" is none, or a list of strings.
func (o *object) textOrList(name string) []string {
	raw, there := o.get(name)
	if !there {
		return nil
	}
	var s string
	switch {
	case isText(raw, &s) && s == "":
		return nil
	case isText(raw, &s):
		return []string{s}
	}
	return o.strings(name, "must be a string or a list of strings", raw)
}

func (o *object) get(name string) (raw json.RawMessage, there bool) {
	raw = o.fields[name]
	return raw, raw != nil && string(raw) != "null"
}

// mismatch refuses a value of another type. It says which type that is, but not the value, which may be secret.
func (o *object) mismatch(name, rule string, raw json.RawMessage) {
	o.refuse(name, rule+", not "+kindOf(raw)+".")
}

func (o *object) refuse(name, rule string) {
	o.fail(fault.New(fault.InvalidRequest, "%s %s", o.prefix+name, rule).Field(o.prefix + name))
}

func (o *object) fail(err error) {
	if o.err == nil {
		o.err = err // may be nil
	}
}

// isText is strict where encoding/json is not: it takes null for an empty string.
func isText(raw json.RawMessage, s *string) bool {
	return raw[0] == '"' && json.Unmarshal(raw, s) == nil
}

// strings reads a list of strings. The rule says what there may be else.
func (o *object) strings(name, rule string, raw json.RawMessage) (list []string) {
	for i, entry := range o.members(name, rule, raw) {
		var s string
		if !isText(entry, &s) {
			o.mismatch(fmt.Sprintf("%s[%d]", name, i), "must be a string", entry)
			return nil
		}
		list = append(list, s)
	}
	return list
}

// members reads a list of anything.
func (o *object) members(name, rule string, raw json.RawMessage) (list []json.RawMessage) {
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		o.mismatch(name, rule, raw)
		return nil
	}
	return list
}

// truth reads true or false.
func (o *object) truth(name string, fallback bool) bool {
	raw, there := o.get(name)
	if there && json.Unmarshal(raw, &fallback) != nil {
		o.mismatch(name, "must be true or false", raw)
	}
	return fallback
}
