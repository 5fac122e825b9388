package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/admission"
	"boomerang/internal/fault"
	"boomerang/internal/server"
)

func TestDecodeReadsEveryField(t *testing.T) {
	tests := map[string]struct {
		body string
		want admission.Submission
	}{
		"nothing":            {`{}`, admission.Submission{}},
		"white space around": {" \t\r\n{ } \n", admission.Submission{}},
		"unknown fields":     {`{"CODE":"x","Code":"x","more":{"code":[1,{"a":null}]}}`, admission.Submission{}},
		"null is absent": {
			`{"code":null,"callback_url":null,"language":null,"timeout":null,"working_dir":null,` +
				`"workdir":null,"env":null,"callback_headers":null,"callback_signature_secret":null}`,
			admission.Submission{},
		},
		"code with escapes": {
			`{"code":"a\"\\\n\u00e4\ud83d\ude00\u0000"}`,
			admission.Submission{Code: "a\"\\\nä😀\x00"},
		},
		"an escaped backslash": {
			`{"code":"\\ud800 \\\\ud800"}`, admission.Submission{Code: `\ud800 \\ud800`},
		},
		"an escaped name": {`{"\u0063ode":"x"}`, admission.Submission{Code: "x"}},
		"working_dir":     {`{"working_dir":"/tmp"}`, admission.Submission{WorkingDir: "/tmp"}},
		"workdir":         {`{"workdir":"/tmp"}`, admission.Submission{WorkingDir: "/tmp"}},
		"workdir wins": {
			`{"workdir":"/tmp","working_dir":"/workspace"}`,
			admission.Submission{WorkingDir: "/tmp"},
		},
		"workdir wins from behind": {
			`{"working_dir":"/workspace","workdir":"/tmp"}`,
			admission.Submission{WorkingDir: "/tmp"},
		},
		"workdir is null": {
			`{"working_dir":"/tmp","workdir":null}`,
			admission.Submission{WorkingDir: "/tmp"},
		},
		"env": {
			`{"env":{"A":"1","B":""}}`,
			admission.Submission{Env: map[string]string{"A": "1", "B": ""}},
		},
		"a secret": {
			`{"callback_signature_secret":"s"}`,
			admission.Submission{Secrets: []string{"s"}},
		},
		"no secret": {`{"callback_signature_secret":""}`, admission.Submission{}},
		"secrets": {
			`{"callback_signature_secret":["n\u00e9w", "old"]}`,
			admission.Submission{Secrets: []string{"néw", "old"}},
		},
		"an empty secret": {
			`{"callback_signature_secret":[""]}`,
			admission.Submission{Secrets: []string{""}},
		},
		"a list of no secrets":      {`{"callback_signature_secret":[ ]}`, admission.Submission{}},
		"no variables":              {`{"env":{}}`, admission.Submission{Env: map[string]string{}}},
		"a timeout":                 {`{"timeout":3600}`, admission.Submission{Timeout: 3600}},
		"a whole number with a dot": {`{"timeout":3600.0}`, admission.Submission{Timeout: 3600}},
		"a whole number as a power": {`{"timeout":36e2}`, admission.Submission{Timeout: 3600}},
		"zero":                      {`{"timeout":0}`, admission.Submission{}},
		"minus zero":                {`{"timeout":-0.0}`, admission.Submission{}},
		"a negative number":         {`{"timeout":-1}`, admission.Submission{Timeout: -1}},
		"more than 64 bits":         {`{"timeout":18446744073709551617}`, admission.Submission{Timeout: 1 << 53}},
		"more than a float":         {`{"timeout":1e999}`, admission.Submission{Timeout: 1 << 53}},
		"less than a float":         {`{"timeout":-1e999}`, admission.Submission{Timeout: -1 << 53}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeSubmission([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Body = []byte(test.body)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the submission differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeNamesTheFieldOfAnotherType(t *testing.T) {
	for body, want := range map[string][2]any{
		`{"code":1}`:                                    {"code", nil},
		`{"code":["a"]}`:                                {"code", nil},
		`{"code":{}}`:                                   {"code", nil},
		`{"code":true}`:                                 {"code", nil},
		`{"callback_url":false}`:                        {"callback_url", nil},
		`{"language":3}`:                                {"language", nil},
		`{"working_dir":[]}`:                            {"working_dir", nil},
		`{"workdir":0}`:                                 {"workdir", nil},
		`{"callback_signature_secret":7}`:               {"callback_signature_secret", nil},
		`{"callback_signature_secret":{}}`:              {"callback_signature_secret", nil},
		`{"callback_signature_secret":["a",7]}`:         {"callback_signature_secret[1]", nil},
		`{"callback_signature_secret":["a",null]}`:      {"callback_signature_secret[1]", nil},
		`{"callback_signature_secret":[["a"]]}`:         {"callback_signature_secret[0]", nil},
		`{"timeout":"60"}`:                              {"timeout", nil},
		`{"timeout":1.5}`:                               {"timeout", nil},
		`{"timeout":1e-1}`:                              {"timeout", nil},
		`{"timeout":true}`:                              {"timeout", nil},
		`{"timeout":[60]}`:                              {"timeout", nil},
		`{"timeout":{}}`:                                {"timeout", nil},
		`{"env":"A=1"}`:                                 {"env", nil},
		`{"env":["A=1"]}`:                               {"env", nil},
		`{"env":{"A":"1","B":2}}`:                       {"env", "B"},
		`{"env":{"B":1,"A":2}}`:                         {"env", "A"},
		`{"env":{"A":null}}`:                            {"env", "A"},
		`{"env":{"A":{"B":"1"}}}`:                       {"env", "A"},
		`{"env":{"` + strings.Repeat("ä", 99) + `":1}}`: {"env", strings.Repeat("ä", 32) + "…"},
		`{"callback_headers":{"X-A":["b"]}}`:            {"callback_headers", "X-A"},
		`{"code":1,"timeout":"x"}`:                      {"code", nil},
	} {
		_, err := DecodeSubmission([]byte(body))
		f := fault.Of(err)
		if err == nil || f.Code != fault.InvalidRequest || f.Details["field"] != want[0] ||
			f.Details["key"] != want[1] {
			t.Errorf("%s: got %v of %v; want INVALID_REQUEST of %v", body, err, f.Details, want)
		}
	}
}

// FuzzDecode checks that encoding/json reads an accepted text alike, and that all its strings are valid UTF-8.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("../httpapi/testdata/page-*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, body := range []string{
		`{"args":["a","\u00e4"],"stdin":{"base64":"AP8="},"network":"none","metadata":{"a":"b"}}`,
		`{"stdin":"in","limits":{"memory":"1.5GiB","cpus":0.5,"pids":1e1}}`,
		`{"files":[{"path":"a","text":"x"},{"path":"b","base64":"AP8=","mode":"755"},{"path":"c",` +
			`"url":"https://a.example"}]}`, `{"limits":{"memory":"999999999GiB","output":1e999}}`,
		`{"code":"print('hello')","callback_url":"https://example.com/hook"}`,
		`{"callback_signature_secret":["a","\ud83d\ude00"]}`, `{"env":{"A":"\ud83d\ude00"},"timeout":1e3}`,
		`{"a":1,"a":2}`, `{"x":[[[{}]]]}`, `{"code":"\\ud800\ud800"}`, `[]`, "{}{}",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := DecodeSubmission(body)
		if err != nil {
			if f := fault.Of(err); server.StatusOf(f.Code) != http.StatusBadRequest {
				t.Fatalf("got %v; want a fault of the request", err)
			}
			return
		}
		var v map[string]any
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber() // a float64 does not hold 1e999
		if err := d.Decode(&v); err != nil {
			t.Fatalf("accepted %q, which encoding/json refuses: %v", body, err)
		}
		for name, got := range map[string]string{
			"code": s.Code, "callback_url": s.CallbackURL, "language": s.Language, "network": s.Network,
		} {
			if want, _ := v[name].(string); got != want || !utf8.ValidString(got) {
				t.Fatalf("%s of %q is %q; want %q", name, body, got, want)
			}
		}
		var secrets []any
		switch value := v["callback_signature_secret"].(type) {
		case string:
			if value != "" {
				secrets = []any{value}
			}
		case []any:
			secrets = value
		}
		if fmt.Sprintf("%q", s.Secrets) != fmt.Sprintf("%q", secrets) {
			t.Fatalf("callback_signature_secret of %q is %q; want %q", body, s.Secrets, secrets)
		}
		for name, got := range map[string]map[string]string{
			"env": s.Env, "callback_headers": s.CallbackHeaders,
			"metadata": s.Metadata,
		} {
			want := map[string]string{}
			entries, _ := v[name].(map[string]any)
			for key, value := range entries {
				want[key] = fmt.Sprint(value)
			}
			if !maps.Equal(got, want) {
				t.Fatalf("%s of %q is %v; want %v", name, body, got, want)
			}
		}
		checkInput(t, v, s)
		number, _ := v["timeout"].(json.Number)
		if want, _ := number.Float64(); want != float64(s.Timeout) && s.Timeout != 1<<53 && s.Timeout != -1<<53 {
			t.Fatalf("timeout of %q is %d; want %v", body, s.Timeout, want)
		}
	})
}
