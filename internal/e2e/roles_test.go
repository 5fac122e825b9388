//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/app"
	"boomerang/internal/config"
	"boomerang/internal/execution"
)

// newSplitHarness starts the API role in this process, without an engine. The function that it returns starts the
// runner role in a process of its own.
func newSplitHarness(t *testing.T, change ...func(*config.Config)) (h *harness, startRunner func() (kill func())) {
	t.Helper()
	var engine string
	h = newHarness(t, append(slices.Concat([]func(*config.Config){withoutWarmContainers(t)}, change),
		func(c *config.Config) {
			engine = c.Docker.Host
			c.Role = config.API
			c.Docker.Host = "unix://" + filepath.Join(t.TempDir(), "none.sock")
		})...)
	c := &receivers{dir: h.config.DataDir}
	return h, func() func() {
		end := c.serve(t, func(s *config.Config) {
			s.Role, s.Docker.Host, s.Dispatch.Slots = config.Runner, engine, 2
			s.Languages = h.config.Languages
			s.HTTP.Addr = h.app.Addr() // in use: a runner that listened would fail
		})
		return func() { end(syscall.SIGKILL) }
	}
}

// checkRunnerCleanup fails the test if the runner, which has no warm containers, leaves containers behind. Call it
// before the runner is killed.
func (h *harness) checkRunnerCleanup(t *testing.T) {
	t.Helper()
	if !eventually(t, func() bool { return len(h.containers()) == 0 }) {
		t.Error("the runner leaves containers behind")
	}
}

func TestTheRunnerTellsTheAPIWhichLanguagesExist(t *testing.T) {
	h, startRunner := newSplitHarness(t, withLanguages(t, `
languages:
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"]}
  ghost:
    {image: "boomerang/there-is-none:latest", pull: never, optional: true, file: main.g, command: [ghost, "{file}"]}
`))
	h.awaitLanguages("bash", "ghost") // no runner has checked the images yet
	kill := startRunner()
	defer kill()
	h.awaitLanguages("bash")
	h.stopServer() // the next API process knows the languages at once
	h.startServer()
	h.awaitLanguages("bash")
	h.checkRunnerCleanup(t) // the runner removes the container that proved its engine
}

func TestTheAPIAndTheRunnerShareOnlyTheStore(t *testing.T) {
	h, startRunner := newSplitHarness(t)
	waiting := h.submit("echo waited", bash)
	kill := startRunner()
	h.expectResult(waiting, completed("waited\n"))

	growing := h.submit("echo first; read -t 60 < <(sleep 60); echo last", bash, fields{"timeout": 50})
	h.awaitOutput(growing, "first\n") // read through the store while the program runs
	h.cancel(growing)
	h.expectResult(growing, result{
		Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143,
		Stdout: "first\n",
	}, "cancelled")

	begin := time.Now()
	h.awaitCallback(h.submit("echo quick", bash))
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("the callback arrived after %s, so the API was not notified", took)
	}
	if !eventually(t, func() bool {
		status, _ := h.call(http.MethodGet, "/readyz", nil)
		return status == http.StatusOK
	}) {
		t.Error("the API is not ready with its runner")
	}

	surviving := h.submit("for i in {1..40}; do echo $i; sleep 0.1; done; echo kept >file", bash,
		fields{"artifacts": []string{"*"}})
	followed := h.follow(surviving)
	followed.read(3) // pieces arrive as often as the runner stores them
	h.awaitOutput(surviving, "1\n2\n")
	kill()
	_, _, seen := h.output(surviving, "stdout")
	startRunner()
	var want strings.Builder
	for i := range 40 {
		fmt.Fprintln(&want, i+1)
	}
	if !strings.HasPrefix(want.String(), seen) || seen == "" {
		t.Errorf("output while no runner ran: got %q", seen)
	}
	for followed.end == nil {
		followed.read(1000)
	}
	compareText(t, "the output followed through the store", followed.text["stdout"].String(), want.String())
	h.expectResult(surviving, completed(want.String()))
	if status, got := h.download(surviving, "file"); status != http.StatusOK || string(got) != "kept\n" {
		t.Errorf("artifact: got %d %q", status, got)
	}
	h.checkRunnerCleanup(t)
}

func TestEachRoleRunsOnlyOnce(t *testing.T) {
	h, startRunner := newSplitHarness(t)
	startRunner()
	h.awaitCallback(h.submit("echo up", bash)) // now the runner runs
	log := logrus.New()
	log.SetOutput(&h.log)
	for _, role := range []config.Role{config.API, config.Runner, config.Everything} {
		c := h.config
		c.Role = role
		if _, err := app.New(t.Context(), c, "test", logrus.NewEntry(log)); err == nil ||
			!strings.Contains(err.Error(), "is in use by process") {
			t.Errorf("a second %s: got %v, want that the directory is in use", role, err)
		}
	}
	h.checkRunnerCleanup(t)
}

func TestAWorkspaceIsSavedWholeOrNotAtAll(t *testing.T) {
	h, startRunner := newSplitHarness(t)
	h.putFile("w", "f", "before")
	saving := h.submit("echo $(cat f); head -c 60000000 /dev/urandom > big; for i in {1..300}; do echo $i > $i; "+
		"done; echo after > f", bash, writing)
	before, after := map[string]string{"f": "6"}, map[string]string{"f": "6", "big": "60000000"}
	for i := range 300 {
		after[strconv.Itoa(i+1)] = strconv.Itoa(len(fmt.Sprintln(i + 1)))
	}
	kill, killed := startRunner(), 0
	for { // kills the runner while it saves
		_, record := h.call(http.MethodGet, "/executions/"+string(saving), nil)
		if execution.State(record["status"].(string)).Terminal() {
			break
		}
		_, text := h.send(http.MethodGet, "/workspaces/w/files/f", "")
		if killed < 2 && h.isSaving() {
			kill()
			killed++
			if text != "before" {
				t.Errorf("while the workspace is saved: got %q, want the old content", text)
			}
			h.checkWorkspace(before)
			kill = startRunner()
		}
	}
	if killed == 0 {
		t.Error("the workspace was saved before the runner could be killed")
	}
	if got := h.awaitCallback(saving).Payload; got.Status != execution.Completed || got.Stdout != "before\n" {
		t.Errorf("got %+v", got)
	}
	h.checkWorkspace(after)
	h.checkRunnerCleanup(t)
}

// isSaving reports whether parts of the workspace are in the store: chunks of blobs that no workspace has yet.
func (h *harness) isSaving() bool {
	h.t.Helper()
	size := int64(0)
	for _, name := range []string{"boomerang.db", "boomerang.db-wal"} {
		if info, err := os.Stat(filepath.Join(h.config.DataDir, name)); err == nil {
			size += info.Size()
		}
	}
	return size > 20<<20
}
