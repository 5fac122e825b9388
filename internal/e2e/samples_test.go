//go:build e2e

package e2e

import (
	"bytes"
	_ "embed" // for the example requests
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
	"boomerang/internal/servertest"
)

// The example requests of the page, unchanged.
var (
	//go:embed testdata/page/progress.json
	pagesProgress string
	//go:embed testdata/page/training.json
	pagesTraining string
	//go:embed testdata/page/batch.json
	pagesBatch string
	//go:embed testdata/page/headers.json
	pagesHeaders string
)

func TestThePageRequestsAreAnsweredAndDelivered(t *testing.T) {
	h := newHarness(t)
	for _, c := range []struct {
		body, path string
		signed     bool
		want       result // without stderr
		complaint  string // beginning of the last line of stderr
		headers    http.Header
	}{
		{
			// The page lost the indentation of the code.
			body: pagesProgress, path: "/webhook", signed: true,
			want:      result{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1},
			complaint: "IndentationError",
		},
		{
			body: pagesTraining, path: "/training-complete", signed: true,
			want:      result{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1},
			complaint: "ModuleNotFoundError: No module named 'tensorflow'",
		},
		{
			body: pagesBatch, path: "/batch-complete",
			want:      result{Status: execution.Failed, Reason: execution.Exited, ExitCode: 1},
			complaint: "ModuleNotFoundError: No module named 'pandas'",
		},
		{
			body: pagesHeaders, path: "/webhook",
			want:    completed("Task complete\n"),
			headers: http.Header{"X-Custom-Header": {"my-value"}, "X-Task-Id": {"task-123"}},
		},
	} {
		got := h.submitPageRequest(t, c.body, c.path, c.signed)
		lines := strings.Split(strings.TrimSuffix(got.Payload.Stderr, "\n"), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, c.complaint) || (c.complaint == "") != (last == "") {
			t.Errorf("%s: stderr ends with %q, want %q", c.path, last, c.complaint)
		}
		c.want.Stderr = got.Payload.Stderr
		h.expectResult(got.Payload.ExecutionID, c.want)
		for name, values := range c.headers {
			if diff := cmp.Diff(values, got.Header.Values(name)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// submitPageRequest submits an example request with a receiver in place of that of the page, and waits for the
// callback. The receiver accepts callbacks on path only.
func (h *harness) submitPageRequest(t *testing.T, body, path string, signed bool) servertest.Arrival {
	t.Helper()
	var secrets []string
	if signed {
		secrets = []string{secret}
	}
	routes := http.NewServeMux()
	routes.Handle("POST "+path, h.receiver.Handler(secrets...))
	hook := httptest.NewServer(routes)
	t.Cleanup(hook.Close)

	status, answer := h.call(http.MethodPost, "/execute/async", strings.Replace(body, "https://your-server.com",
		hook.URL, 1))
	id, ok := answer["execution_id"].(string)
	if status != http.StatusOK || !ok || answer["status"] != "queued" || answer["callback_url"] != hook.URL+path {
		t.Fatalf("answered %d %v", status, answer)
	}
	c := h.awaitCallback(execution.ID(id))
	if got := c.Header.Get("X-HopX-Signature"); (got != "") != signed {
		t.Errorf("signed %v: got X-HopX-Signature %q", signed, got)
	}
	if seconds, err := strconv.ParseInt(c.Header.Get("X-HopX-Timestamp"), 10, 64); err != nil ||
		seconds < c.Payload.CompletedAt.Unix() {
		t.Errorf("got X-HopX-Timestamp %q, the result is of %s", c.Header.Get("X-HopX-Timestamp"),
			c.Payload.CompletedAt)
	}
	return c
}

func TestTheLongPageExampleShowsProgressUntilItIsCancelled(t *testing.T) {
	h := newHarness(t)
	indented := strings.NewReplacer(`\n print(f`, `\n  print(f`, "https://your-server.com",
		h.receiver.URL).Replace(pagesProgress)
	_, answer := h.call(http.MethodPost, "/execute/async", indented)
	id := execution.ID(answer["execution_id"].(string))
	h.awaitOutput(id, "Progress: 0 minutes\n")
	h.cancel(id)
	h.expectResult(id, result{
		Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143,
		Stdout: "Progress: 0 minutes\n",
	})
}

// verifierPrograms complete a document's function in each language to a program: the body on stdin, the signature and
// the secret as arguments, true or false on stdout.
var verifierPrograms = map[string]struct {
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
			"process.stdin.on('end', () => console.log(verify(Buffer.concat(chunks), process.argv[2], " +
			"process.argv[3])));\n",
		run: []string{"node", "verify.js"},
	},
	"go": {
		file: "verify.go", more: "main.go",
		text: "package main\n\nimport (\n\"fmt\"\n\"io\"\n\"os\"\n)\n\nfunc main() {\n" +
			"body, _ := io.ReadAll(os.Stdin)\n" +
			"fmt.Println(verify(body, os.Args[1], os.Args[2]))\n}\n",
		run: []string{"go", "run", "verify.go", "main.go"},
	},
}

func TestTheDocumentsFunctionsVerifyACallback(t *testing.T) {
	h := newHarness(t)
	c := h.awaitCallback(h.submit(`print("grüße \U0001F388 <&> \x00")`))
	signature := c.Header.Get("X-HopX-Signature")
	for _, sample := range []struct{ page, language string }{
		{"README.md", "python"},
		{"docs/CALLBACKS.md", "python"},
		{"docs/CALLBACKS.md", "js"},
		{"docs/CALLBACKS.md", "go"},
	} {
		reader := verifierPrograms[sample.language]
		t.Run(sample.page+" "+sample.language, func(t *testing.T) {
			page, err := os.ReadFile(filepath.Join("../..", sample.page))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			sample := codeBlock(t, page, sample.language)
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
				"unchanged":      {string(c.Body), signature, secret, "true\n"},
				"another secret": {string(c.Body), signature, secret + "s", "false\n"},
				"a changed body": {
					strings.Replace(string(c.Body), "completed", "failed", 1), signature,
					secret, "false\n",
				},
				"no signature":             {string(c.Body), "", secret, "false\n"},
				"the digest of the prefix": {string(c.Body), "sha256=", secret, "false\n"},
			} {
				run := exec.CommandContext(t.Context(), reader.run[0], append(reader.run[1:], check.signature,
					check.secret)...)
				run.Dir, run.Stdin = dir, strings.NewReader(check.body)
				if out, err := run.CombinedOutput(); err != nil || string(out) != check.want {
					t.Errorf("%s: %q, %v; want %q", what, out, err, check.want)
				}
			}
		})
	}
}

// codeBlock returns the first block in a language that contains the function verify.
func codeBlock(t *testing.T, text []byte, language string) string {
	t.Helper()
	for _, block := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		if bytes.Contains(block[1], []byte("verify(")) {
			return string(block[1])
		}
	}
	t.Fatalf("no block in %s contains verify(", language)
	return ""
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
