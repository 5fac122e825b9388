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
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/receiver"
)

// eventually polls until holds is true and reports whether it became so within patience.
func eventually(t testing.TB, holds func() bool) bool {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); {
		if time.Now().After(end) {
			return false
		}
		select {
		case <-t.Context().Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

// mixture runs executions that end in every way, with a restart between, and waits for all callbacks.
func (h *house) mixture(t *testing.T) {
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
		h.callback(id)
	}
	killed, cancelled, goesOn := h.submit("echo up; exec sleep 3600", bash), h.submit("echo up; exec sleep 3600", bash), h.submit("echo up; sleep 2", bash)
	for _, id := range []execution.ID{killed, cancelled, goesOn} {
		h.running(id, "up\n")
	}
	if err := engine(t).ContainerKill(t.Context(), h.container(killed), "KILL"); err != nil {
		t.Error(err)
	}
	h.cancel(cancelled)
	h.leave()
	h.start()
	for _, id := range []execution.ID{killed, cancelled, goesOn} {
		h.callback(id)
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

func TestNothingIsLeftOfOurs(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	before := runtime.NumGoroutine()
	t.Run("house", func(t *testing.T) {
		h := enterAlone(t, catalogue(t, mixedCatalogue))
		h.mixture(t)
		h.leave()
		h.nothingLeft()
		if helpers := labelled(t, "boomerang.helper="+h.node()); len(helpers) > 0 {
			t.Errorf("helpers are left: %v", helpers)
		}
		files, err := filepath.Glob(filepath.Join(h.config.DataDir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i, file := range files {
			files[i] = filepath.Base(file)
		}
		if diff := cmp.Diff([]string{"boomerang-front.lock", "boomerang.db", "boomerang.lock", "seal.key", "token.key"}, files); diff != "" {
			t.Errorf("the data directory (-want +got):\n%s", diff)
		}
	})
	http.DefaultClient.CloseIdleConnections()
	if !eventually(t, func() bool { return len(ours()) == 0 && runtime.NumGoroutine() <= before }) {
		t.Errorf("goroutines are left, %d of %d before; ours are:\n%s", runtime.NumGoroutine(), before, strings.Join(ours(), "\n\n"))
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

// ours are the stacks of goroutines that run code of the server or were started by it.
func ours() []string {
	stacks := make([]byte, 4*mib)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return slices.DeleteFunc(strings.Split(string(stacks), "\n\n"), func(stack string) bool {
		return !strings.Contains(stack, "boomerang/internal/") || strings.Contains(stack, "boomerang/internal/e2e.")
	})
}

func labelled(t *testing.T, label string) []container.Summary {
	t.Helper()
	list, err := engine(t).ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTheInitsVolumeIsTheOnlyOne(t *testing.T) {
	image := derive(t, "VOLUME /data")
	h := enter(t, catalogue(t, "languages:\n  bash: {image: '"+image+"', file: main.sh, command: [bash, '{file}']}\n"))
	id := h.submit("echo kept > /data/file; cat /data/file; echo up; exec sleep 3600", bash)
	h.running(id, "up\n")
	inspect, err := engine(t).ContainerInspect(t.Context(), h.container(id))
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
	h.expect(id, ending{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143, Stdout: "kept\nup\n"})
}

// derive makes an image of another with a change; it is removed with the test.
func derive(t *testing.T, change string) string {
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

func TestSecretsAreNowhereToBeFound(t *testing.T) {
	const canary = "c4n4ry"
	h := enter(t, slots(1), func(c *config.Config) { c.Log.Level = "trace" })
	hook := httptest.NewServer(receiver.New(receiver.Config{Secrets: []string{canary + "-secret"}, Handle: h.receiver.take}))
	t.Cleanup(hook.Close)
	deaf := httptest.NewServer(http.NotFoundHandler())
	deaf.Close() // nobody takes its callbacks, so its delivery waits with all its secrets
	submit := func(url string) execution.ID {
		return h.submit(`[ "$TOKEN" = `+canary+`-env ] && [ "$(cat)" = `+canary+`-stdin ] && [ "$(cat file)" = `+canary+`-file ] &&
			[ "$1" = `+canary+`-arg ] && echo up; exec sleep 3600`, bash, fields{
			"callback_url":              url,
			"env":                       map[string]string{"TOKEN": canary + "-env"},
			"args":                      []string{canary + "-arg"},
			"stdin":                     canary + "-stdin",
			"files":                     []fields{{"path": "file", "text": canary + "-file"}},
			"callback_headers":          map[string]string{"Authorization": canary + "-header"},
			"callback_signature_secret": canary + "-secret",
		})
	}
	runs, waits, undelivered := submit(hook.URL), submit(hook.URL), submit(deaf.URL)
	h.running(runs, "up\n")
	h.searched(canary, "while one runs and the others wait")
	for what, text := range h.told(runs) {
		if strings.Contains(text, canary) {
			t.Errorf("%s shows it: %s", what, text)
		}
	}
	for _, id := range []execution.ID{undelivered, waits, runs} {
		h.cancel(id)
	}
	for _, id := range []execution.ID{waits, runs} {
		if got := h.callback(id).Header.Get("Authorization"); got != canary+"-header" {
			t.Errorf("the header arrived as %q, so the canary was not there to be found", got)
		}
	}
	if !eventually(t, func() bool { return h.record(undelivered)["callback"].(map[string]any)["attempts"] != 0.0 }) {
		t.Error("nobody tried to deliver")
	}
	h.searched(canary, "when they have ended")
	h.leave()
	h.searched(canary, "when the server has stopped")
}

// told is what a client of the server and a user of the engine are shown of an execution that runs.
func (h *house) told(id execution.ID) map[string]string {
	h.t.Helper()
	docker := engine(h.t)
	inspect, inspectErr := docker.ContainerInspect(h.t.Context(), h.container(id))
	top, topErr := docker.ContainerTop(h.t.Context(), h.container(id), nil)
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

// searched fails when the word stands in a file of the data directory or in the server's log.
func (h *house) searched(word, when string) {
	h.t.Helper()
	if strings.Contains(h.log.String(), word) {
		h.t.Errorf("%s it stands in the log", when)
	}
	err := filepath.WalkDir(h.config.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(word)) {
			h.t.Errorf("%s it stands in %s", when, entry.Name())
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
}
