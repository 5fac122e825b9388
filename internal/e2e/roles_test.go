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

// divided is a server of two halves: the API in this process, which has no engine, and a runner in a process of its own.
func divided(t *testing.T, change ...func(*config.Config)) (h *house, startRunner func() (kill func())) {
	t.Helper()
	var engine string
	h = enter(t, append(slices.Concat([]func(*config.Config){cold(t)}, change), func(c *config.Config) {
		engine = c.Docker.Host
		c.Role = config.API
		c.Docker.Host = "unix://" + filepath.Join(t.TempDir(), "none.sock")
	})...)
	c := &crowd{dir: h.config.DataDir}
	return h, func() func() {
		end := c.serve(t, func(s *config.Config) {
			s.Role, s.Docker.Host, s.Dispatch.Slots = config.Runner, engine, 2
			s.Languages = h.config.Languages
			s.HTTP.Addr = h.app.Addr() // taken: a runner that listened would fail
		})
		return func() { end(syscall.SIGKILL) }
	}
}

// tidied fails when the runner, which has none wait, leaves containers behind. It comes before the runner is killed.
func (h *house) tidied(t *testing.T) {
	t.Helper()
	if !eventually(t, func() bool { return len(h.containers()) == 0 }) {
		t.Error("the runner leaves containers behind")
	}
}

func TestTheRunnerTellsTheAPIWhichLanguagesThereAre(t *testing.T) {
	h, startRunner := divided(t, catalogue(t, `
languages:
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"]}
  ghost: {image: "boomerang/there-is-none:latest", pull: never, optional: true, file: main.g, command: [ghost, "{file}"]}
`))
	h.offers("bash", "ghost") // nobody knows better yet
	kill := startRunner()
	defer kill()
	h.offers("bash")
	h.leave() // the API that comes next knows it from the start
	h.start()
	h.offers("bash")
}

func TestTheHalvesOfAServerShareTheStoreAlone(t *testing.T) {
	h, startRunner := divided(t)
	waiting := h.submit("echo waited", bash)
	kill := startRunner()
	h.expect(waiting, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "waited\n"})

	growing := h.submit("echo first; read -t 60 < <(sleep 60); echo last", bash, fields{"timeout": 50})
	h.running(growing, "first\n") // while it runs, through the store
	h.cancel(growing)
	h.expect(growing, ending{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: 143, Stdout: "first\n"}, "cancelled")

	begin := time.Now()
	h.callback(h.submit("echo quick", bash))
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("a callback came after %s: nobody was woken", took)
	}
	if !eventually(t, func() bool {
		status, _ := h.call(http.MethodGet, "/readyz", nil)
		return status == http.StatusOK
	}) {
		t.Error("with its runner it is not ready")
	}

	surviving := h.submit("for i in {1..40}; do echo $i; sleep 0.1; done; echo kept >file", bash, fields{"artifacts": []string{"*"}})
	followed := h.listen(surviving)
	followed.hear(3) // each piece is seen within the pace of the store
	h.running(surviving, "1\n2\n")
	kill()
	_, _, seen := h.output(surviving, "stdout")
	startRunner()
	var want strings.Builder
	for i := range 40 {
		fmt.Fprintln(&want, i+1)
	}
	if !strings.HasPrefix(want.String(), seen) || seen == "" {
		t.Errorf("while no runner was there: %q", seen)
	}
	for followed.end == nil {
		followed.hear(1000)
	}
	same(t, "what was followed through the store", followed.text["stdout"].String(), want.String())
	h.expect(surviving, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: want.String()})
	if status, got := h.download(surviving, "file"); status != http.StatusOK || string(got) != "kept\n" {
		t.Errorf("a file that it left: got %d %q", status, got)
	}
	h.tidied(t)
}

func TestEachHalfIsThereOnce(t *testing.T) {
	h, startRunner := divided(t)
	startRunner()
	h.callback(h.submit("echo up", bash)) // now the runner is there
	quiet := logrus.New()
	quiet.SetOutput(&h.log)
	for _, role := range []config.Role{config.API, config.Runner, config.Everything} {
		c := h.config
		c.Role = role
		if _, err := app.New(t.Context(), c, "test", logrus.NewEntry(quiet)); err == nil || !strings.Contains(err.Error(), "is in use by process") {
			t.Errorf("a second %s: %v, want that the directory is in use", role, err)
		}
	}
	h.tidied(t)
}

func TestAWorkspaceIsSavedWholeOrNotAtAll(t *testing.T) {
	h, startRunner := divided(t)
	h.put("w", "f", "before")
	saving := h.submit("echo $(cat f); head -c 60000000 /dev/urandom > big; for i in {1..300}; do echo $i > $i; done; echo after > f", bash, writing)
	before, after := map[string]string{"f": "6"}, map[string]string{"f": "6", "big": "60000000"}
	for i := range 300 {
		after[strconv.Itoa(i+1)] = strconv.Itoa(len(fmt.Sprintln(i + 1)))
	}
	kill, killed := startRunner(), 0
	for { // in the middle of the saving, as often as it takes
		_, record := h.call(http.MethodGet, "/executions/"+string(saving), nil)
		if execution.State(record["status"].(string)).Terminal() {
			break
		}
		_, text := h.sent(http.MethodGet, "/workspaces/w/files/f", "")
		if killed < 2 && h.saving() {
			kill()
			killed++
			if text != "before" {
				t.Errorf("while it is saved: %q", text)
			}
			h.same(before)
			kill = startRunner()
		}
	}
	if killed == 0 {
		t.Error("it was saved before anything could be killed")
	}
	if got := h.callback(saving).Payload; got.Status != execution.Completed || got.Stdout != "before\n" {
		t.Errorf("got %+v", got)
	}
	h.same(after)
	h.tidied(t)
}

// saving tells whether some of a workspace has come: there are pieces of blobs that nobody holds yet.
func (h *house) saving() bool {
	h.t.Helper()
	size := int64(0)
	for _, name := range []string{"boomerang.db", "boomerang.db-wal"} {
		if info, err := os.Stat(filepath.Join(h.config.DataDir, name)); err == nil {
			size += info.Size()
		}
	}
	return size > 20<<20
}
