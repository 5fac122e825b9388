package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

// submissionJSON returns the JSON of the submission that a command line makes, without the idempotency key.
func submissionJSON(t *testing.T, args ...string) (map[string]any, error) {
	t.Helper()
	var cli struct {
		Run runCmd `cmd:""`
	}
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"run", "--token", "t"}, args...)); err != nil {
		return nil, err
	}
	s, err := cli.Run.submission()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	return fields, json.Unmarshal(text, &fields)
}

func TestRunSubmitsTheFilesAndFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, mode := range map[string]os.FileMode{"main.py": 0o600, "data.csv": 0o640, "tool": 0o755, "empty": 0o600} {
		text := name
		if name == "empty" {
			text = ""
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil { // the umask does not apply to Chmod
			t.Fatal(err)
		}
	}
	got, err := submissionJSON(t, "main.py", "--stdin", "data.csv",
		"-f", "./data.csv", "--file", "bin/run=tool", "-f", "empty",
		"--memory", "64MiB", "--cpus", "0.5", "--pids", "9", "--output", "1KiB",
		"--workspace", "w", "--read-only", "--workspace-size", "1MiB",
		"--artifact", "a,b", "--artifact", "out/**", "--artifact-size", "2MiB",
		"--name", "nightly", "--metadata", "a=b", "--", "x", "-v", "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"code": "main.py", "language": "py", "timeout": 3600.0, "args": []any{"x", "-v", ""},
		"name": "nightly", "metadata": map[string]any{"a": "b"},
		"stdin": map[string]any{"base64": "ZGF0YS5jc3Y="},
		"files": []any{
			map[string]any{"path": "data.csv", "base64": "ZGF0YS5jc3Y=", "mode": "640"},
			map[string]any{"path": "bin/run", "base64": "dG9vbA==", "mode": "755"},
			map[string]any{"path": "empty", "base64": "", "mode": "600"},
		},
		"limits": map[string]any{
			"memory": "64MiB", "cpus": 0.5, "pids": 9.0, "output": "1KiB", "workspace": "1MiB", "artifacts": "2MiB",
		},
		"workspace": map[string]any{"name": "w", "read_only": true},
		"artifacts": []any{"a,b", "out/**"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err = submissionJSON(t, "main.py")
	want = map[string]any{"code": "main.py", "language": "py", "timeout": 3600.0}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	for _, wrong := range [][]string{
		{"-"},
		{"-", "-l", "python", "--stdin", "-"},
		{"main.py", "-f", "none"},
		{"main.py", "--stdin", "none"},
		{"main.py", "--read-only"},
		{"main.py", "--timeout", "0"},
	} {
		if got, err := submissionJSON(t, wrong...); err == nil {
			t.Errorf("%q: got %v, want an error", wrong, got)
		}
	}
}
