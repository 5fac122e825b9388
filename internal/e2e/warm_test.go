//go:build e2e

package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// twoWarm is a languages file with two warm containers of an image.
func twoWarm(image string) string {
	return `
defaults: {pull: never, limits: {memory: 256MiB, pids: 128}}
languages:
  bash: {image: "` + image + `", file: main.sh, command: [bash, "{file}"], rehearsal: [bash, -c, ""], warm: 2}
`
}

const stock = "boomerang/bash:latest"

// warmContainers returns the containers that run, and of which neither the label nor the log names an execution.
func (h *harness) warmContainers() []container.Summary {
	h.t.Helper()
	return slices.DeleteFunc(h.containers(), func(c container.Summary) bool {
		return c.State != container.StateRunning || c.Labels["boomerang.execution"] != "" ||
			strings.Contains(h.log.String(), `"container":"`+c.ID+`"`)
	})
}

var metricsAddr = regexp.MustCompile(`"addr":"([^"]+)","level":"info","msg":"metrics are served"`)

// bothWait reports whether the server counts two warm containers. A container runs before the server has it, and the
// one that proves the engine only looks like a warm one. The metrics of a runner in another process are not asked.
func (h *harness) bothWait() bool {
	h.t.Helper()
	starts := metricsAddr.FindAllStringSubmatch(h.log.String(), -1)
	if len(starts) == 0 || h.config.Role != config.Everything {
		return h.config.Role != config.Everything
	}
	addr := starts[len(starts)-1][1]
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Contains(string(text), `boomerang_warm_containers{language="bash"} 2`)
}

// awaitNewWarm waits until there are two warm containers that are not among the old ones, and returns their IDs.
func (h *harness) awaitNewWarm(old ...string) (ids []string) {
	h.t.Helper()
	if !eventually(h.t, func() bool {
		ids = nil
		for _, c := range h.warmContainers() {
			ids = append(ids, c.ID)
		}
		repeated := slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(old, id) })
		return len(ids) == 2 && !repeated && h.bothWait()
	}) {
		h.t.Fatalf("got the warm containers %v, want two others than %v", ids, old)
	}
	return ids
}

func TestAnExecutionGetsAWarmContainer(t *testing.T) {
	h := newHarness(t, withLanguages(t, twoWarm(stock)))
	waited := h.awaitNewWarm()
	for range 2 {
		id := h.submit("echo $((6 * 7)); ls -A /tmp; cat; exit 3", bash, fields{"stdin": "in\n"})
		h.expectResult(id, result{Status: execution.Failed, Reason: execution.Exited, ExitCode: 3, Stdout: "42\nin\n"})
		if container := h.containerOf(id); !slices.Contains(waited, container) {
			t.Errorf("it ran in %s, want one of %v, which waited", container, waited)
		}
	}
	h.awaitNewWarm(waited...)
}

func TestAWarmContainerGetsTheLimitsOfItsExecution(t *testing.T) {
	h := newHarness(t, withLanguages(t, twoWarm(stock)))
	const reads = `cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes
		cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max
		cut -d" " -f1 /sys/fs/cgroup/cpu.max; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us`
	const allocates = `x=$(head -c 60000000 /dev/zero | tr "\\0" x); echo ${#x}`
	less := fields{"limits": fields{"memory": "64MiB", "cpus": 0.5, "pids": 20}}
	for _, c := range []struct {
		limits   fields
		numbers  string
		allocate result
	}{
		{
			less, fmt.Sprintf("%d\n%d\n50000\n", 64*mib, 20+journal.Threads),
			result{Status: execution.Failed, Reason: execution.OutOfMemory, ExitCode: 137},
		},
		{
			fields{},
			fmt.Sprintf("%d\n%d\n100000\n", 256*mib, 128+journal.Threads),
			completed("60000000\n"),
		},
	} {
		waited := h.awaitNewWarm()
		numbers, allocates := h.submit(reads+" 2>/dev/null; true", bash, c.limits), h.submit(allocates, bash, c.limits)
		p := h.awaitCallback(numbers).Payload
		if diff := cmp.Diff(c.numbers, p.Stdout); diff != "" {
			t.Errorf("the limits inside (-want +got):\n%s", diff)
		}
		h.expectResult(allocates, c.allocate)
		for _, id := range []execution.ID{numbers, allocates} {
			if container := h.containerOf(id); !slices.Contains(waited, container) {
				t.Errorf("it ran in %s, want one of %v, which waited", container, waited)
			}
		}
	}
}

// Each case has a server of its own: a pool that loses containers several times in a row waits longer before the next.
func TestALostWarmContainerIsReplaced(t *testing.T) {
	docker := engine(t)
	for act, take := range map[string]func(id string) error{
		"kill": func(id string) error { return docker.ContainerKill(t.Context(), id, "KILL") },
		"stop": func(id string) error { return docker.ContainerStop(t.Context(), id, container.StopOptions{}) },
		"remove": func(id string) error {
			return docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true})
		},
	} {
		t.Run(act, func(t *testing.T) {
			h := newHarness(t, withLanguages(t, twoWarm(stock)))
			waited := h.awaitNewWarm()
			for _, id := range waited {
				if err := take(id); err != nil {
					t.Error(err)
				}
			}
			h.awaitNewWarm(waited...)
			h.expectResult(h.submit("echo again", bash), completed("again\n"))
		})
	}
}

func TestAProgramWaitsInAPausedContainer(t *testing.T) {
	h := newHarness(t, withLanguages(t, twoWarm(stock)))
	docker := engine(t)
	waited := h.awaitNewWarm()
	for _, id := range waited {
		if err := docker.ContainerPause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	id := h.submit("echo thawed", bash)
	if !eventually(t, func() bool { return h.state(id) == execution.Running }) {
		t.Errorf("the execution is %s, want running", h.state(id))
	}
	for _, id := range waited {
		if err := docker.ContainerUnpause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	h.expectResult(id, completed("thawed\n"))
}

func TestAReloadRenewsWarmContainers(t *testing.T) {
	docker, name := engine(t), "boomerang-test-"+strings.ToLower(rand.Text()[:8])
	built := func(image string) {
		t.Helper()
		if err := docker.ImageTag(t.Context(), image, name); err != nil {
			t.Fatal(err)
		}
	}
	built(commitImage(t, "ENV MADE=once"))
	h := newHarness(t, withLanguages(t, twoWarm(name)))
	waited := h.awaitNewWarm()
	built(commitImage(t, "ENV MADE=twice")) // under the same name, which the server has looked up seconds ago
	if err := h.app.Reload(h.config); err != nil {
		t.Fatal(err)
	}
	h.expectResult(h.submit("echo $MADE", bash), completed("twice\n"))
	waited = append(waited, h.awaitNewWarm(waited...)...)
	h.expectResult(h.submit("echo $MADE", bash), completed("twice\n"))
	image := commitImage(t, "ENV MADE=anew")
	if err := os.WriteFile(h.config.Languages.File, []byte(twoWarm(image)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.app.Reload(h.config); err != nil {
		t.Fatal(err)
	}
	waited = h.awaitNewWarm(waited...)
	id := h.submit("echo $MADE", bash)
	h.expectResult(id, completed("anew\n"))
	if container := h.containerOf(id); !slices.Contains(waited, container) {
		t.Errorf("it ran in %s, want one of %v, which waited", container, waited)
	}
	h.stopServer() // before the image is removed
}

func TestARehearsalThatEndsItsContainerHarmsNoProgram(t *testing.T) {
	h := newHarness(t, withLanguages(t, strings.Replace(twoWarm(stock), `[bash, -c, ""]`, `[bash, -c, "kill 1"]`, 1)))
	if !eventually(t, func() bool {
		return strings.Contains(h.log.String(), "a container is gone that had hardly begun to wait")
	}) {
		t.Error("the log does not say that a container was lost")
	}
	for range 3 {
		h.expectResult(h.submit("echo well", bash), completed("well\n"))
	}
}

func TestAKilledServerLeavesNoWarmContainer(t *testing.T) {
	h, startRunner := newSplitHarness(t, withLanguages(t, twoWarm(stock)))
	kill := startRunner()
	killed := h.awaitNewWarm()
	kill()
	if !eventually(t, func() bool { return len(h.warmContainers()) == 0 }) {
		t.Error("a warm container outlives its killed server")
	}
	h.stopServer()
	h.config.Role, h.config.Docker.Host = config.Everything, config.Defaults().Docker.Host
	h.startServer()
	h.awaitNewWarm(killed...)
	if !eventually(t, func() bool {
		return !slices.ContainsFunc(h.containers(), func(c container.Summary) bool {
			return slices.Contains(killed, c.ID)
		})
	}) {
		t.Errorf("warm containers of the killed server are left: %v", h.containers())
	}
}
