//go:build e2e

package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"boomerang/internal/config"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
)

// twoWait is a catalogue by which two containers wait, made from an image.
func twoWait(image string) string {
	return `
defaults: {pull: never, limits: {memory: 256MiB, pids: 128}}
languages:
  bash: {image: "` + image + `", file: main.sh, command: [bash, "{file}"], rehearsal: [bash, -c, ""], warm: 2}
`
}

const stock = "boomerang/bash:latest"

// waiting lists the containers that wait: they run, and neither the label nor the log knows an execution in them.
func (h *house) waiting() []container.Summary {
	h.t.Helper()
	return slices.DeleteFunc(h.containers(), func(c container.Summary) bool {
		return c.State != container.StateRunning || c.Labels["boomerang.execution"] != "" || strings.Contains(h.log.String(), `"berth":"`+c.ID+`"`)
	})
}

// replaced waits until two containers wait that are none of the old ones, and returns their ids.
func (h *house) replaced(old ...string) (ids []string) {
	h.t.Helper()
	if !eventually(h.t, func() bool {
		ids = nil
		for _, c := range h.waiting() {
			ids = append(ids, c.ID)
		}
		return len(ids) == 2 && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(old, id) })
	}) {
		h.t.Fatalf("%v wait, want two others than %v", ids, old)
	}
	return ids
}

func TestAnExecutionIsGivenAContainerThatWaited(t *testing.T) {
	h := enter(t, catalogue(t, twoWait(stock)))
	waited := h.replaced()
	for range 2 {
		id := h.submit("echo $((6 * 7)); ls -A /tmp; cat; exit 3", bash, fields{"stdin": "in\n"})
		h.expect(id, ending{Status: execution.Failed, Reason: execution.Exited, ExitCode: 3, Stdout: "42\nin\n"})
		if berth := h.container(id); !slices.Contains(waited, berth) {
			t.Errorf("it ran in %s, want one of %v, which waited", berth, waited)
		}
	}
	h.replaced(waited...)
}

func TestAContainerThatWaitedHasTheLimitsOfItsExecution(t *testing.T) {
	h := enter(t, catalogue(t, twoWait(stock)))
	const reads = `cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes
		cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max
		cut -d" " -f1 /sys/fs/cgroup/cpu.max; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us`
	const allocates = `x=$(head -c 60000000 /dev/zero | tr "\\0" x); echo ${#x}`
	less := fields{"limits": fields{"memory": "64MiB", "cpus": 0.5, "pids": 20}}
	for _, c := range []struct {
		limits   fields
		numbers  string
		allocate ending
	}{
		{
			less, fmt.Sprintf("%d\n%d\n50000\n", 64*mib, 20+journal.Threads),
			ending{Status: execution.Failed, Reason: execution.OutOfMemory, ExitCode: 137},
		},
		{
			fields{},
			fmt.Sprintf("%d\n%d\n100000\n", 256*mib, 128+journal.Threads),
			ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "60000000\n"},
		},
	} {
		waited := h.replaced()
		numbers, allocates := h.submit(reads+" 2>/dev/null; true", bash, c.limits), h.submit(allocates, bash, c.limits)
		p := h.callback(numbers).Payload
		if diff := cmp.Diff(c.numbers, p.Stdout); diff != "" {
			t.Errorf("the limits inside (-want +got):\n%s", diff)
		}
		h.expect(allocates, c.allocate)
		for _, id := range []execution.ID{numbers, allocates} {
			if berth := h.container(id); !slices.Contains(waited, berth) {
				t.Errorf("it ran in %s, want one of %v, which waited", berth, waited)
			}
		}
	}
}

// Each way has a server of its own: a pool that loses its containers several times in a row makes the next after longer pauses.
func TestAWaitingContainerThatIsTakenAwayIsReplaced(t *testing.T) {
	docker := engine(t)
	for act, take := range map[string]func(id string) error{
		"kill": func(id string) error { return docker.ContainerKill(t.Context(), id, "KILL") },
		"stop": func(id string) error { return docker.ContainerStop(t.Context(), id, container.StopOptions{}) },
		"remove": func(id string) error {
			return docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true})
		},
	} {
		t.Run(act, func(t *testing.T) {
			h := enter(t, catalogue(t, twoWait(stock)))
			waited := h.replaced()
			for _, id := range waited {
				if err := take(id); err != nil {
					t.Error(err)
				}
			}
			h.replaced(waited...)
			h.expect(h.submit("echo again", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "again\n"})
		})
	}
}

func TestAProgramWaitsInAContainerThatIsPaused(t *testing.T) {
	h := enter(t, catalogue(t, twoWait(stock)))
	docker := engine(t)
	waited := h.replaced()
	for _, id := range waited {
		if err := docker.ContainerPause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	id := h.submit("echo thawed", bash)
	if !eventually(t, func() bool { return h.state(id) == execution.Running }) {
		t.Errorf("it is %s", h.state(id))
	}
	for _, id := range waited {
		if err := docker.ContainerUnpause(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	h.expect(id, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "thawed\n"})
}

func TestAReloadRenewsWhatWaits(t *testing.T) {
	docker, name := engine(t), "boomerang-test-"+strings.ToLower(rand.Text()[:8])
	built := func(image string) {
		t.Helper()
		if err := docker.ImageTag(t.Context(), image, name); err != nil {
			t.Fatal(err)
		}
	}
	built(derive(t, "ENV MADE=once"))
	h := enter(t, catalogue(t, twoWait(name)))
	waited := h.replaced()
	built(derive(t, "ENV MADE=twice")) // under the same name, and what is known of that is some seconds old
	if err := h.app.Reload(); err != nil {
		t.Fatal(err)
	}
	h.expect(h.submit("echo $MADE", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "twice\n"})
	waited = append(waited, h.replaced(waited...)...)
	h.expect(h.submit("echo $MADE", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "twice\n"})
	image := derive(t, "ENV MADE=anew")
	if err := os.WriteFile(h.config.Languages.File, []byte(twoWait(image)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.app.Reload(); err != nil {
		t.Fatal(err)
	}
	waited = h.replaced(waited...)
	id := h.submit("echo $MADE", bash)
	h.expect(id, ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "anew\n"})
	if berth := h.container(id); !slices.Contains(waited, berth) {
		t.Errorf("it ran in %s, want one of %v, which waited", berth, waited)
	}
	h.leave() // before the image is removed
}

func TestARehearsalThatEndsItsContainerHarmsNoProgram(t *testing.T) {
	h := enter(t, catalogue(t, strings.Replace(twoWait(stock), `[bash, -c, ""]`, `[bash, -c, "kill 1"]`, 1)))
	if !eventually(t, func() bool { return strings.Contains(h.log.String(), "a berth is gone that had hardly begun to wait") }) {
		t.Error("nobody is told")
	}
	for range 3 {
		h.expect(h.submit("echo well", bash), ending{Status: execution.Completed, Reason: execution.Exited, Stdout: "well\n"})
	}
}

func TestAServerThatIsKilledLeavesNoWaitingContainer(t *testing.T) {
	h, startRunner := divided(t, catalogue(t, twoWait(stock)))
	kill := startRunner()
	killed := h.replaced()
	kill()
	if !eventually(t, func() bool { return len(h.waiting()) == 0 }) {
		t.Error("an init waits for a server that was killed")
	}
	h.leave()
	h.config.Role, h.config.Docker.Host = config.Everything, config.Defaults().Docker.Host
	h.start()
	h.replaced(killed...)
	if !eventually(t, func() bool {
		return !slices.ContainsFunc(h.containers(), func(c container.Summary) bool { return slices.Contains(killed, c.ID) })
	}) {
		t.Errorf("of those that waited when the server was killed are left: %v", h.containers())
	}
}
