//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

// The page's example requests, as they stand there.
const (
	pagesProgress = `{
"code": "import time\nfor i in range(3600):\n if i % 60 == 0:\n print(f\"Progress: {i//60} minutes\")\n time.sleep(1)\nprint(\"Complete!\")",
"callback_url": "https://your-server.com/webhook",
"language": "python",
"timeout": 7200,
"callback_signature_secret": "your-secret-key"
}`
	pagesTraining = `{
"code": "import tensorflow as tf\nimport time\n\nprint(\"Starting model training...\")\nmodel = tf.keras.Sequential([...])\nmodel.fit(X_train, y_train, epochs=100, batch_size=32)\nmodel.save(\"/workspace/trained_model.h5\")\nprint(\"Training complete!\")",
"callback_url": "https://your-server.com/training-complete",
"language": "python",
"timeout": 14400,
"callback_signature_secret": "your-secret-key"
}`
	pagesBatch = `{
"code": "import pandas as pd\nimport glob\n\nprint(\"Processing batch files...\")\nall_files = glob.glob(\"/workspace/data/*.csv\")\ndfs = [pd.read_csv(f) for f in all_files]\ncombined = pd.concat(dfs, ignore_index=True)\ncombined.to_csv(\"/workspace/combined_result.csv\")\nprint(f\"Processed {len(all_files)} files\")",
"callback_url": "https://your-server.com/batch-complete",
"language": "python",
"timeout": 7200
}`
	pagesHeaders = `{
"code": "print(\"Task complete\")",
"callback_url": "https://your-server.com/webhook",
"language": "python",
"callback_headers": {
"X-Custom-Header": "my-value",
"X-Task-ID": "task-123"
}
}`
)

func TestThePagesRequestsAreAnsweredAndCalledBack(t *testing.T) {
	h := enter(t)
	for _, c := range []struct {
		body, path string
		signed     bool
		want       ending // but for stderr, whose last line begins with complaint
		complaint  string
		headers    http.Header
	}{
		{
			// Typesetting took the indentation of its code away.
			body: pagesProgress, path: "/webhook", signed: true,
			want: ending{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1}, complaint: "IndentationError",
		},
		{
			body: pagesTraining, path: "/training-complete", signed: true,
			want: ending{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1}, complaint: "ModuleNotFoundError: No module named 'tensorflow'",
		},
		{
			body: pagesBatch, path: "/batch-complete",
			want: ending{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1}, complaint: "ModuleNotFoundError: No module named 'pandas'",
		},
		{
			body: pagesHeaders, path: "/webhook",
			want:    ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "Task complete\n"},
			headers: http.Header{"X-Custom-Header": {"my-value"}, "X-Task-Id": {"task-123"}},
		},
	} {
		got := h.page(t, c.body, c.path, c.signed)
		lines := strings.Split(strings.TrimSuffix(got.Payload.Stderr, "\n"), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, c.complaint) || (c.complaint == "") != (last == "") {
			t.Errorf("%s: stderr ends with %q, want %q", c.path, last, c.complaint)
		}
		c.want.Stderr = got.Payload.Stderr
		h.expect(got.Payload.ExecutionID, c.want)
		for name, values := range c.headers {
			if diff := cmp.Diff(values, got.Header.Values(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// page submits one of the page's requests with a receiver of its own in the place of the page's, which takes posts to path
// alone, and waits for the callback.
func (h *house) page(t *testing.T, body, path string, signed bool) receiver.Callback {
	t.Helper()
	config := receiver.Config{Handle: h.receiver.take}
	if signed {
		config.Secrets = []string{secret}
	}
	routes := http.NewServeMux()
	routes.Handle("POST "+path, receiver.New(config))
	hook := httptest.NewServer(routes)
	t.Cleanup(hook.Close)

	status, answer := h.call(http.MethodPost, "/execute/async", strings.Replace(body, "https://your-server.com", hook.URL, 1))
	id, ok := answer["execution_id"].(string)
	if status != http.StatusOK || !ok || answer["status"] != "queued" || answer["callback_url"] != hook.URL+path {
		t.Fatalf("answered %d %v", status, answer)
	}
	c := h.callback(execution.ID(id))
	if got := c.Header.Get("X-HopX-Signature"); (got != "") != signed {
		t.Errorf("signed: %v, and X-HopX-Signature is %q", signed, got)
	}
	if seconds, err := strconv.ParseInt(c.Header.Get("X-HopX-Timestamp"), 10, 64); err != nil || seconds < c.Payload.CompletedAt.Unix() {
		t.Errorf("X-HopX-Timestamp is %q of a result of %s", c.Header.Get("X-HopX-Timestamp"), c.Payload.CompletedAt)
	}
	return c
}

func TestThePagesLongProgramReportsItsProgressUntilItIsCancelled(t *testing.T) {
	h := enter(t)
	indented := strings.NewReplacer(`\n print(f`, `\n  print(f`, "https://your-server.com", h.hook.URL).Replace(pagesProgress)
	_, answer := h.call(http.MethodPost, "/execute/async", indented)
	id := execution.ID(answer["execution_id"].(string))
	h.running(id, "Progress: 0 minutes\n")
	h.cancel(id)
	h.expect(id, ending{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143, Stdout: "Progress: 0 minutes\n"})
}

// The last lines of a program around a document's function verify in each of its languages: the body on stdin, the
// signature and the secret as arguments, true or false on stdout.
var readers = map[string]struct {
	file, more, text string
	run              []string
}{
	"python": {
		file: "verify.py",
		text: "\n\nimport sys\nprint(str(verify(sys.stdin.buffer.read(), sys.argv[1], sys.argv[2])).lower())\n",
		run:  []string{"python3", "verify.py"},
	},
	"js": {
		file: "verify.js",
		text: "\nconst chunks = [];\nprocess.stdin.on('data', (chunk) => chunks.push(chunk));\n" +
			"process.stdin.on('end', () => console.log(verify(Buffer.concat(chunks), process.argv[2], process.argv[3])));\n",
		run: []string{"node", "verify.js"},
	},
	"go": {
		file: "verify.go", more: "main.go",
		text: "package main\n\nimport (\n\"fmt\"\n\"io\"\n\"os\"\n)\n\nfunc main() {\nbody, _ := io.ReadAll(os.Stdin)\n" +
			"fmt.Println(verify(body, os.Args[1], os.Args[2]))\n}\n",
		run: []string{"go", "run", "verify.go", "main.go"},
	},
}

func TestTheDocumentsFunctionsVerifyACallback(t *testing.T) {
	h := enter(t)
	c := h.callback(h.submit(`print("grüße \U0001F388 <&> \x00")`))
	signature := c.Header.Get("X-HopX-Signature")
	for _, sample := range []struct{ page, language string }{
		{"README.md", "python"},
		{"docs/CALLBACKS.md", "python"},
		{"docs/CALLBACKS.md", "js"},
		{"docs/CALLBACKS.md", "go"},
	} {
		reader := readers[sample.language]
		t.Run(sample.page+" "+sample.language, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join("../..", sample.page))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			sample := fenced(t, page, sample.language)
			if reader.more == "" {
				sample += reader.text
			} else {
				sample = "package main\n\n" + sample
				write(t, filepath.Join(dir, reader.more), reader.text)
			}
			write(t, filepath.Join(dir, reader.file), sample)
			for what, check := range map[string]struct {
				body, signature, secret string
				want                    string
			}{
				"as it came":               {string(c.Body), signature, secret, "true\n"},
				"another secret":           {string(c.Body), signature, secret + "s", "false\n"},
				"a changed body":           {strings.Replace(string(c.Body), "completed", "failed", 1), signature, secret, "false\n"},
				"no signature":             {string(c.Body), "", secret, "false\n"},
				"the digest of the prefix": {string(c.Body), "sha256=", secret, "false\n"},
			} {
				run := exec.CommandContext(t.Context(), reader.run[0], append(reader.run[1:], check.signature, check.secret)...)
				run.Dir, run.Stdin = dir, strings.NewReader(check.body)
				if out, err := run.CombinedOutput(); err != nil || string(out) != check.want {
					t.Errorf("%s: %q, %v; want %q", what, out, err, check.want)
				}
			}
		})
	}
}

// fenced is the first block of that language that has the function verify.
func fenced(t *testing.T, text []byte, language string) string {
	t.Helper()
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		if bytes.Contains(block[1], []byte("verify(")) {
			return string(block[1])
		}
	}
	t.Fatalf("no block of %s has verify(", language)
	return ""
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
