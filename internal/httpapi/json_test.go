package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"boomerang/internal/fault"
)

// nested is an object with lists in it, n levels in all.
func nestedLists(n int) string {
	return `{"x":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
}

func TestABodyThatIsSomethingElseIsCalledWhatItIs(t *testing.T) {
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
		"":                              "The body is empty; it must be one JSON object.",
		" \t\r\n":                       "The body is empty; it must be one JSON object.",
		"\ufeff" + hello:                "The body begins with a byte order mark (the bytes EF BB BF); send the JSON without it.",
		"\ufeff":                        "The body begins with a byte order mark (the bytes EF BB BF); send the JSON without it.",
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
		"code=print(1)&callback_url=https%3A%2F%2Fexample.com": "The body looks like a form (name=value); it must be one JSON object.",
		"env[A]=1": "The body looks like a form (name=value); it must be one JSON object.",
		"--boundary\r\nContent-Disposition: form-data": "The body looks like a multipart form; it must be one JSON object.",
		"<!DOCTYPE html><html></html>":                 `The body begins with "<", like HTML or XML; it must be one JSON object.`,
		"<?xml version='1.0'?>":                        `The body begins with "<", like HTML or XML; it must be one JSON object.`,
		"'" + hello + "'":                              "The body begins with a single quote, which a shell may have left there; it must be one JSON object.",
		"[]":                                           "The body is a list; it must be one JSON object.",
		"[" + hello + "]":                              "The body is a list; it must be one JSON object.",
		`"{\"code\":\"1\"}"`:                           "The body is a string; it must be one JSON object. Perhaps it was turned into JSON twice.",
		`"`:                                            "The body begins with a double quote; it must be one JSON object.",
		"null":                                         "The body is null; it must be one JSON object.",
		" true ":                                       "The body is true; it must be one JSON object.",
		"-1.5e3":                                       "The body is a number; it must be one JSON object.",
		"print(1)":                                     `The body begins with "p"; it must be one JSON object.`,
		"№1":                                           `The body begins with "№"; it must be one JSON object.`,
		"}":                                            `The body begins with "}"; it must be one JSON object.`,
		"\x07\x07{}":                                   "The body begins with the control character U+0007; it must be one JSON object.",
		"\xe9t\xe9":                                    "The body is not UTF-8 text; it must be one JSON object.",
	} {
		saysOfJSON(t, body, want)
	}
}

// saysOfJSON fails unless a body is refused as INVALID_JSON with this sentence.
func saysOfJSON(t *testing.T, body, want string) {
	t.Helper()
	_, err := decodeSubmission([]byte(body))
	if f := fault.Of(err); err == nil || f.Code != fault.InvalidJSON || f.Sentence != want {
		t.Errorf("%.80q:\n got %v\nwant %s", body, err, want)
	}
}

func TestWhatIsWrongWithJSONIsSaidAndWhere(t *testing.T) {
	for body, want := range map[string]string{
		// Quotes
		`{'code':"x"}`:           "line 1, column 2: names of fields are written in double quotes, not in '",
		`{code:"x"}`:             "line 1, column 2: names of fields are written in double quotes",
		`{“code”:"x"}`:           "line 1, column 2: names of fields are written in double quotes, not in “",
		`{"code":'x'}`:           "line 1, column 9: strings are written in double quotes, not in '",
		`{"code":“x”}`:           "line 1, column 9: strings are written in double quotes, not in “",
		"{\"code\":`x`}":         "line 1, column 9: strings are written in double quotes, not in `",
		`{"code":print}`:         "line 1, column 9: strings are written in double quotes; the only words without are true, false and null",
		`{"code":trueish}`:       "line 1, column 9: strings are written in double quotes; the only words without are true, false and null",
		`{1:"x"}`:                "line 1, column 2: names of fields are written in double quotes",
		`{"code":"print("hi")"}`: `line 1, column 17: a comma or } must follow the value of a field, and a double quote in a string is written \"`,
		`{"args":["a"b"]}`:       `line 1, column 13: a comma or ] must follow an entry of a list, and a double quote in a string is written \"`,
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
		`{"code":"x";}`:            `line 1, column 12: a comma or } must follow the value of a field, and a double quote in a string is written \"`,
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
		`{"timeout":0x10}`:      "line 1, column 12: this is not a number: JSON knows digits, a minus, a point and an exponent",
		`{"timeout":1_000}`:     "line 1, column 12: this is not a number: JSON knows digits, a minus, a point and an exponent",
		`{"timeout":60s}`:       "line 1, column 12: this is not a number: JSON knows digits, a minus, a point and an exponent",
		`{"timeout":1.2.3}`:     "line 1, column 12: this is not a number: JSON knows digits, a minus, a point and an exponent",
		// Strings
		"{\"code\":\"a\nb\"}":         `line 1, column 11: a line break in a string is written \n`,
		"{\"code\":\"é\tb\"}":         `line 1, column 11: a tab in a string is written \t`,
		"{\"code\":\"a\r\nb\"}":       `line 1, column 11: a carriage return in a string is written \r`,
		"{\"code\":\"a\x1bb\"}":       `line 1, column 11: the control character U+001B in a string is written \u001b`,
		"{\"code\":\"a\x00b\"}":       `line 1, column 11: the control character U+0000 in a string is written \u0000`,
		`{"code":"\x41"}`:             `line 1, column 10: a backslash in a string is written \\, unless one of " \ / b f n r t u is behind it`,
		`{"code":"it\'s"}`:            `line 1, column 12: a backslash in a string is written \\, unless one of " \ / b f n r t u is behind it`,
		`{"code":"\u12g4"}`:           `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\u12"}`:             `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\u+123"}`:           `line 1, column 10: four hexadecimal digits must follow \u`,
		`{"code":"\ud83d\u12"}`:       `line 1, column 16: four hexadecimal digits must follow \u`,
		"{\"code\":\"a\xffb\"}":       "line 1, column 11: the byte FF does not belong to UTF-8 text",
		"{\"code\":\"\xed\xa0\x80\"}": "line 1, column 10: the byte ED does not belong to UTF-8 text",
		"{\"a\":\xe9}":                "line 1, column 6: the byte E9 does not belong to UTF-8 text",
		"{\"\xe9\":1}":                "line 1, column 3: the byte E9 does not belong to UTF-8 text",
		`{"code":"\ud83d"}`:           "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"code":"\ude00"}`:           "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"code":"\ude00\ud83d"}`:     "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"code":"\ude00\ude00"}`:     "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"code":"\ud83d\ud83d"}`:     "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"code":"\ud83dxxxxxxx"}`:    "line 1, column 10: this is half of a surrogate pair, and the other half is missing",
		`{"\uDC00":1}`:                "line 1, column 3: this is half of a surrogate pair, and the other half is missing",
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
	for _, body := range []string{nestedLists(32), `{"x":"a","y":"a"}`, `{"a":[{"x":1},{"x":2}]}`, `{"x":["x","x"],"y":{"x":1}}`, "{\"a\":\"\u2028\ufffd\ufeff\"}"} {
		if _, err := decodeSubmission([]byte(body)); err != nil {
			t.Errorf("%s: got %v; want it accepted", body, err)
		}
	}
}

func TestTheLineAndTheColumnAreInTheDetails(t *testing.T) {
	_, err := decodeSubmission([]byte("{\n \"é\": 1,}"))
	if f := fault.Of(err); f.Details["line"] != 2 || f.Details["column"] != 9 {
		t.Errorf("got %v of %v; want line 2, column 9", err, f.Details)
	}
}

func TestASecretIsNotSaidBack(t *testing.T) {
	for _, body := range []string{
		`{"callback_signature_secret":hush}`, `{"callback_signature_secret":'hush'}`, `{"env":{"A":hush"}}`, `{"env":["hush"]}`,
		`{"callback_signature_secret":{"hush":1}}`, `{"args":[["hush"]]}`, `hush`, `{"env":{"A":{"hush":1}}}`, `{"code":"hush`,
	} {
		if _, err := decodeSubmission([]byte(body)); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

func TestAFrameIsCalledAFrame(t *testing.T) {
	for frame, want := range map[string]string{
		"":            "The frame is empty; it must be one JSON object.",
		"\ufeff{}":    "The frame begins with a byte order mark (the bytes EF BB BF); send the JSON without it.",
		`{"type":"x}`: "The frame is not JSON at line 1, column 9: the text ends inside the string that begins here.",
	} {
		if _, err := decodeFrame([]byte(frame)); fault.Of(err).Sentence != want {
			t.Errorf("%q: got %v; want %s", frame, err, want)
		}
	}
}

func TestTheTypeThatAFieldMustHaveIsSaid(t *testing.T) {
	for body, want := range map[string][2]string{
		`{"code":1}`:                            {"code", "code must be a string, not a number."},
		`{"code":["a"]}`:                        {"code", "code must be a string, not a list."},
		`{"code":{}}`:                           {"code", "code must be a string, not an object."},
		`{"code":true}`:                         {"code", "code must be a string, not true."},
		`{"timeout":"60"}`:                      {"timeout", "timeout must be a whole number of seconds, not a string."},
		`{"timeout":1.5}`:                       {"timeout", "timeout must be a whole number of seconds, not 1.5."},
		`{"timeout":1e-1}`:                      {"timeout", "timeout must be a whole number of seconds, not 1e-1."},
		`{"timeout":false}`:                     {"timeout", "timeout must be a whole number of seconds, not false."},
		`{"timeout":[60]}`:                      {"timeout", "timeout must be a whole number of seconds, not a list."},
		`{"env":"A=1"}`:                         {"env", "env must be an object of strings, not a string."},
		`{"env":["A=1"]}`:                       {"env", "env must be an object of strings, not a list."},
		`{"env":{"A":1}}`:                       {"env", `env must be an object of strings, and the value of "A" is a number.`},
		`{"env":{"A":null}}`:                    {"env", `env must be an object of strings, and the value of "A" is null.`},
		`{"args":"-x"}`:                         {"args", "args must be a list of strings, not a string."},
		`{"args":{}}`:                           {"args", "args must be a list of strings, not an object."},
		`{"args":["a",1]}`:                      {"args[1]", "args[1] must be a string, not a number."},
		`{"args":["a",null]}`:                   {"args[1]", "args[1] must be a string, not null."},
		`{"artifacts":[["a"]]}`:                 {"artifacts[0]", "artifacts[0] must be a string, not a list."},
		`{"callback_signature_secret":7}`:       {"callback_signature_secret", "callback_signature_secret must be a string or a list of strings, not a number."},
		`{"callback_signature_secret":["a",7]}`: {"callback_signature_secret[1]", "callback_signature_secret[1] must be a string, not a number."},
		`{"stdin":1}`:                           {"stdin", `stdin must be a string, {"text": …} or {"base64": …}, not a number.`},
		`{"stdin":{}}`:                          {"stdin", "stdin must have exactly one of text and base64."},
		`{"stdin":{"text":1}}`:                  {"stdin.text", "stdin.text must be a string, not a number."},
		`{"stdin":{"base64":"AP8"}}`:            {"stdin.base64", "stdin.base64 must be base64 with its padding."},
		`{"files":{}}`:                          {"files", "files must be a list of files, not an object."},
		`{"files":["a"]}`:                       {"files[0]", "files[0] must be an object with a path and one of text, base64 and url, not a string."},
		`{"files":[{"path":"a"}]}`:              {"files[0]", "files[0] must have exactly one of text, base64 and url."},
		`{"files":[{"path":"a","text":""},{"path":1,"text":""}]}`: {"files[1].path", "files[1].path must be a string, not a number."},
		`{"files":[{"path":"a","text":"","mode":493}]}`:           {"files[0].mode", `files[0].mode must be a string of three or four octal digits, like "755".`},
		`{"limits":"1GiB"}`:                            {"limits", "limits must be an object, not a string."},
		`{"limits":{"cpus":"1"}}`:                      {"limits.cpus", "limits.cpus must be a number, not a string."},
		`{"limits":{"pids":1.5}}`:                      {"limits.pids", "limits.pids must be a whole number, not 1.5."},
		`{"limits":{"memory":true}}`:                   {"limits.memory", "limits.memory must be a whole number of bytes or a size such as 256MiB, not true."},
		`{"limits":{"memory":"256MB"}}`:                {"limits.memory", "limits.memory must be a whole number of bytes or a size such as 256MiB."},
		`{"limits":{"memory":1.5}}`:                    {"limits.memory", "limits.memory must be a whole number of bytes or a size such as 256MiB, not 1.5."},
		`{"workspace":1}`:                              {"workspace", `workspace must be a string or {"name": …, "read_only": …}, not a number.`},
		`{"workspace":{}}`:                             {"workspace.name", "workspace.name is required."},
		`{"workspace":{"name":"a","read_only":"yes"}}`: {"workspace.read_only", "workspace.read_only must be true or false, not a string."},
	} {
		_, err := decodeSubmission([]byte(body))
		if f := fault.Of(err); err == nil || f.Code != fault.InvalidRequest || f.Details["field"] != want[0] || f.Sentence != want[1] {
			t.Errorf("%s:\n got %v of %v\nwant %s of %s", body, err, f.Details, want[1], want[0])
		}
	}
	for body, want := range map[string]string{
		`{"executions":{}}`:                       "executions must be a list of objects, not an object.",
		`{"executions":[{},"x"]}`:                 "executions[1] must be an object, not a string.",
		`{"executions":[{"args":[1]}]}`:           "executions[0].args[0] must be a string, not a number.",
		`{"executions":[{"limits":{"cpus":[]}}]}`: "executions[0].limits.cpus must be a number, not a list.",
	} {
		if _, err := decodeBatch([]byte(body)); fault.Of(err).Sentence != want {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
}

func TestAContentTypeThatIsNotJSONIsNamed(t *testing.T) {
	h := open(t)
	for headers, want := range map[string]string{
		"": "The request has no Content-Type; it must be application/json.",
		"Content-Type: application/x-www-form-urlencoded": "The Content-Type must be application/json, not application/x-www-form-urlencoded, which is what curl sends unless told otherwise.",
		"Content-Type: text/plain; charset=utf-8":         `The Content-Type must be application/json, not "text/plain; charset=utf-8".`,
		"Content-Type: application/json; charset":         `The Content-Type must be application/json, not "application/json; charset".`,
		"Content-Type: JSON":                              `The Content-Type must be application/json, not "JSON".`,
		asJSON + "|Content-Encoding: gzip":                `The body must be sent as it is, and its Content-Encoding is "gzip".`,
	} {
		var lines []string
		if headers != "" {
			lines = strings.Split(headers, "|")
		}
		a := h.call("POST", "/execute/async", h.ann, hello, lines...)
		if message := a.json(t)["message"]; a.status != 415 || a.json(t)["code"] != "UNSUPPORTED_MEDIA_TYPE" || message != want {
			t.Errorf("%s:\n got %d %v\nwant %s", headers, a.status, message, want)
		}
	}
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON"} {
		if a := h.call("POST", "/execute/async", h.ann, hello, "Content-Type: "+kind); a.status != 200 {
			t.Errorf("%s: got %d %s", kind, a.status, a.body)
		}
	}
}

func TestANumberThatIsTooLargeIsRefusedWithItsBounds(t *testing.T) {
	h := open(t)
	for value, want := range map[string]string{
		`"timeout":1e400`:                        "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"timeout":18446744073709551616`:         "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"timeout":-1`:                           "timeout must be between 1 and 86400 seconds; 0 stands for 3600.",
		`"limits":{"memory":1e400}`:              "limits.memory must be between 16777216 and 536870912 bytes for this language.",
		`"limits":{"cpus":1e400}`:                "limits.cpus must be between 0.01 and 1 CPUs for this language.",
		`"limits":{"pids":99999999999999999999}`: "limits.pids must be between 1 and 128 processes for this language.",
	} {
		a := h.call("POST", "/execute/async", h.ann, `{"code":"1","callback_url":"https://example.com/",`+value+`}`, asJSON)
		message := fmt.Sprint(a.json(t)["message"])
		if a.status != 400 || message != want {
			t.Errorf("%s: got %d %s; want %s", value, a.status, message, want)
		}
	}
}

// FuzzCheckJSON: what is accepted is JSON, and what is refused is not, or is what we do not take.
func FuzzCheckJSON(f *testing.F) {
	for _, body := range []string{
		hello, "{}", `{"a":[1,-0.5e+3,true,false,null,{"b":"\u00e9\ud83d\ude00\\\"\/"}],"":{}}`, `{"a":01}`, `{"a":1.}`, "{\"a\":\"\t\"}", `{"a":"\x"}`,
		`{"a":tru}`, `{"a" : 1 , }`, `{"a":[1,]}`, `{"a":[[]],"b":{"c":{}}}`, "{\"a\":\"\u2028\"}", `{"a":-}`, `{"a":1e5}`, `{"a":"\u12"}`,
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
		for _, ours := range []string{"surrogate pair", "given twice", "deeper", "UTF-8", "it must be one JSON object", "byte order mark", "UTF-16", "UTF-32"} {
			if strings.Contains(sentence, ours) {
				return
			}
		}
		if json.Valid(body) {
			t.Fatalf("refused %q, which is JSON: %s", body, sentence)
		}
	})
}
