//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// runMixture runs executions that end in every way, restarts the server between, and waits for all callbacks.
func (h *harness) runMixture(t *testing.T) {
	t.Helper()
	ids := []execution.ID{
		h.submit("echo done", bash),
		h.submit("exit 7", bash),
		h.submit("exec sleep 3600", bash, fields{"timeout": 1}),
		h.submit("boo", fields{"language": "ghost"}),
		h.submit("boo", fields{"language": "absent"}),
		h.submit("(trap '' TERM HUP; setsid sleep 3600 &); echo parent", bash),
	}
	for _, id := range ids {
		h.awaitCallback(id)
	}
	killed, cancelled, continued := h.submit("echo up; exec sleep 3600", bash), h.submit("echo up; exec sleep 3600",
		bash), h.submit("echo up; sleep 2", bash)
	for _, id := range []execution.ID{killed, cancelled, continued} {
		h.awaitOutput(id, "up\n")
	}
	if err := engine(t).ContainerKill(t.Context(), h.containerOf(killed), "KILL"); err != nil {
		t.Error(err)
	}
	h.cancel(cancelled)
	h.stopServer()
	h.startServer()
	for _, id := range []execution.ID{killed, cancelled, continued} {
		h.awaitCallback(id)
	}
}

const mixedCatalogue = `
languages:
  bash:
    image: boomerang/bash:latest
    file: main.sh
    command: [bash, "{file}"]
  ghost:
    image: boomerang/there-is-none:latest
    pull: never
    file: main.g
    command: [ghost, "{file}"]
  absent:
    image: boomerang/bash:latest
    file: main.sh
    command: [no-such-program, "{file}"]
`

func TestAServerLeavesNothingBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	before := runtime.NumGoroutine()
	t.Run("server", func(t *testing.T) {
		h := newSerialHarness(t, withLanguages(t, mixedCatalogue))
		h.runMixture(t)
		h.stopServer()
		h.checkNoContainers()
		if helpers := containersWithLabel(t, "boomerang.helper="+h.node()); len(helpers) > 0 {
			t.Errorf("helper containers are left: %v", helpers)
		}
		files, err := filepath.Glob(filepath.Join(h.config.DataDir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i, file := range files {
			files[i] = filepath.Base(file)
		}
		if diff := cmp.Diff([]string{
			"boomerang-front.lock", "boomerang.db", "boomerang.lock", "seal.key",
			"token.key",
		}, files); diff != "" {
			t.Errorf("the data directory (-want +got):\n%s", diff)
		}
	})
	http.DefaultClient.CloseIdleConnections()
	if !eventually(t, func() bool { return len(serverGoroutines()) == 0 && runtime.NumGoroutine() <= before }) {
		t.Errorf("%d goroutines are left, %d existed before; those of the server are:\n%s", runtime.NumGoroutine(),
			before, strings.Join(serverGoroutines(), "\n\n"))
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

// serverGoroutines returns the stacks of goroutines that run code of the server or were started by it.
func serverGoroutines() []string {
	stacks := make([]byte, 4*mib)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return slices.DeleteFunc(strings.Split(string(stacks), "\n\n"), func(stack string) bool {
		return !strings.Contains(stack, "boomerang/internal/") || strings.Contains(stack, "boomerang/internal/e2e.")
	})
}

func containersWithLabel(t *testing.T, label string) []container.Summary {
	t.Helper()
	list, err := engine(t).ContainerList(t.Context(), container.ListOptions{
		All:     true,
		Filters: filters.NewArgs(filters.Arg("label", label)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAContainerHasOnlyTheVolumeOfTheInit(t *testing.T) {
	image := commitImage(t, "VOLUME /data")
	h := newHarness(t, withLanguages(t,
		"languages:\n  bash: {image: '"+image+"', file: main.sh, command: [bash, '{file}']}\n"))
	id := h.submit("echo kept > /data/file; cat /data/file; echo up; exec sleep 3600", bash)
	h.awaitOutput(id, "up\n")
	inspect, err := engine(t).ContainerInspect(t.Context(), h.containerOf(id))
	if err != nil {
		t.Fatal(err)
	}
	for _, mount := range inspect.Mounts {
		file := slices.Contains([]string{"/etc/hosts", "/etc/passwd", "/etc/group"}, mount.Destination) &&
			strings.Contains(mount.Source, "/boomerang-init-")
		if !file && !strings.HasPrefix(mount.Name, "boomerang-init-") || mount.RW {
			t.Errorf("the container has the volume %+v", mount)
		}
	}
	h.cancel(id)
	h.expectResult(id, result{
		Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143,
		Stdout: "kept\nup\n",
	})
}

// commitImage makes an image from the stock image and a change. The end of the test removes the image.
func commitImage(t *testing.T, change string) string {
	t.Helper()
	docker := engine(t)
	c, err := docker.ContainerCreate(t.Context(), &container.Config{Image: stock}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	made, err := docker.ContainerCommit(t.Context(), c.ID, container.CommitOptions{Changes: []string{change}})
	if err != nil {
		t.Error(err)
	}
	if err := docker.ContainerRemove(t.Context(), c.ID, container.RemoveOptions{RemoveVolumes: true}); err != nil {
		t.Error(err)
	}
	t.Cleanup(func() { removeImage(t, made.ID) })
	return made.ID
}

func TestSecretsAppearNowhere(t *testing.T) {
	const canary = "c4n4ry"
	h := newHarness(t, withSlots(1), func(c *config.Config) { c.Log.Level = "trace" })
	hook := httptest.NewServer(h.receiver.Handler(canary + "-secret"))
	t.Cleanup(hook.Close)
	deaf := httptest.NewServer(http.NotFoundHandler())
	deaf.Close() // its delivery stays pending, with all its secrets
	submit := func(url, end string) execution.ID {
		return h.submit(`[ "$TOKEN" = `+canary+`-env ] && [ "$(cat)" = `+canary+`-stdin ] &&
			[ "$(cat file)" = `+canary+`-file ] && [ "$1" = `+canary+`-arg ] && echo up; `+end, bash, fields{
			"callback_url":              url,
			"env":                       map[string]string{"TOKEN": canary + "-env"},
			"args":                      []string{canary + "-arg"},
			"stdin":                     canary + "-stdin",
			"files":                     []fields{{"path": "file", "text": canary + "-file"}},
			"artifacts":                 []string{"**"}, // the code and the file are in the working directory
			"callback_headers":          map[string]string{"Authorization": canary + "-header"},
			"callback_signature_secret": canary + "-secret",
		})
	}
	finished := submit(hook.URL, "echo > left")
	h.awaitCallback(finished)
	_, list := h.raw(http.MethodGet, "/executions/"+string(finished)+"/artifacts", nil)
	var kept struct {
		Artifacts []struct{ Path string }
		Omitted   []execution.Omission `json:"artifacts_omitted"`
	}
	if err := json.Unmarshal(list, &kept); err != nil {
		t.Fatal(err)
	}
	if len(kept.Artifacts) != 1 || kept.Artifacts[0].Path != "left" || len(kept.Omitted) != 2 {
		t.Errorf("artifacts ** are %s, want what the program left, and that the code and the file are unchanged", list)
	}
	const sleep = "exec sleep 3600"
	runs, waits, undelivered := submit(hook.URL, sleep), submit(hook.URL, sleep), submit(deaf.URL, sleep)
	h.awaitOutput(runs, "up\n")
	h.checkAbsent(canary, "while one execution runs and the others wait")
	for what, text := range h.publicViews(runs) {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows a secret: %s", what, text)
		}
	}
	for _, id := range []execution.ID{undelivered, waits, runs} {
		h.cancel(id)
	}
	for _, id := range []execution.ID{waits, runs} {
		if got := h.awaitCallback(id).Header.Get("Authorization"); got != canary+"-header" {
			t.Errorf("the header arrived as %q, so the canary was never stored", got)
		}
	}
	if !eventually(t, func() bool {
		return h.awaitRecord(undelivered)["callback"].(map[string]any)["attempts"] != 0.0
	}) {
		t.Error("no delivery was attempted")
	}
	h.checkAbsent(canary, "after the executions have ended")
	h.stopServer()
	h.checkAbsent(canary, "after the server has stopped")
}

// publicViews returns a running execution as the API shows it to clients, and the engine to its users.
func (h *harness) publicViews(id execution.ID) map[string]string {
	h.t.Helper()
	docker := engine(h.t)
	inspect, inspectErr := docker.ContainerInspect(h.t.Context(), h.containerOf(id))
	top, topErr := docker.ContainerTop(h.t.Context(), h.containerOf(id), nil)
	if err := errors.Join(inspectErr, topErr); err != nil {
		h.t.Fatal(err)
	}
	_, record := h.raw(http.MethodGet, "/executions/"+string(id), nil)
	_, list := h.raw(http.MethodGet, "/executions", nil)
	told := map[string]string{"the record": string(record), "the list": string(list)}
	for what, shown := range map[string]any{"docker inspect": inspect, "docker top": top, "docker ps": h.containers()} {
		text, err := json.Marshal(shown)
		if err != nil {
			h.t.Fatal(err)
		}
		told[what] = string(text)
	}
	return told
}

// checkAbsent fails the test if a file of the data directory or the log of the server contains the word.
func (h *harness) checkAbsent(word, when string) {
	h.t.Helper()
	if strings.Contains(h.log.String(), word) {
		h.t.Errorf("%s the log contains %q", when, word)
	}
	err := filepath.WalkDir(h.config.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(word)) {
			h.t.Errorf("%s %s contains %q", when, entry.Name(), word)
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}
