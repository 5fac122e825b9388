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
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// shout is a program of a language that nobody knows: it prints its code in capitals.
const shout = `package main

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

// importImage makes an image that holds one static program and nothing else; it is removed with the test.
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
	progress, err := engine(t).ImageImport(t.Context(), image.ImportSource{Source: &archive, SourceName: "-"}, ref, image.ImportOptions{})
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
	if _, err := engine(t).ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

func TestAReloadAddsALanguageOfAnyImage(t *testing.T) {
	stock := importImage(t, "shout", shout)
	const before = "languages:\n  bash:\n    image: boomerang/bash:latest\n    file: main.sh\n    command: [bash, \"{file}\"]\n"
	h := enter(t, catalogue(t, before))
	rewrite := func(text string) error {
		if err := os.WriteFile(h.config.Languages.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return h.app.Reload()
	}
	known := func() any {
		_, health := h.call(http.MethodGet, "/health", nil)
		return health["features"].(map[string]any)["languages"]
	}
	request := fields{"code": "hello", "language": "shout", "callback_url": h.hook.URL}
	if status, answer := h.call(http.MethodPost, "/execute/async", request); status != http.StatusBadRequest || answer["code"] != "UNSUPPORTED_LANGUAGE" {
		t.Errorf("before the reload: %d %v", status, answer)
	}
	four := "  shout:\n    image: " + stock + "\n    file: main.txt\n    command: [/shout, \"{file}\"]\n"
	if err := rewrite(before + four); err != nil {
		t.Fatal(err)
	}
	h.expect(h.submit("hello", fields{"language": "shout"}), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "HELLO"})
	if diff := cmp.Diff([]any{"bash", "shout"}, known()); diff != "" {
		t.Errorf("languages (-want +got):\n%s", diff)
	}

	for broken, words := range map[string]string{
		before + "  shout:\n    imagine: " + stock + "\n":        "shout",
		before + strings.Replace(four, "[/shout", "/shout [", 1): "languages.yaml",
		"languages: {}\n": "languages",
	} {
		if err := rewrite(broken); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the reload of\n%s says %v, want something of %s", broken, err, words)
		}
	}
	h.expect(h.submit("still here", fields{"language": "shout"}), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "STILL HERE"})
	if diff := cmp.Diff([]any{"bash", "shout"}, known()); diff != "" {
		t.Errorf("languages after broken reloads (-want +got):\n%s", diff)
	}
}

func TestNobodyWaitsBehindAnothersQueue(t *testing.T) {
	h := enter(t, slots(1))
	first := h.submit("echo up; exec sleep 3600", bash)
	h.running(first, "up\n") // the only slot is taken while the queue is made
	order := []execution.ID{first, ""}
	for range 20 {
		order = append(order, h.submit("echo mine", bash))
	}
	mine := h.token
	h.token = h.tokenFor("another")
	order[1] = h.submit("echo another's", bash)
	h.token = mine
	h.cancel(first)

	ran := slices.Clone(order)
	for _, id := range ran {
		h.callback(id)
	}
	slices.SortFunc(ran, func(a, b execution.ID) int {
		return h.callback(a).Payload.StartedAt.Compare(*h.callback(b).Payload.StartedAt)
	})
	if diff := cmp.Diff(order, ran); diff != "" {
		t.Errorf("the order in which they ran (-want +got):\n%s", diff)
	}
}

func TestWithoutItsEngineTheServerAcceptsAndSaysSo(t *testing.T) {
	h := enter(t, slots(0), func(c *config.Config) { c.Docker.Host = "unix:///nonexistent/docker.sock" })
	if status, answer := h.call(http.MethodGet, "/healthz", nil); status != http.StatusOK || answer["status"] != "alive" {
		t.Errorf("healthz: %d %v", status, answer)
	}
	if status, failing := h.failing(); status != http.StatusServiceUnavailable || !cmp.Equal(failing, []string{"docker", "images"}) {
		t.Errorf("readyz: %d, failing %v", status, failing)
	}
	id := h.submit("echo later", bash)
	if state := h.state(id); state != execution.Queued {
		t.Errorf("without an engine it is %s", state)
	}
	if !strings.Contains(h.log.String(), "/nonexistent/docker.sock") {
		t.Error("the log does not say which engine it cannot reach")
	}
	h.leave()
	h.config.Docker.Host = ""
	h.start()
	h.expect(id, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "later\n"})
	if status, failing := h.failing(); status != http.StatusOK || failing != nil {
		t.Errorf("readyz with the engine: %d, failing %v", status, failing)
	}
}

// failing are the names of the checks that /readyz shows as failing.
func (h *house) failing() (status int, names []string) {
	h.t.Helper()
	status, answer := h.call(http.MethodGet, "/readyz", nil)
	for _, check := range answer["checks"].([]any) {
		if check := check.(map[string]any); check["ok"] != true {
			names = append(names, check["name"].(string))
		}
	}
	return status, names
}

func TestAnOptionalLanguageIsOfferedWhileItsImageIsThere(t *testing.T) {
	docker := engine(t)
	ref := "boomerang-e2e-optional:" + strings.ToLower(rand.Text()) // nobody else's
	h := enter(t, slots(1), catalogue(t, `
languages:
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"]}
  later: {image: "`+ref+`", pull: never, optional: true, file: main.sh, command: [bash, "{file}"]}
`))
	if status, failing := h.failing(); status != http.StatusOK {
		t.Errorf("readyz without the image of an optional language: %d, failing %v", status, failing)
	}
	later := fields{"code": "echo now", "language": "later", "callback_url": h.hook.URL}
	status, answer := h.call(http.MethodPost, "/execute/async", later)
	if status != http.StatusBadRequest || answer["code"] != "UNSUPPORTED_LANGUAGE" || !strings.Contains(answer["message"].(string), "not on this server") {
		t.Errorf("without its image: %d %v", status, answer)
	}
	if err := docker.ImageTag(t.Context(), "boomerang/bash:latest", ref); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = docker.ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{})
	})
	h.offers("bash", "later")
	h.expect(h.submit("echo now", fields{"language": "later"}), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "now\n"})
	if _, err := docker.ImageRemove(t.Context(), ref, image.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	h.offers("bash")
}

// offers waits until just these languages are offered.
func (h *house) offers(want ...any) {
	h.t.Helper()
	for end := time.Now().Add(patience); ; {
		_, health := h.call(http.MethodGet, "/health", nil)
		diff := cmp.Diff(want, health["features"].(map[string]any)["languages"])
		if diff == "" {
			return
		}
		if time.Now().After(end) {
			h.t.Fatalf("languages (-want +got):\n%s", diff)
		}
		select {
		case <-h.t.Context().Done():
			h.t.Fatal(h.t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
