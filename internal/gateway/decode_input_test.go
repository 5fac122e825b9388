package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/admission"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func TestDecodeReadsTheInput(t *testing.T) {
	file := func(f admission.File) admission.Submission { return admission.Submission{Files: []admission.File{f}} }
	limits := func(l execution.Limits) admission.Submission { return admission.Submission{Limits: l} }
	for body, want := range map[string]admission.Submission{
		`{"args":null,"stdin":null,"files":null,"limits":null,"metadata":null,"network":null}`: {},
		`{"args":[],"stdin":"","files":[],"limits":{},"metadata":{},"network":""}`:             {},
		`{"args":["-x","","\u00e4"]}`:            {Args: []string{"-x", "", "ä"}},
		`{"stdin":"in\n\u0000"}`:                 {Stdin: []byte("in\n\x00")},
		`{"stdin":{"text":"in","base64":null}}`:  {Stdin: []byte("in")},
		`{"stdin":{"base64":"AP8="}}`:            {Stdin: []byte{0, 0xff}},
		`{"stdin":{"base64":"AP\n8=","more":1}}`: {Stdin: []byte{0, 0xff}},
		`{"files":[{"path":"a","text":"x"}]}`:    file(admission.File{Path: "a", Content: []byte("x")}),
		`{"files":[{"path":"a","text":""}]}`:     file(admission.File{Path: "a"}),
		`{"files":[{"text":"x","path":null}]}`:   file(admission.File{Content: []byte("x")}),
		`{"files":[{"path":"a","base64":"AP8=","mode":"0755"}]}`: file(admission.File{
			Path:    "a",
			Content: []byte{0, 0xff}, Mode: 0o755,
		}),
		`{"files":[{"path":"a","url":"https://a.example","mode":"600"}]}`: file(
			admission.File{Path: "a", URL: "https://a.example", Mode: 0o600}),
		`{"files":[{"path":"a","text":"x","mode":"4755"}]}`: file(admission.File{
			Path: "a", Content: []byte("x"),
			Mode: 0o4755,
		}),
		`{"limits":{"memory":268435456,"cpus":0.5,"pids":16,"output":1e3,"workspace":"64KiB","more":1}}`: limits(
			execution.Limits{Memory: 256 << 20, CPUs: 0.5, PIDs: 16, Output: 1000, Workspace: 64 << 10}),
		`{"limits":{"memory":"1.5GiB","output":"10B"}}`: limits(execution.Limits{Memory: 3 << 29, Output: 10}),
		`{"limits":{"memory":-1,"pids":-1}}`:            limits(execution.Limits{Memory: -1, PIDs: -1}),
		`{"limits":{"memory":"999999999GiB"}}`:          limits(execution.Limits{Memory: 999999999 << 30}),
		`{"artifacts":["a","**"],"limits":{"artifacts":"1KiB"}}`: {
			Artifacts: []string{"a", "**"},
			Limits:    execution.Limits{Artifacts: 1024},
		},
		`{"metadata":{"a":"b"},"network":"none"}`: {
			Metadata: map[string]string{"a": "b"},
			Network:  "none",
		},
	} {
		got, err := DecodeSubmission([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		want.Body = []byte(body)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
}

func TestDecodeNamesThePartOfTheInput(t *testing.T) {
	for body, field := range map[string]string{
		`{"args":"-x"}`:                                     "args",
		`{"args":["a",1]}`:                                  "args[1]",
		`{"args":["a",null]}`:                               "args[1]",
		`{"stdin":1}`:                                       "stdin",
		`{"stdin":["a"]}`:                                   "stdin",
		`{"stdin":{}}`:                                      "stdin",
		`{"stdin":{"text":"a","base64":"AP8="}}`:            "stdin",
		`{"stdin":{"text":1}}`:                              "stdin.text",
		`{"stdin":{"base64":"AP8"}}`:                        "stdin.base64",
		`{"stdin":{"base64":"AP9="}}`:                       "stdin.base64", // bits that are thrown away
		`{"stdin":{"base64":"_w=="}}`:                       "stdin.base64",
		`{"files":{}}`:                                      "files",
		`{"artifacts":"a"}`:                                 "artifacts",
		`{"artifacts":["a",1]}`:                             "artifacts[1]",
		`{"limits":{"artifacts":"much"}}`:                   "limits.artifacts",
		`{"files":["a"]}`:                                   "files[0]",
		`{"files":[null]}`:                                  "files[0]",
		`{"files":[{"path":"a"}]}`:                          "files[0]",
		`{"files":[{"path":"a","text":"","url":"b"}]}`:      "files[0]",
		`{"files":[{"path":"a","text":""},{"path":1}]}`:     "files[1]",
		`{"files":[{"path":1,"text":""}]}`:                  "files[0].path",
		`{"files":[{"path":"a","text":1}]}`:                 "files[0].text",
		`{"files":[{"path":"a","base64":"?"}]}`:             "files[0].base64",
		`{"files":[{"path":"a","url":""}]}`:                 "files[0].url",
		`{"files":[{"path":"a","text":"","mode":493}]}`:     "files[0].mode",
		`{"files":[{"path":"a","text":"","mode":"789"}]}`:   "files[0].mode",
		`{"files":[{"path":"a","text":"","mode":"000"}]}`:   "files[0].mode",
		`{"files":[{"path":"a","text":"","mode":"07777"}]}`: "files[0].mode",
		`{"limits":[]}`:                                     "limits",
		`{"limits":"1GiB"}`:                                 "limits",
		`{"limits":{"memory":1.5}}`:                         "limits.memory",
		`{"limits":{"memory":"256"}}`:                       "limits.memory",
		`{"limits":{"memory":"256MB"}}`:                     "limits.memory",
		`{"limits":{"memory":"-1MiB"}}`:                     "limits.memory",
		`{"limits":{"memory":"9999999999GiB"}}`:             "limits.memory",
		`{"limits":{"memory":true}}`:                        "limits.memory",
		`{"limits":{"cpus":"1"}}`:                           "limits.cpus",
		`{"limits":{"pids":1.5}}`:                           "limits.pids",
		`{"limits":{"output":{}}}`:                          "limits.output",
		`{"metadata":{"a":1}}`:                              "metadata",
		`{"metadata":[]}`:                                   "metadata",
		`{"network":[]}`:                                    "network",
	} {
		_, err := DecodeSubmission([]byte(body))
		f := fault.Of(err)
		if err == nil || f.Code != fault.InvalidRequest || f.Details["field"] != field ||
			!strings.HasPrefix(f.Sentence, field+" ") {
			t.Errorf("%s: got %v of %v; want INVALID_REQUEST of %s", body, err, f.Details, field)
		}
	}
}

// checkInput compares args, stdin, files and limits of a submission with the JSON as encoding/json reads it.
func checkInput(t *testing.T, v map[string]any, s admission.Submission) {
	t.Helper()
	args, _ := v["args"].([]any)
	if fmt.Sprintf("%q", args) != fmt.Sprintf("%q", s.Args) {
		t.Fatalf("args of %q are %q", v["args"], s.Args)
	}
	if got := string(s.Stdin); got != bytesOf(t, v["stdin"]) {
		t.Fatalf("stdin of %q is %q", v["stdin"], got)
	}
	files, _ := v["files"].([]any)
	if len(files) != len(s.Files) {
		t.Fatalf("files of %q are %v", files, s.Files)
	}
	for i, f := range s.Files {
		entry, _ := files[i].(map[string]any)
		path, _ := entry["path"].(string)
		url, _ := entry["url"].(string)
		if f.Path != path || f.URL != url || string(f.Content) != bytesOf(t, entry) || f.Mode > 0o7777 {
			t.Fatalf("file %q is %v", entry, f)
		}
	}
	limits, _ := v["limits"].(map[string]any)
	for name, got := range map[string]int64{
		"memory": s.Limits.Memory, "output": s.Limits.Output,
		"workspace": s.Limits.Workspace, "pids": s.Limits.PIDs,
	} {
		switch want := limits[name].(type) {
		case nil:
			if got != 0 {
				t.Fatalf("limits.%s is %d and was not given", name, got)
			}
		case json.Number:
			if n, _ := want.Float64(); n != float64(got) && got != 1<<53 && got != -1<<53 {
				t.Fatalf("limits.%s of %s is %d", name, want, got)
			}
		case string:
			if got < 0 {
				t.Fatalf("limits.%s of %q is %d", name, want, got)
			}
		}
	}
}

func bytesOf(t *testing.T, v any) string {
	t.Helper()
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if text, ok := v["text"].(string); ok {
			return text
		}
		encoded, _ := v["base64"].(string)
		content, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	return ""
}
