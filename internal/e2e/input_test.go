//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/address"
	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// inputsProgram prints its inputs.
const inputsProgram = `
import os, sys
print(sys.argv[1:])
print(os.getcwd(), sys.stdin.buffer.read())
for path in ["data/in.csv", "bin/tool", "fetched"]:
    print(path, oct(os.stat(path).st_mode & 0o777), open(path, "rb").read())
os.system("bin/tool")
v = os.statvfs("/workspace")
print(v.f_blocks * v.f_frsize)
sys.stdout.flush()
bytearray(64 << 20)
`

func TestAllInputsReachTheProgram(t *testing.T) {
	shelf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("from afar"))
	}))
	t.Cleanup(shelf.Close)
	h := newHarness(t, func(c *config.Config) {
		c.Admission.Files.URL = true
		c.Admission.Files.URLAllowCIDRs = []address.Range{address.MustParseRange("127.0.0.0/8")}
	})
	tool := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho the tool ran\n"))
	given := fields{
		"name": "nightly", "metadata": map[string]string{"ticket": "4711"}, "network": "none",
		"working_dir": "/workspace/job",
		"args":        []string{"-x", "", "ä b"}, "stdin": map[string]string{"base64": "AP8K"},
		"files": []fields{
			{"path": "data/in.csv", "text": "a,b\n"},
			{"path": "bin/tool", "base64": tool, "mode": "755"},
			{"path": "fetched", "url": shelf.URL + "/file"},
		},
		"limits": fields{"memory": "48MiB", "cpus": 0.5, "pids": 64, "output": "64KiB", "workspace": "8MiB"},
	}
	python := h.submit(inputsProgram, given)
	shell := h.submit(`printf '%s|' "$@"; cat; cat lines; head -c 100000 /dev/zero | tr '\0' x`, bash, fields{
		"args": []string{"-x", "", "ä b"}, "stdin": "in\n", "files": []fields{{"path": "lines", "text": "1\n2\n"}},
		"limits": fields{"output": 1000},
	})
	least := h.submit(`echo "$(<file)"`, bash, fields{
		"limits": fields{"memory": "16MiB", "pids": 2, "output": 5, "workspace": "64KiB"},
		"files":  []fields{{"path": "file", "text": "small"}},
	})
	toolarge := h.submit("true", bash, fields{
		"limits": fields{"workspace": "64KiB"},
		"files":  []fields{{"path": "big", "text": strings.Repeat("x", 1<<20)}},
	})

	c := h.awaitCallback(python)
	want := "['-x', '', 'ä b']\n/workspace/job b'\\x00\\xff\\n'\ndata/in.csv 0o600 b'a,b\\n'\n" +
		"bin/tool 0o755 b'#!/bin/sh\\necho the tool ran\\n'\n" +
		"fetched 0o600 b'from afar'\nthe tool ran\n8388608\n"
	if c.Payload.Stdout != want || c.Payload.Reason != execution.OutOfMemory {
		t.Errorf("got %s and %q, want out_of_memory and %q", c.Payload.Reason, c.Payload.Stdout, want)
	}
	var body struct {
		Name     string
		Metadata map[string]string
	}
	if err := json.Unmarshal(c.Body, &body); err != nil || body.Name != "nightly" ||
		!maps.Equal(body.Metadata, map[string]string{"ticket": "4711"}) {
		t.Errorf("the callback has %+v, %v", body, err)
	}
	record := h.awaitRecord(python)
	for field, want := range map[string]any{
		"name": "nightly", "args": 3.0, "stdin_bytes": 3.0, "network": "none",
		"metadata": map[string]any{"ticket": "4711"},
		"files": []any{
			map[string]any{"path": "data/in.csv", "size": 4.0},
			map[string]any{"path": "bin/tool", "size": 28.0},
			map[string]any{"path": "fetched", "size": 9.0},
		},
		"limits": map[string]any{
			"memory": 50331648.0, "cpus": 0.5, "pids": 64.0, "output": 65536.0,
			"workspace": 8388608.0,
		},
	} {
		if diff := cmp.Diff(want, record[field]); diff != "" {
			t.Errorf("%s in the record (-want +got):\n%s", field, diff)
		}
	}

	got := h.awaitCallback(shell).Payload
	if head := "-x||ä b|in\n1\n2\n"; !strings.HasPrefix(got.Stdout, head+"xxx") || !got.StdoutTruncated ||
		got.StdoutBytes != int64(len(head)+100000) {
		t.Errorf("got %.60q, truncated %t, of %d bytes", got.Stdout, got.StdoutTruncated, got.StdoutBytes)
	}
	if small := h.awaitCallback(least).Payload; small.Reason != execution.Exited ||
		!strings.HasPrefix(small.Stdout, "small") {
		t.Errorf("with the lowest limits: got %s, %q, %q", small.Reason, small.Stdout, small.Stderr)
	}
	failed := h.awaitCallback(toolarge).Payload
	if failed.Reason != execution.StartFailed || failed.Error == nil ||
		!strings.Contains(*failed.Error, "/workspace/big") {
		t.Errorf("a file above the workspace limit: got %s, %v", failed.Reason, failed.Error)
	}
	h.checkInputRefusals(shelf.URL)
}

// checkInputRefusals submits invalid inputs. The answers must name the field, and the server must store nothing.
func (h *harness) checkInputRefusals(shelf string) {
	h.t.Helper()
	_, before := h.call(http.MethodGet, "/executions", nil)
	for field, f := range map[string]fields{
		"files[0].url": {"files": []fields{{"path": "a", "url": strings.Replace(shelf, "127.0.0.1", "169.254.169.254",
			1)}}},
		"files[1].path": {"files": []fields{{"path": "a", "text": ""}, {"path": "../b", "text": ""}}},
		"limits.memory": {"limits": fields{"memory": "1GiB"}},
		"network":       {"network": "host"},
	} {
		request := fields{"code": "1", "callback_url": h.receiver.URL}
		maps.Copy(request, f)
		status, answer := h.call(http.MethodPost, "/execute/async", request)
		if details, _ := answer["details"].(map[string]any); status != http.StatusBadRequest ||
			details["field"] != field {
			h.t.Errorf("%v: got %d %v, want 400 of %s", f, status, answer, field)
		}
	}
	if _, after := h.call(http.MethodGet, "/executions", nil); !slices.Equal(ids(after), ids(before)) {
		h.t.Errorf("refused submissions were stored: got %v, before %v", ids(after), ids(before))
	}
}

func ids(list map[string]any) (ids []string) {
	executions, _ := list["executions"].([]any)
	for _, e := range executions {
		ids = append(ids, e.(map[string]any)["execution_id"].(string))
	}
	return ids
}
