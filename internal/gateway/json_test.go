package gateway

import (
	"strings"
	"testing"

	"boomerang/internal/fault"
)

func TestTheTypeThatAFieldMustHaveIsSaid(t *testing.T) {
	for body, want := range map[string][2]string{
		`{"code":1}`:     {"code", "code must be a string, not a number."},
		`{"code":["a"]}`: {"code", "code must be a string, not a list."},
		`{"code":{}}`:    {"code", "code must be a string, not an object."},
		`{"code":true}`:  {"code", "code must be a string, not true."},
		`{"timeout":"60"}`: {
			"timeout",
			"timeout must be a whole number of seconds, not a string.",
		},
		`{"timeout":1.5}`:   {"timeout", "timeout must be a whole number of seconds, not 1.5."},
		`{"timeout":1e-1}`:  {"timeout", "timeout must be a whole number of seconds, not 1e-1."},
		`{"timeout":false}`: {"timeout", "timeout must be a whole number of seconds, not false."},
		`{"timeout":[60]}`:  {"timeout", "timeout must be a whole number of seconds, not a list."},
		`{"env":"A=1"}`:     {"env", "env must be an object of strings, not a string."},
		`{"env":["A=1"]}`:   {"env", "env must be an object of strings, not a list."},
		`{"env":{"A":1}}`: {
			"env",
			`env must be an object of strings, and the value of "A" is a number.`,
		},
		`{"env":{"A":null}}`: {
			"env",
			`env must be an object of strings, and the value of "A" is null.`,
		},
		`{"args":"-x"}`:         {"args", "args must be a list of strings, not a string."},
		`{"args":{}}`:           {"args", "args must be a list of strings, not an object."},
		`{"args":["a",1]}`:      {"args[1]", "args[1] must be a string, not a number."},
		`{"args":["a",null]}`:   {"args[1]", "args[1] must be a string, not null."},
		`{"artifacts":[["a"]]}`: {"artifacts[0]", "artifacts[0] must be a string, not a list."},
		`{"callback_signature_secret":7}`: {
			"callback_signature_secret",
			"callback_signature_secret must be a string or a list of strings, not a number.",
		},
		`{"callback_signature_secret":["a",7]}`: {
			"callback_signature_secret[1]",
			"callback_signature_secret[1] must be a string, not a number.",
		},
		`{"stdin":1}`: {
			"stdin",
			`stdin must be a string, {"text": …} or {"base64": …}, not a number.`,
		},
		`{"stdin":{}}`:               {"stdin", "stdin must have exactly one of text and base64."},
		`{"stdin":{"text":1}}`:       {"stdin.text", "stdin.text must be a string, not a number."},
		`{"stdin":{"base64":"AP8"}}`: {"stdin.base64", "stdin.base64 must be base64 with its padding."},
		`{"files":{}}`:               {"files", "files must be a list of files, not an object."},
		`{"files":["a"]}`: {
			"files[0]",
			"files[0] must be an object with a path and one of text, base64 and url, not a string.",
		},
		`{"files":[{"path":"a"}]}`: {
			"files[0]",
			"files[0] must have exactly one of text, base64 and url.",
		},
		`{"files":[{"path":"a","text":""},{"path":1,"text":""}]}`: {
			"files[1].path",
			"files[1].path must be a string, not a number.",
		},
		`{"files":[{"path":"a","text":"","mode":493}]}`: {
			"files[0].mode",
			`files[0].mode must be a string of three or four octal digits, like "755".`,
		},
		`{"limits":"1GiB"}`:       {"limits", "limits must be an object, not a string."},
		`{"limits":{"cpus":"1"}}`: {"limits.cpus", "limits.cpus must be a number, not a string."},
		`{"limits":{"pids":1.5}}`: {"limits.pids", "limits.pids must be a whole number, not 1.5."},
		`{"limits":{"memory":true}}`: {
			"limits.memory",
			"limits.memory must be a whole number of bytes or a size such as 256MiB, not true.",
		},
		`{"limits":{"memory":"256MB"}}`: {
			"limits.memory",
			"limits.memory must be a whole number of bytes or a size such as 256MiB.",
		},
		`{"limits":{"memory":1.5}}`: {
			"limits.memory",
			"limits.memory must be a whole number of bytes or a size such as 256MiB, not 1.5.",
		},
		`{"workspace":1}`: {
			"workspace",
			`workspace must be a string or {"name": …, "read_only": …}, not a number.`,
		},
		`{"workspace":{}}`: {"workspace.name", "workspace.name is required."},
		`{"workspace":{"name":"a","read_only":"yes"}}`: {
			"workspace.read_only",
			"workspace.read_only must be true or false, not a string.",
		},
	} {
		_, err := DecodeSubmission([]byte(body))
		if f := fault.Of(err); err == nil || f.Code != fault.InvalidRequest || f.Details["field"] != want[0] ||
			f.Sentence != want[1] {
			t.Errorf("%s:\n got %v of %v\nwant %s of %s", body, err, f.Details, want[1], want[0])
		}
	}
}

func TestASecretIsNotSaidBack(t *testing.T) {
	for _, body := range []string{
		`{"callback_signature_secret":hush}`, `{"callback_signature_secret":'hush'}`, `{"env":{"A":hush"}}`,
		`{"env":["hush"]}`,
		`{"callback_signature_secret":{"hush":1}}`, `{"args":[["hush"]]}`, `hush`, `{"env":{"A":{"hush":1}}}`,
		`{"code":"hush`,
	} {
		if _, err := DecodeSubmission([]byte(body)); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v", body, err)
		}
	}
}
