//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"boomerang/configs"
	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/servertest"
)

// result is the end of an execution in its callback.
type result struct {
	Status         execution.State
	Reason         execution.Reason
	ExitCode       int // noExitCode if exit_code is null
	Stdout, Stderr string
	NeverRan       bool // started_at is null
	Unproven       bool // output_complete is false
}

// completed is the result of a program that printed stdout and exited with 0.
func completed(stdout string) result {
	return result{Status: execution.Completed, Reason: execution.Exited, Stdout: stdout}
}

// noExitCode stands for an exit code that is null.
const noExitCode = -1

// expectResult waits for the callback of an execution and compares it with want. Unless the execution completed, the
// error in the callback must be a sentence that contains the words.
func (h *harness) expectResult(id execution.ID, want result, words ...string) {
	h.t.Helper()
	p := h.awaitCallback(id).Payload
	got := result{
		Status: p.Status, Reason: p.Reason, ExitCode: noExitCode, Stdout: p.Stdout, Stderr: p.Stderr,
		NeverRan: p.StartedAt == nil, Unproven: !p.OutputComplete,
	}
	if p.ExitCode != nil {
		got.ExitCode = *p.ExitCode
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", id, diff)
	}
	if p.Success != (want.Status == execution.Completed) || (p.Error == nil) != p.Success {
		h.t.Errorf("%s: got success %v and error %v", id, p.Success, p.Error)
		return
	}
	if p.Error == nil {
		return
	}
	if *p.Error == "" || strings.Contains(*p.Error, "\n") {
		h.t.Errorf("%s: the error %q is not a sentence", id, *p.Error)
	}
	for _, word := range words {
		if !strings.Contains(*p.Error, word) {
			h.t.Errorf("%s: the error %q does not contain %q", id, *p.Error, word)
		}
	}
}

func (h *harness) cancel(id execution.ID) {
	h.t.Helper()
	if status, answer := h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil); status != http.StatusOK {
		h.t.Errorf("cancel %s: %d %v", id, status, answer)
	}
}

// containerOf returns the ID of the container of an execution from the log: a warm container has no label with the
// execution.
func (h *harness) containerOf(id execution.ID) (container string) {
	h.t.Helper()
	for _, entry := range servertest.ParseLog(h.log.String()) {
		if entry.Execution == id && entry.Container != "" {
			container = entry.Container
		}
	}
	if container == "" {
		h.t.Fatalf("the log has no container of %s", id)
	}
	return container
}

// withoutWarmContainers turns off warm containers for the languages that ship.
func withoutWarmContainers(t testing.TB) func(*config.Config) {
	t.Helper()
	return withLanguages(t, strings.Replace(string(configs.Languages), "defaults:\n", "defaults:\n  warm: 0\n", 1))
}

// withLanguages makes the server read its languages from a file with this text.
func withLanguages(t testing.TB, text string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "languages.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Languages.File = path }
}

func withSlots(n int) func(*config.Config) {
	return func(c *config.Config) { c.Dispatch.Slots = n }
}

var bash = fields{"language": "bash"}

func TestTheEndOfAProgramIsReportedExactly(t *testing.T) {
	h := newHarness(t)
	exited := func(code int) result {
		return result{Status: execution.Failed, Reason: execution.Exited, ExitCode: code}
	}
	signaled := func(code int) result {
		return result{Status: execution.Failed, Reason: execution.Signaled, ExitCode: code}
	}
	cases := []struct {
		code  string
		want  result
		words []string
	}{
		{"echo out; echo err >&2", result{
			Status: execution.Completed, Reason: execution.Exited, Stdout: "out\n",
			Stderr: "err\n",
		}, nil},
		{"exit 1", exited(1), []string{"code 1."}},
		{"exit 255", exited(255), []string{"code 255."}},
		{"exit 124", exited(124), []string{"code 124."}}, // not a timeout
		{"exit 137", exited(137), []string{"code 137."}}, // not a kill
		// A child's end is not the program's.
		{"exec 2>/dev/null\nbash -c 'kill -SEGV $$'\nexit $?", exited(139), []string{"code 139."}},
		{"kill -SEGV $$", signaled(139), []string{"11", "SIGSEGV"}},
		{"kill -ABRT $$", signaled(134), []string{"6", "SIGABRT"}},
		{"kill -TERM $$", signaled(143), []string{"15", "SIGTERM"}},
		{"kill -KILL $$", signaled(137), []string{"9", "SIGKILL"}}, // and memory was not the cause
		{"kill -64 $$", signaled(192), []string{"64"}},
	}
	ids := make([]execution.ID, len(cases))
	for i, c := range cases {
		ids[i] = h.submit(c.code, bash)
	}
	for i, c := range cases {
		h.expectResult(ids[i], c.want, c.words...)
	}
}

func TestExceedingTheMemoryLimitIsOutOfMemory(t *testing.T) {
	h := newHarness(t, withSlots(2), withLanguages(t, `
languages:
  python: {image: "boomerang/python:latest", file: main.py, command: [python3, "{file}"]}
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"], limits: {memory: 64MiB}}
`))
	itself := h.submit("print('up', flush=True)\nb = b'x' * (600 << 20)\nprint(len(b))") // the limit is 512 MiB
	// Keeps an endless line in memory.
	const eat = "exec 2>/dev/null\ntail /dev/zero\n"
	child := h.submit(eat+"exit $?", bash)
	outlived := h.submit(eat+"echo \"it ended with $?\"", bash)
	outOfMemory := result{Status: execution.Failed, Reason: execution.OutOfMemory, ExitCode: 137}
	h.expectResult(child, outOfMemory, "memory")
	h.expectResult(outlived, completed("it ended with 137\n"))
	outOfMemory.Stdout = "up\n"
	h.expectResult(itself, outOfMemory, "memory")
}

func TestAMissingImageFailsOnlyItsLanguage(t *testing.T) {
	h := newHarness(t, withSlots(1), withLanguages(t, `
languages:
  python:
    image: boomerang/python:latest
    file: main.py
    command: [python3, "{file}"]
  ghost:
    image: boomerang/there-is-none:latest
    pull: never
    file: main.g
    command: [ghost, "{file}"]
`))
	ghosts := []execution.ID{h.submit("boo", fields{"language": "ghost"}), h.submit("boo", fields{"language": "ghost"})}
	h.expectResult(h.submit("print(1)"), completed("1\n"))
	for _, id := range ghosts {
		h.expectResult(id, result{
			Status: execution.Failed, Reason: execution.ImageUnavailable, ExitCode: noExitCode,
			NeverRan: true,
		}, `"ghost"`)
	}
	if status, failing := h.failingChecks(); status != http.StatusServiceUnavailable ||
		!cmp.Equal(failing, []string{"images"}) {
		t.Errorf("readyz: %d, failing %v", status, failing)
	}
	if strings.Contains(h.log.String(), "pull image") {
		t.Error("the engine tried to pull an image whose pull policy is never")
	}
}

func TestAProgramThatCannotStartHasItsOwnReason(t *testing.T) {
	const head = "{image: 'boomerang/bash:latest', pull: never, file: main.sh, command: "
	h := newHarness(t, withLanguages(t, "languages:\n"+
		"  absent: "+head+"[no-such-program, '{file}']}\n"+
		"  barred: "+head+"['./{file}']}\n"+
		"  folder: "+head+"[/usr, '{file}']}\n"+
		"  narrow: "+head+"[bash, '{file}'], limits: {workspace: 4KiB}}\n"+
		"  alien:  "+head+"[bash, '{file}'], runtime: no-such-runtime}\n"))
	code := "echo " + strings.Repeat("x", 8<<10)
	words := map[string][]string{
		"absent": {"no-such-program", "not in PATH"},
		"barred": {"./main.sh", "permission denied"},
		"folder": {"/usr", "is a directory"},
		"narrow": {"/workspace/main.sh", "no space left"},
		"alien":  {`"alien"`}, // the message of the engine is for the operator
	}
	ids := map[string]execution.ID{}
	for language := range words {
		ids[language] = h.submit(code, fields{"language": language})
	}
	for language, id := range ids {
		h.expectResult(id, result{
			Status: execution.Failed, Reason: execution.StartFailed, ExitCode: noExitCode,
			NeverRan: true,
		}, words[language]...)
	}
}

func TestAnExecutionWhoseContainerVanishesIsLost(t *testing.T) {
	h := newHarness(t, withSlots(1))
	docker := engine(t)
	for act, take := range map[string]func(id string) error{
		"kill": func(id string) error { return docker.ContainerKill(t.Context(), id, "KILL") },
		"remove": func(id string) error {
			return docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true})
		},
	} {
		id := h.submit("echo up; exec sleep 3600", bash)
		h.awaitOutput(id, "up\n")
		if err := take(h.containerOf(id)); err != nil {
			t.Errorf("%s: %v", act, err)
		}
		h.expectResult(id, result{
			Status: execution.Failed, Reason: execution.Lost, ExitCode: noExitCode,
			Stdout: "up\n", Unproven: true,
		})
	}
	h.expectResult(h.submit("echo next", bash), completed("next\n"))
}

func TestATimeoutDeliversTheOutputSoFar(t *testing.T) {
	const limit = 3 // seconds
	h := newHarness(t)
	cases := []struct{ code, stdout, stderr string }{
		{"printf up; exec sleep 3600", "up", ""},
		{"trap '' TERM; echo up; sleep 3600", "up\n", ""},
		{"trap 'echo bye; echo err >&2; exit 0' TERM; echo up; sleep 3600 & wait", "up\nbye\n", "err\n"},
		{"echo up; (trap '' TERM; exec sleep 3600) & exec sleep 3600", "up\n", ""},
	}
	ids := make([]execution.ID, len(cases))
	for i, c := range cases {
		ids[i] = h.submit(c.code, bash, fields{"timeout": limit})
	}
	for i, c := range cases {
		h.expectResult(ids[i], result{
			Status: execution.Timeout, Reason: execution.TimedOut, ExitCode: 124, Stdout: c.stdout, Stderr: c.stderr,
		}, "timeout")
		if took := time.Duration(h.awaitCallback(ids[i]).Payload.ExecutionTime); took < limit*time.Second {
			t.Errorf("%q ended after %s", c.code, took)
		}
	}
}

func TestACancelReportsTheStateThatItMet(t *testing.T) {
	h := newHarness(t, withSlots(3))
	cancelled := func(code int, stdout string) result {
		return result{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: code, Stdout: stdout}
	}
	want := map[execution.ID]result{
		h.submit("echo up; exec sleep 3600", bash):                                 cancelled(143, "up\n"),
		h.submit("trap '' TERM; echo up; sleep 3600", bash):                        cancelled(137, "up\n"),
		h.submit("trap 'echo bye; exit 3' TERM; echo up; sleep 3600 & wait", bash): cancelled(143, "up\nbye\n"),
	}
	for id := range want {
		h.awaitOutput(id, "up\n")
	}
	queued := h.submit("echo never", bash)
	h.cancel(queued)
	want[queued] = result{
		Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: noExitCode,
		NeverRan: true,
	}
	for id, end := range want {
		h.cancel(id)
		h.expectResult(id, end, "cancelled")
	}
}
