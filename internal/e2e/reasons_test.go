//go:build e2e

package e2e

import (
	"encoding/json"
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
)

// ending is what a callback says of how an execution ended.
type ending struct {
	Status         execution.State
	Reason         execution.Reason
	ExitCode       int // none when it is null
	Stdout, Stderr string
	NeverRan       bool // started_at is null
	Unproven       bool // output_complete is false
}

const none = -1

// expect waits for the callback of an execution and holds it against want. Its error is a sentence that has the words,
// or null when it completed.
func (h *house) expect(id execution.ID, want ending, words ...string) {
	h.t.Helper()
	p := h.callback(id).Payload
	got := ending{
		Status: p.Status, Reason: p.Reason, ExitCode: none, Stdout: p.Stdout, Stderr: p.Stderr,
		NeverRan: p.StartedAt == nil, Unproven: !p.OutputComplete,
	}
	if p.ExitCode != nil {
		got.ExitCode = *p.ExitCode
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("%s (-want +got):\n%s", id, diff)
	}
	if p.Success != (want.Status == execution.Completed) || (p.Error == nil) != p.Success {
		h.t.Errorf("%s: success is %v and error is %v", id, p.Success, p.Error)
		return
	}
	if p.Error == nil {
		return
	}
	if *p.Error == "" || strings.Contains(*p.Error, "\n") {
		h.t.Errorf("%s: the error %q is no sentence", id, *p.Error)
	}
	for _, word := range words {
		if !strings.Contains(*p.Error, word) {
			h.t.Errorf("%s: the error %q does not say %q", id, *p.Error, word)
		}
	}
}

func (h *house) cancel(id execution.ID) {
	h.t.Helper()
	if status, answer := h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil); status != http.StatusOK {
		h.t.Errorf("cancel %s: %d %v", id, status, answer)
	}
}

// container is the one container that an execution runs in. One that waited bears no execution's label, so the log tells.
func (h *house) container(id execution.ID) (container string) {
	h.t.Helper()
	for line := range strings.Lines(h.log.String()) {
		var entry struct {
			Execution execution.ID `json:"execution_id"`
			Container string
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Execution == id && entry.Container != "" {
			container = entry.Container
		}
	}
	if container == "" {
		h.t.Fatalf("%s has no container", id)
	}
	return container
}

// cold has no containers wait for the languages that ship.
func cold(t testing.TB) func(*config.Config) {
	t.Helper()
	return catalogue(t, strings.Replace(string(configs.Languages), "defaults:\n", "defaults:\n  warm: 0\n", 1))
}

// catalogue makes the server read its languages from a file of this text.
func catalogue(t testing.TB, text string) func(*config.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "languages.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *config.Config) { c.Languages.File = path }
}

func slots(n int) func(*config.Config) {
	return func(c *config.Config) { c.Dispatch.Slots = n }
}

var bash = fields{"language": "bash"}

func TestHowAProgramEndedIsToldExactly(t *testing.T) {
	h := enter(t)
	exited := func(code int) ending {
		return ending{Status: execution.Failed, Reason: execution.Exited, ExitCode: code}
	}
	signaled := func(code int) ending {
		return ending{Status: execution.Failed, Reason: execution.Signaled, ExitCode: code}
	}
	cases := []struct {
		code  string
		want  ending
		words []string
	}{
		{"echo out; echo err >&2", ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "out\n", Stderr: "err\n"}, nil},
		{"exit 1", exited(1), []string{"code 1."}},
		{"exit 255", exited(255), []string{"code 255."}},
		{"exit 124", exited(124), []string{"code 124."}},                                           // no timeout
		{"exit 137", exited(137), []string{"code 137."}},                                           // nobody was killed
		{"exec 2>/dev/null\nbash -c 'kill -SEGV $$'\nexit $?", exited(139), []string{"code 139."}}, // a child's end is not the program's
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
		h.expect(ids[i], c.want, c.words...)
	}
}

func TestMemoryThatIsUsedUpIsOutOfMemory(t *testing.T) {
	h := enter(t, slots(2), catalogue(t, `
languages:
  python: {image: "boomerang/python:latest", file: main.py, command: [python3, "{file}"]}
  bash: {image: "boomerang/bash:latest", file: main.sh, command: [bash, "{file}"], limits: {memory: 64MiB}}
`))
	itself := h.submit("print('up', flush=True)\nb = b'x' * (600 << 20)\nprint(len(b))") // of 512 MiB
	const eat = "exec 2>/dev/null\ntail /dev/zero\n"                                     // it holds an endless line in memory
	child := h.submit(eat+"exit $?", bash)
	outlived := h.submit(eat+"echo \"it ended with $?\"", bash)
	outOfMemory := ending{Status: execution.Failed, Reason: execution.OutOfMemory, ExitCode: 137}
	h.expect(child, outOfMemory, "memory")
	h.expect(outlived, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "it ended with 137\n"})
	outOfMemory.Stdout = "up\n"
	h.expect(itself, outOfMemory, "memory")
}

func TestAMissingImageFailsItsOwnLanguageAlone(t *testing.T) {
	h := enter(t, slots(1), catalogue(t, `
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
	h.expect(h.submit("print(1)"), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "1\n"})
	for _, id := range ghosts {
		h.expect(id, ending{Status: execution.Failed, Reason: execution.ImageUnavailable, ExitCode: none, NeverRan: true}, `"ghost"`)
	}
	if status, failing := h.failing(); status != http.StatusServiceUnavailable || !cmp.Equal(failing, []string{"images"}) {
		t.Errorf("readyz: %d, failing %v", status, failing)
	}
	if strings.Contains(h.log.String(), "pull image") {
		t.Error("a registry was asked for an image that is never to be pulled")
	}
}

func TestAProgramThatCannotBeStartedIsToldApart(t *testing.T) {
	const head = "{image: 'boomerang/bash:latest', pull: never, file: main.sh, command: "
	h := enter(t, catalogue(t, "languages:\n"+
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
		"alien":  {`"alien"`}, // what the engine says of it is the operator's business
	}
	ids := map[string]execution.ID{}
	for language := range words {
		ids[language] = h.submit(code, fields{"language": language})
	}
	for language, id := range ids {
		h.expect(id, ending{Status: execution.Failed, Reason: execution.StartFailed, ExitCode: none, NeverRan: true}, words[language]...)
	}
}

func TestAContainerThatIsTakenAwayIsLost(t *testing.T) {
	h := enter(t, slots(1))
	docker := engine(t)
	for act, take := range map[string]func(id string) error{
		"kill": func(id string) error { return docker.ContainerKill(t.Context(), id, "KILL") },
		"remove": func(id string) error {
			return docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true})
		},
	} {
		id := h.submit("echo up; exec sleep 3600", bash)
		h.running(id, "up\n")
		if err := take(h.container(id)); err != nil {
			t.Errorf("%s: %v", act, err)
		}
		h.expect(id, ending{Status: execution.Failed, Reason: execution.Lost, ExitCode: none, Stdout: "up\n", Unproven: true})
	}
	h.expect(h.submit("echo next", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "next\n"})
}

func TestATimeoutDeliversWhatWasPrintedUntilThen(t *testing.T) {
	const limit = 3 // seconds
	h := enter(t)
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
		h.expect(ids[i], ending{
			Status: execution.Timeout, Reason: execution.TimedOut, ExitCode: 124, Stdout: c.stdout, Stderr: c.stderr,
		}, "timeout")
		if took := time.Duration(h.callback(ids[i]).Payload.ExecutionTime); took < limit*time.Second {
			t.Errorf("%q ended after %s", c.code, took)
		}
	}
}

func TestACancelIsToldByWhatItMet(t *testing.T) {
	h := enter(t, slots(3))
	cancelled := func(code int, stdout string) ending {
		return ending{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: code, Stdout: stdout}
	}
	want := map[execution.ID]ending{
		h.submit("echo up; exec sleep 3600", bash):                                 cancelled(143, "up\n"),
		h.submit("trap '' TERM; echo up; sleep 3600", bash):                        cancelled(137, "up\n"),
		h.submit("trap 'echo bye; exit 3' TERM; echo up; sleep 3600 & wait", bash): cancelled(143, "up\nbye\n"),
	}
	for id := range want {
		h.running(id, "up\n")
	}
	queued := h.submit("echo never", bash)
	h.cancel(queued)
	want[queued] = ending{Status: execution.Cancelled, Reason: execution.WasCancelled, ExitCode: none, NeverRan: true}
	for id, end := range want {
		h.cancel(id)
		h.expect(id, end, "cancelled")
	}
}
