//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/auth"
	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// upperCaseProgram is the interpreter of a language that does not ship: it prints its code in capitals.
const upperCaseProgram = `package main

import (
	"os"
	"strings"
)

func main() {
	code, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strings.ToUpper(string(code)))
}
`

// importImage makes an image that contains only a static program. The end of the test removes the image.
func importImage(t *testing.T, name, source string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", name, "main.go")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ref := fmt.Sprintf("boomerang-e2e-%s:%d", name, os.Getpid())
	progress, err := engine(t).ImageImport(t.Context(), image.ImportSource{Source: &archive, SourceName: "-"}, ref,
		image.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	if _, err := io.Copy(io.Discard, progress); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeImage(t, ref) })
	return ref
}

func removeImage(t *testing.T, ref string) {
	t.Helper()
	if _, err := engine(t).ImageRemove(context.WithoutCancel(t.Context()), ref,
		image.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

func TestAReloadAddsALanguageOfAnyImage(t *testing.T) {
	stock := importImage(t, "shout", upperCaseProgram)
	const before = "languages:\n  bash:\n    image: boomerang/bash:latest\n    file: main.sh\n" +
		"    command: [bash, \"{file}\"]\n"
	h := newHarness(t, withLanguages(t, before))
	rewrite := func(text string) error {
		if err := os.WriteFile(h.config.Languages.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return h.app.Reload(h.config)
	}
	known := func() any {
		_, health := h.call(http.MethodGet, "/health", nil)
		return health["features"].(map[string]any)["languages"]
	}
	request := fields{"code": "hello", "language": "shout", "callback_url": h.receiver.URL}
	if status, answer := h.call(http.MethodPost, "/execute/async", request); status != http.StatusBadRequest ||
		answer["code"] != "UNSUPPORTED_LANGUAGE" {
		t.Errorf("before the reload: got %d %v, want UNSUPPORTED_LANGUAGE", status, answer)
	}
	four := "  shout:\n    image: " + stock + "\n    file: main.txt\n    command: [/shout, \"{file}\"]\n"
	if err := rewrite(before + four); err != nil {
		t.Fatal(err)
	}
	h.expectResult(h.submit("hello", fields{"language": "shout"}), completed("HELLO"))
	if diff := cmp.Diff([]any{"bash", "shout"}, known()); diff != "" {
		t.Errorf("languages (-want +got):\n%s", diff)
	}

	for broken, words := range map[string]string{
		before + "  shout:\n    imagine: " + stock + "\n":        "shout",
		before + strings.Replace(four, "[/shout", "/shout [", 1): "languages.yaml",
		"languages: {}\n": "languages",
	} {
		if err := rewrite(broken); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the reload of\n%s: got %v, want an error that contains %q", broken, err, words)
		}
	}
	h.expectResult(h.submit("still here", fields{"language": "shout"}), completed("STILL HERE"))
	if diff := cmp.Diff([]any{"bash", "shout"}, known()); diff != "" {
		t.Errorf("languages after broken reloads (-want +got):\n%s", diff)
	}
}

func TestASubjectDoesNotWaitForAnotherSubjectsQueue(t *testing.T) {
	h := newHarness(t, withSlots(1))
	first := h.submit("echo up; exec sleep 3600", bash)
	h.awaitOutput(first, "up\n") // the only slot is occupied while the queue fills
	order := []execution.ID{first, ""}
	for range 20 {
		order = append(order, h.submit("echo mine", bash))
	}
	mine := h.token
	h.token = h.tokenFor("another")
	order[1] = h.submit("echo theirs", bash)
	h.expectResult(order[1], completed("theirs\n")) // the reserve is its own, while the first one still runs
	h.token = mine
	h.cancel(first)

	ran := slices.Clone(order)
	for _, id := range ran {
		h.awaitCallback(id)
	}
	slices.SortFunc(ran, func(a, b execution.ID) int {
		return h.awaitCallback(a).Payload.StartedAt.Compare(*h.awaitCallback(b).Payload.StartedAt)
	})
	if diff := cmp.Diff(order, ran); diff != "" {
		t.Errorf("order of execution (-want +got):\n%s", diff)
	}
}

func TestAServerWithoutAnEngineAcceptsExecutionsAndIsNotReady(t *testing.T) {
	h := newHarness(t, withSlots(0), func(c *config.Config) { c.Docker.Host = "unix:///nonexistent/docker.sock" })
	if status, answer := h.call(http.MethodGet, "/healthz", nil); status != http.StatusOK ||
		answer["status"] != "alive" {
		t.Errorf("healthz: got %d %v", status, answer)
	}
	if status, failing := h.failingChecks(); status != http.StatusServiceUnavailable ||
		!cmp.Equal(failing, []string{"docker", "images"}) {
		t.Errorf("readyz: got %d, failing %v", status, failing)
	}
	id := h.submit("echo later", bash)
	if state := h.state(id); state != execution.Queued {
		t.Errorf("without an engine the execution is %s, want queued", state)
	}
	if !strings.Contains(h.log.String(), "/nonexistent/docker.sock") {
		t.Error("the log does not name the engine that cannot be reached")
	}
	h.stopServer()
	h.config.Docker.Host = ""
	h.startServer()
	h.expectResult(id, completed("later\n"))
	if status, failing := h.failingChecks(); status != http.StatusOK || failing != nil {
		t.Errorf("readyz with the engine: got %d, failing %v", status, failing)
	}
}

// readiness returns the answer of /readyz for an administrator.
func (h *harness) readiness() (status int, answer map[string]any) {
	h.t.Helper()
	return h.call(http.MethodGet, "/readyz", nil, "Authorization", "Bearer "+h.tokenFor("root", auth.ScopeAdmin))
}

// failingChecks returns the status of /readyz and the names of the failing checks.
func (h *harness) failingChecks() (status int, names []string) {
	h.t.Helper()
	status, answer := h.readiness()
	for _, check := range answer["checks"].([]any) {
		if check := check.(map[string]any); check["ok"] != true {
			names = append(names, check["name"].(string))
		}
	}
	return status, names
}

func TestAnOptionalLanguageIsOfferedWhileItsImageExists(t *testing.T) {
	docker := engine(t)
	ref := "boomerang-e2e-optional:" + strings.ToLower(rand.Text()) // unique
	h := newHarness(t, withSlots(1), withLanguages(t, `
languages:
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"]}
  later: {image: "`+ref+`", pull: never, optional: true, file: main.sh, command: [bash, "{file}"]}
`))
	if status, failing := h.failingChecks(); status != http.StatusOK {
		t.Errorf("readyz without the image of an optional language: got %d, failing %v", status, failing)
	}
	later := fields{"code": "echo now", "language": "later", "callback_url": h.receiver.URL}
	status, answer := h.call(http.MethodPost, "/execute/async", later)
	if status != http.StatusBadRequest || answer["code"] != "UNSUPPORTED_LANGUAGE" ||
		!strings.Contains(answer["message"].(string), "not on this server") {
		t.Errorf("without its image: got %d %v", status, answer)
	}
	if err := docker.ImageTag(t.Context(), "boomerang/bash:latest", ref); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = docker.ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{})
	})
	h.awaitLanguages("bash", "later")
	h.expectResult(h.submit("echo now", fields{"language": "later"}), completed("now\n"))
	if _, err := docker.ImageRemove(t.Context(), ref, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	h.awaitLanguages("bash")
}

// awaitLanguages waits until the server offers exactly these languages.
func (h *harness) awaitLanguages(want ...any) {
	h.t.Helper()
	var diff string
	if !eventually(h.t, func() bool {
		_, health := h.call(http.MethodGet, "/health", nil)
		diff = cmp.Diff(want, health["features"].(map[string]any)["languages"])
		return diff == ""
	}) {
		h.t.Fatalf("languages (-want +got):\n%s", diff)
	}
}
