package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/alecthomas/units"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
)

// list reads a list of strings.
func (o *object) list(name string) []string {
	raw, there := o.get(name)
	if !there {
		return nil
	}
	return o.strings(name, "must be a list of strings", raw)
}

// content reads bytes: a string, or an object that has them as text or as base64.
func (o *object) content(name string) []byte {
	raw, there := o.get(name)
	if !there {
		return nil
	}
	var s string
	if isText(raw, &s) {
		return []byte(s)
	}
	inner, ok := within(raw, o.prefix+name+".")
	if !ok {
		o.mismatch(name, `must be a string, {"text": …} or {"base64": …}`, raw)
		return nil
	}
	if inner.count("text", "base64") != 1 {
		o.refuse(name, "must have exactly one of text and base64.")
		return nil
	}
	content := inner.bytes()
	o.fail(inner.err)
	return content
}

// bytes reads what an object has as text or as base64 (RFC 4648 §4, line breaks ignored).
func (o *object) bytes() []byte {
	if o.count("base64") == 0 {
		return []byte(o.text("text"))
	}
	content, err := base64.StdEncoding.Strict().DecodeString(o.text("base64"))
	if err != nil {
		o.refuse("base64", "must be base64 with its padding.")
	}
	return content
}

func (o *object) files(name string) (files []admission.File) {
	raw, there := o.get(name)
	if !there {
		return nil
	}
	for i, entry := range o.members(name, "must be a list of files", raw) {
		files = append(files, o.file(fmt.Sprintf("%s[%d]", name, i), entry))
		if o.err != nil {
			return nil
		}
	}
	return files
}

func (o *object) file(name string, raw json.RawMessage) (f admission.File) {
	inner, ok := within(raw, o.prefix+name+".")
	if !ok {
		o.mismatch(name, "must be an object with a path and one of text, base64 and url", raw)
		return f
	}
	if inner.count("text", "base64", "url") != 1 {
		o.refuse(name, "must have exactly one of text, base64 and url.")
		return f
	}
	f = admission.File{Path: inner.text("path"), Mode: inner.mode("mode"), URL: inner.text("url")}
	switch {
	case inner.count("url") == 0:
		f.Content = inner.bytes()
	case f.URL == "":
		inner.refuse("url", "must be a URL.")
	}
	o.fail(inner.err)
	return f
}

var octal = regexp.MustCompile(`^[0-7]{3,4}$`)

// mode reads permissions as chmod writes them; a number would be taken for decimal by some and for octal by others.
func (o *object) mode(name string) uint32 {
	raw, there := o.get(name)
	if !there {
		return 0
	}
	var s string
	if !isText(raw, &s) || !octal.MatchString(s) {
		o.refuse(name, `must be a string of three or four octal digits, like "755".`)
		return 0
	}
	mode, _ := strconv.ParseUint(s, 8, 32) // four digits fit
	if mode == 0 {
		o.refuse(name, "must be permissions from 001 to 777.")
	}
	return uint32(mode)
}

func (o *object) limits(name string) (l execution.Limits) {
	raw, there := o.get(name)
	if !there {
		return l
	}
	inner, ok := within(raw, o.prefix+name+".")
	if !ok {
		o.mismatch(name, "must be an object", raw)
		return l
	}
	for _, f := range execution.RequestableLimits() {
		switch to := f.Target(&l).(type) {
		case *float64:
			*to = inner.number(f.Name, "must be a number")
		case *int64:
			if f.Unit == execution.UnitBytes {
				*to = inner.size(f.Name)
			} else {
				*to = inner.whole(f.Name, "must be a whole number")
			}
		}
	}
	o.fail(inner.err)
	return l
}

// workspace reads a name, or an object that has it.
func (o *object) workspace(name string) (u execution.WorkspaceUse) {
	raw, there := o.get(name)
	if !there || isText(raw, &u.Name) {
		return u
	}
	inner, ok := within(raw, o.prefix+name+".")
	if !ok {
		o.mismatch(name, `must be a string or {"name": …, "read_only": …}`, raw)
		return u
	}
	if u.Name = inner.text("name"); u.Name == "" {
		inner.refuse("name", "is required.")
	}
	u.ReadOnly = inner.truth("read_only", false)
	o.fail(inner.err)
	return u
}

var sizeForm = regexp.MustCompile(`^([0-9]{1,15}B|[0-9]{1,9}(\.[0-9]{1,9})?[KMG]iB)$`) // never more than an int64

// size reads a number of bytes.
func (o *object) size(name string) int64 {
	const rule = "must be a whole number of bytes or a size such as 256MiB"
	raw, there := o.get(name)
	var s string
	if !there || !isText(raw, &s) {
		return o.whole(name, rule)
	}
	n, err := units.ParseBase2Bytes(s)
	if err != nil || !sizeForm.MatchString(s) {
		o.refuse(name, rule+".")
		return 0
	}
	return int64(n)
}

// within reads an object that stands in another.
func within(raw json.RawMessage, prefix string) (inner object, ok bool) {
	inner.prefix = prefix
	return inner, raw[0] == '{' && json.Unmarshal(raw, &inner.fields) == nil
}

// count tells how many of the fields are there.
func (o *object) count(names ...string) (n int) {
	for _, name := range names {
		if _, there := o.get(name); there {
			n++
		}
	}
	return n
}
