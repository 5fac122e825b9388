package server

import (
	"encoding/json"
	"strings"
	"testing"

	"boomerang/internal/fault"
)

const hello = `{"code":"print('hello')","callback_url":"https://example.com/hook"}`

// nestedLists is an object with lists in it, n levels deep.
func nestedLists(n int) string {
	return `{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
}

func TestABodyThatIsNoJSONObjectIsNamed(t *testing.T) {
	utf16 := func(s string, low, high int) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			unit := [2]byte{}
			unit[low], unit[high] = c, 0
			b.Write(unit[:])
		}
		return b.String()
	}
	for body, want := range map[string]string{
		"":        "The body is empty; it must be one JSON object.",
		" \t\r\n": "The body is empty; it must be one JSON object.",
		"\ufeff" + hello: "The body begins with a byte order mark (the bytes EF BB BF); send the JSON " +
			"without it.",
		"\ufeff": "The body begins with a byte order mark (the bytes EF BB BF); send the JSON " +
			"without it.",
		"\xff\xfe" + utf16(hello, 0, 1): "The body is UTF-16; JSON is sent as UTF-8.",
		"\xfe\xff" + utf16(hello, 1, 0): "The body is UTF-16; JSON is sent as UTF-8.",
		utf16(hello, 0, 1):              "The body is UTF-16; JSON is sent as UTF-8.",
		utf16(hello, 1, 0):              "The body is UTF-16; JSON is sent as UTF-8.",
		utf16("\n{}", 0, 1):             "The body is UTF-16; JSON is sent as UTF-8.",
		"\xff\xfe\x00\x00{\x00\x00\x00": "The body is UTF-32; JSON is sent as UTF-8.",
		"\x00\x00\xfe\xff\x00\x00\x00{": "The body is UTF-32; JSON is sent as UTF-8.",
		"{\x00\x00\x00}\x00\x00\x00":    "The body is UTF-32; JSON is sent as UTF-8.",
		"\x00\x00\x00{\x00\x00\x00}":    "The body is UTF-32; JSON is sent as UTF-8.",
		"\x1f\x8b\x08\x00":              "The body is compressed with gzip; send the JSON as it is.",
		"x\x9c\xabV\xca":                "The body is compressed with deflate; send the JSON as it is.",
		"\x28\xb5\x2f\xfd\x00":          "The body is compressed with zstd; send the JSON as it is.",
		"PK\x03\x04":                    "The body is a ZIP file; it must be one JSON object.",
		"code=print(1)&callback_url=https%3A%2F%2Fexample.com": "The body looks like a form (name=value); it must be " +
			"one JSON object.",
		"env[A]=1": "The body looks like a form (name=value); it must be one JSON object.",
		"--boundary\r\nContent-Disposition: form-data": "The body looks like a multipart form; it must be one JSON " +
			"object.",
		"<!DOCTYPE html><html></html>": `The body begins with "<", like HTML or XML; it must be one ` +
			`JSON object.`,
		"<?xml version='1.0'?>": `The body begins with "<", like HTML or XML; it must be one ` +
			`JSON object.`,
		"'" + hello + "'": "The body begins with a single quote, which a shell may have " +
			"left there; it must be one JSON object.",
		"[]":              "The body is a list; it must be one JSON object.",
		"[" + hello + "]": "The body is a list; it must be one JSON object.",
		`"{\"code\":\"1\"}"`: "The body is a string; it must be one JSON object. Perhaps " +
			"it was turned into JSON twice.",
		`"`: "The body begins with a double quote; it must be one JSON " +
			"object.",
		"null":     "The body is null; it must be one JSON object.",
		" true ":   "The body is true; it must be one JSON object.",
		"-1.5e3":   "The body is a number; it must be one JSON object.",
		"print(1)": `The body begins with "p"; it must be one JSON object.`,
		"№1":       `The body begins with "№"; it must be one JSON object.`,
		"}":        `The body begins with "}"; it must be one JSON object.`,
		"\x07\x07{}": "The body begins with the control character U+0007; it must " +
			"be one JSON object.",
		"\xe9t\xe9": "The body is not UTF-8 text; it must be one JSON object.",
	} {
		saysOfJSON(t, body, want)
	}
}

// saysOfJSON fails unless a body is refused as INVALID_JSON with this sentence.
func saysOfJSON(t *testing.T, body, want string) {
	t.Helper()
	_, err := ParseObject("body", []byte(body))
	if f := fault.Of(err); err == nil || f.Code != fault.InvalidJSON || f.Sentence != want {
		t.Errorf("%.80q:\n got %v\nwant %s", body, err, want)
	}
}

func TestAMistakeInJSONIsNamedWithItsPlace(t *testing.T) {
	for body, want := range map[string]string{
		// Quotes
		`{'code':"x"}`:   "line 1, column 2: names of fields are written in double quotes, not in '",
		`{code:"x"}`:     "line 1, column 2: names of fields are written in double quotes",
		`{“code”:"x"}`:   "line 1, column 2: names of fields are written in double quotes, not in “",
		`{"code":'x'}`:   "line 1, column 9: strings are written in double quotes, not in '",
		`{"code":“x”}`:   "line 1, column 9: strings are written in double quotes, not in “",
		"{\"code\":`x`}": "line 1, column 9: strings are written in double quotes, not in `",
		`{"code":print}`: "line 1, column 9: strings are written in double quotes; the only " +
			"words without are true, false and null",
		`{"code":trueish}`: "line 1, column 9: strings are written in double quotes; the only " +
			"words without are true, false and null",
		`{1:"x"}`: "line 1, column 2: names of fields are written in double quotes",
		`{"code":"print("hi")"}`: `line 1, column 17: a comma or } must follow the value of a field, and ` +
			`a double quote in a string is written \"`,
		`{"args":["a"b"]}`: `line 1, column 13: a comma or ] must follow an entry of a list, and a ` +
			`double quote in a string is written \"`,
		// Commas, colons and braces
		`{"code":"x",}`:            "line 1, column 13: remove the comma before this }",
		"{\n  \"code\": \"x\",\n}": "line 3, column 1: remove the comma before this }",
		`{"args":["x",]}`:          "line 1, column 14: remove the comma before this ]",
		`{,"code":"x"}`:            "line 1, column 2: something is missing before this comma",
		`{"code":"x",,"a":1}`:      "line 1, column 13: remove one of these two commas",
		`{"args":[,1]}`:            "line 1, column 10: something is missing before this comma",
		`{"args":[1,,1]}`:          "line 1, column 12: something is missing before this comma",
		`{"code":}`:                "line 1, column 9: the field code has no value",
		`{"env":{"A":,"B":""}}`:    "line 1, column 13: the field env.A has no value",
		`{"code"}`:                 "line 1, column 8: a colon must follow the name of a field",
		`{"code"="x"}`:             "line 1, column 8: a colon must follow the name of a field",
		`{"code":"x";}`: `line 1, column 12: a comma or } must follow the value of a field, and ` +
			`a double quote in a string is written \"`,
		`{"timeout":1 "code":"x"}`: "line 1, column 14: a comma or } must follow the value of a field",
		`{"args":[1 2]}`:           "line 1, column 12: a comma or ] must follow an entry of a list",
		`{"args":[1}`:              "line 1, column 11: a comma or ] must follow an entry of a list",
		`{"env":{1]}`:              "line 1, column 9: names of fields are written in double quotes",
		`{"a":)}`:                  `line 1, column 6: no value begins with ")"`,
		"{\"a\":\x01}":             "line 1, column 6: no value begins with the control character U+0001",
		`{{"code":"x"}}`:           "line 1, column 2: this value has no name, and everything in an object has one",
		// Comments
		`{/* all */"code":"x"}`:     "line 1, column 2: JSON has no comments",
		"{\"code\":\"x\" // all\n}": "line 1, column 13: JSON has no comments",
		"{\"code\": # all\n\"x\"}":  "line 1, column 10: JSON has no comments",
		"{\"args\":[1 /**/]}":       "line 1, column 12: JSON has no comments",
		hello + "// all":            "line 1, column 68: JSON has no comments",
		// Words and numbers
		`{"timeout":NaN}`:       "line 1, column 12: JSON has no NaN",
		`{"timeout":Infinity}`:  "line 1, column 12: JSON has no Infinity",
		`{"timeout":-Infinity}`: "line 1, column 12: JSON has no -Infinity",
		`{"timeout":None}`:      "line 1, column 12: JSON writes null, not None",
		`{"timeout":undefined}`: "line 1, column 12: JSON writes null, not undefined",
		`{"a":True}`:            "line 1, column 6: JSON writes true, not True",
		`{"a":FALSE}`:           "line 1, column 6: JSON writes false, not FALSE",
		`{"timeout":010}`:       "line 1, column 12: a number has no leading zero",
		`{"timeout":-}`:         "line 1, column 12: there is no digit behind this minus",
		`{"timeout":+1}`:        "line 1, column 12: a number begins with a digit or a minus, not with +",
		`{"timeout":.5}`:        "line 1, column 12: a number begins with a digit or a minus, not with .",
		`{"timeout":5.}`:        "line 1, column 12: there is no digit behind the point of this number",
		`{"timeout":5e}`:        "line 1, column 12: there is no digit in the exponent of this number",
		`{"timeout":0x10}`: "line 1, column 12: this is not a number: JSON knows digits, a minus, " +
			"a point and an exponent",
		`{"timeout":1_000}`: "line 1, column 12: this is not a number: JSON knows digits, a minus, " +
			"a point and an exponent",
		`{"timeout":60s}`: "line 1, column 12: this is not a number: JSON knows digits, a minus, " +
			"a point and an exponent",
		`{"timeout":1.2.3}`: "line 1, column 12: this is not a number: JSON knows digits, a minus, " +
			"a point and an exponent",
		// Strings
		"{\"code\":\"a\nb\"}":   `line 1, column 11: a line break in a string is written \n`,
		"{\"code\":\"é\tb\"}":   `line 1, column 11: a tab in a string is written \t`,
		"{\"code\":\"a\r\nb\"}": `line 1, column 11: a carriage return in a string is written \r`,
		"{\"code\":\"a\x1bb\"}": `line 1, column 11: the control character U+001B in a string is written \u001b`,
		"{\"code\":\"a\x00b\"}": `line 1, column 11: the control character U+0000 in a string is written \u0000`,
		`{"code":"\x41"}`: `line 1, column 10: a backslash in a string is written \\, unless one ` +
			`of " \ / b f n r t u is behind it`,
		`{"code":"it\'s"}`: `line 1, column 12: a backslash in a string is written \\, unless one ` +
			`of " \ / b f n r t u is behind it`,
		`{"code":"\u12g4"}`:           `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\u12"}`:             `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\u+123"}`:           `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\ud83d\u12"}`:       `line 1, column 16: four hexadecimal digits must follow \u`,
		"{\"code\":\"a\xffb\"}":       "line 1, column 11: the byte FF does not belong to UTF-8 text",
		"{\"code\":\"\xed\xa0\x80\"}": "line 1, column 10: the byte ED does not belong to UTF-8 text",
		"{\"a\":\xe9}":                "line 1, column 6: the byte E9 does not belong to UTF-8 text",
		"{\"\xe9\":1}":                "line 1, column 3: the byte E9 does not belong to UTF-8 text",
		`{"code":"\ud83d"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"code":"\ude00"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"code":"\ude00\ud83d"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"code":"\ude00\ude00"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"code":"\ud83d\ud83d"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"code":"\ud83dxxxxxxx"}`: "line 1, column 10: this is half of a surrogate pair, and the other " +
			"half is missing",
		`{"\uDC00":1}`: "line 1, column 3: this is half of a surrogate pair, and the other " +
			"half is missing",
		// Twice
		`{"code":"a","code":"b"}`:              "line 1, column 13: the field code is given twice",
		`{"x":1,"x":1}`:                        "line 1, column 8: the field x is given twice",
		`{"code":"a","\u0063ode":"b"}`:         "line 1, column 13: the field code is given twice",
		`{"env":{"A":"1","A":"2"}}`:            "line 1, column 17: the field env.A is given twice",
		`{"files":[{},{"path":"","path":""}]}`: "line 1, column 25: the field files[1].path is given twice",
		`{"x":[[{"y":{}},{"y":{},"y":[]}]]}`:   "line 1, column 25: the field x[0][1].y is given twice",
		`{"x":-1e999,"code":"a","code":"b"}`:   "line 1, column 24: the field code is given twice",
		// The end
		`{`:                              "line 1, column 1: the text ends inside the object that begins here",
		`{"code"`:                        "line 1, column 1: the text ends inside the object that begins here",
		`{"code":`:                       "line 1, column 1: the text ends inside the object that begins here",
		`{"code":"x"`:                    "line 1, column 1: the text ends inside the object that begins here",
		`{"code":"x",`:                   "line 1, column 1: the text ends inside the object that begins here",
		`{"code":"x`:                     "line 1, column 9: the text ends inside the string that begins here",
		`{"code":"x\`:                    "line 1, column 9: the text ends inside the string that begins here",
		`{"code":"x\"}`:                  "line 1, column 9: the text ends inside the string that begins here",
		"{\n\"args\": [1":                "line 2, column 9: the text ends inside the list that begins here",
		`{"args":[`:                      "line 1, column 9: the text ends inside the list that begins here",
		`{"args":[1,`:                    "line 1, column 9: the text ends inside the list that begins here",
		`{"env":{"A":"1"}`:               "line 1, column 1: the text ends inside the object that begins here",
		"{}{}":                           "line 1, column 3: there must be one object, and here another one begins",
		"{}\n{}":                         "line 2, column 1: there must be one object, and here another one begins",
		"{}}":                            "line 1, column 3: there is a } too many",
		"{},":                            "line 1, column 3: there is a comma behind the object",
		"{} x":                           "line 1, column 4: there is something behind the object",
		"{}\x00":                         "line 1, column 3: there is something behind the object",
		nestedLists(33):                  "line 1, column 37: objects and lists may be nested 32 deep and no deeper",
		nestedLists(1_000_000):           "line 1, column 37: objects and lists may be nested 32 deep and no deeper",
		strings.Repeat(`{"x":`, 100_000): "line 1, column 161: objects and lists may be nested 32 deep and no deeper",
	} {
		saysOfJSON(t, body, "The body is not JSON at "+want+".")
	}
	for _, body := range []string{
		nestedLists(32), `{"x":"a","y":"a"}`, `{"a":[{"x":1},{"x":2}]}`,
		`{"x":["x","x"],"y":{"x":1}}`, "{\"a\":\"\u2028\ufffd\ufeff\"}",
	} {
		if _, err := ParseObject("body", []byte(body)); err != nil {
			t.Errorf("%s: got %v; want it accepted", body, err)
		}
	}
}

func TestTheLineAndTheColumnAreInTheDetails(t *testing.T) {
	_, err := ParseObject("body", []byte("{\n \"é\": 1,}"))
	if f := fault.Of(err); f.Details["line"] != 2 || f.Details["column"] != 9 {
		t.Errorf("got %v of %v; want line 2, column 9", err, f.Details)
	}
}

// FuzzCheckJSON checks that an accepted text is JSON, and that a refused text is not, or has one of the forms that are
// refused.
func FuzzCheckJSON(f *testing.F) {
	for _, body := range []string{
		hello, "{}", `{"a":[1,-0.5e+3,true,false,null,{"b":"\u00e9\ud83d\ude00\\\"\/"}],"":{}}`, `{"a":01}`,
		`{"a":1.}`, "{\"a\":\"\t\"}", `{"a":"\x"}`,
		`{"a":tru}`, `{"a" : 1 , }`, `{"a":[1,]}`, `{"a":[[]],"b":{"c":{}}}`,
		"{\"a\":\"\u2028\"}", `{"a":-}`, `{"a":1e5}`, `{"a":"\u12"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := checkJSON("body", body)
		if err == nil {
			if !json.Valid(body) {
				t.Fatalf("accepted %q, which is not JSON", body)
			}
			return
		}
		sentence := fault.Of(err).Sentence
		for _, ours := range []string{
			"surrogate pair", "given twice", "deeper", "UTF-8",
			"it must be one JSON object", "byte order mark", "UTF-16", "UTF-32",
		} {
			if strings.Contains(sentence, ours) {
				return
			}
		}
		if json.Valid(body) {
			t.Fatalf("refused %q, which is JSON: %s", body, sentence)
		}
	})
}
