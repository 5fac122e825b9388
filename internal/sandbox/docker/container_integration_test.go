//go:build integration

package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

func (k *kit) spec() sandbox.Spec {
	return sandbox.Spec{
		Language: "test", Image: k.image, Slot: 2, Network: "none", Runtime: otherRuntime(),
		Limits: sandbox.Limits{
			Memory: 256 << 20, CPUs: 1, PIDs: 64, Files: 256, Workspace: 64 << 20, Tmp: 16 << 20, Output: 1 << 20,
			Tail: 64 << 10,
		},
	}
}

// prepare makes a container that the test removes at its end.
func prepare(t *testing.T, d *Docker, spec sandbox.Spec) *handle {
	t.Helper()
	made, err := d.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	b, ok := made.(*handle)
	if !ok {
		t.Fatalf("prepare made a %T", made)
	}
	t.Cleanup(func() { remove(t, b) })
	return b
}

func remove(t *testing.T, b *handle) {
	t.Helper()
	if err := b.Remove(context.WithoutCancel(t.Context())); err != nil {
		t.Errorf("remove: %v", err)
	}
}

// follow assigns a job and follows it until the proof.
func follow(t *testing.T, b *handle, job journal.Job) (stdout, stderr string, outcome sandbox.Outcome) {
	t.Helper()
	if err := b.Assign(t.Context(), job); err != nil {
		t.Fatalf("assign: %v", err)
	}
	var out, errs bytes.Buffer
	outcome, err := b.Follow(t.Context(), job.Nonce, &out, &errs, nil)
	if err != nil || !outcome.Proven() {
		t.Fatalf("follow = %+v, %v, want a proof", outcome, err)
	}
	return out.String(), errs.String(), outcome
}

func TestTheEngineAppliesTheConfiguration(t *testing.T) {
	k := needKit(t)
	spec := k.spec()
	spec.Execution = "exec_ordered"
	spec.Rehearsal = []string{"/no/such/program", "-c", ""}
	b := prepare(t, k.open(t), spec)
	got, err := k.client.ContainerInspect(t.Context(), b.id)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := b.engineInfo(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	p := hostFacts{config: b.config, seccomp: b.seccomp, node: k.node, epoch: 1, image: imageFacts{
		id:      got.Image,
		volumes: []string{"/data", "/tmp"},
	}, engine: engine}
	if runsOnGVisor(spec, engine) {
		p.seccomp = b.gvisorSeccomp
	}
	for _, m := range got.Mounts {
		init := m.Type == "volume" && m.Destination == initDir
		inIt := path.Dir(m.Source) == b.init.location.path && slices.Contains([]string{
			"/etc/hosts", "/etc/passwd",
			"/etc/group",
		}, m.Destination)
		if !init && !inIt || m.RW {
			t.Errorf(
				"mount %+v, want the init's volume and what lies in it alone, read-only: an image's VOLUME writes "+
					"to the host's disk", m)
		}
	}
	p.volume = b.init.location
	wantHost := hostConfig(spec, p)
	for what, pair := range map[string][2]any{
		"tmpfs":       {got.HostConfig.Tmpfs, wantHost.Tmpfs},
		"log":         {got.HostConfig.LogConfig, wantHost.LogConfig},
		"memory":      {got.HostConfig.Memory, wantHost.Memory},
		"swap":        {got.HostConfig.MemorySwap, wantHost.MemorySwap},
		"cpus":        {got.HostConfig.NanoCPUs, wantHost.NanoCPUs},
		"pids":        {got.HostConfig.PidsLimit, wantHost.PidsLimit},
		"ulimits":     {got.HostConfig.Ulimits, wantHost.Ulimits},
		"shm":         {got.HostConfig.ShmSize, wantHost.ShmSize},
		"network":     {got.HostConfig.NetworkMode, wantHost.NetworkMode},
		"ipc":         {got.HostConfig.IpcMode, wantHost.IpcMode},
		"cgroup ns":   {got.HostConfig.CgroupnsMode, wantHost.CgroupnsMode},
		"caps":        {got.HostConfig.CapDrop, wantHost.CapDrop},
		"security":    {got.HostConfig.SecurityOpt, wantHost.SecurityOpt},
		"read-only":   {got.HostConfig.ReadonlyRootfs, true},
		"privileged":  {got.HostConfig.Privileged, false},
		"init":        {got.HostConfig.Init, wantHost.Init},
		"restart":     {got.HostConfig.RestartPolicy, wantHost.RestartPolicy},
		"auto-remove": {got.HostConfig.AutoRemove, false},
		"parent":      {got.HostConfig.CgroupParent, ""},
		"apparmor":    {got.AppArmorProfile == "unconfined", false},
		"user":        {got.Config.User, userAndGroup(spec, p)},
		"host name":   {got.Config.Hostname, sandbox.Name},
		"mounts":      {len(got.Mounts), 4},
		"entrypoint":  {[]string(got.Config.Entrypoint), []string{initPath}},
		"rehearsal":   {[]string(got.Config.Cmd), spec.Rehearsal},
		"directory":   {got.Config.WorkingDir, workspaceDir},
		"healthcheck": {got.Config.Healthcheck.Test, []string{"NONE"}},
		"health":      {got.State.Health, nil},
		"ports":       {len(got.NetworkSettings.Ports), 0},
		"stop signal": {got.Config.StopSignal, "SIGTERM"},
		"env":         {slices.Contains(got.Config.Env, "FROM_IMAGE=kept"), true},
		"node":        {got.Config.Labels[labelNode], k.node},
		"execution":   {got.Config.Labels[labelExecution], "exec_ordered"},
		"slot":        {got.Config.Labels[labelSlot], "2"},
		"epoch":       {got.Config.Labels[labelEpoch], "1"},
	} {
		if got, want := asJSON(t, pair[0]), asJSON(t, pair[1]); got != want {
			t.Errorf("%s = %s, want %s", what, got, want)
		}
	}
	if len(got.HostConfig.MaskedPaths) == 0 || len(got.HostConfig.ReadonlyPaths) == 0 {
		t.Error("the engine masks no paths of /proc")
	}
}

// The kit's image has a CMD, which the engine must not pass to the init as a rehearsal.
func TestWithoutARehearsalTheInitGetsNoCommand(t *testing.T) {
	k := needKit(t)
	image, err := k.client.ImageInspect(t.Context(), k.image)
	if err != nil || len(image.Config.Cmd) == 0 {
		t.Fatalf("the image's command = %v, %v, want one", image.Config, err)
	}
	b := prepare(t, k.open(t), k.spec())
	if got, err := k.client.ContainerInspect(t.Context(), b.id); err != nil || len(got.Config.Cmd) > 0 ||
		len(got.Args) > 0 {
		t.Errorf("the container's command = %v, the init's arguments = %v, %v, want none", got.Config.Cmd, got.Args,
			err)
	}
}

// The test reads the cgroup of PID 1, on an engine on this machine.
func TestContainersAreBelowTheirCgroup(t *testing.T) {
	k := needKit(t)
	info, err := k.client.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parent := "/" + k.node
	if info.CgroupDriver == "systemd" {
		parent = strings.ReplaceAll(k.node, "-", "_") + ".slice"
	}
	d := k.open(t)
	d.config.CgroupParent = parent
	b := prepare(t, d, k.spec())
	got, err := k.client.ContainerInspect(t.Context(), b.id)
	if err != nil {
		t.Fatal(err)
	}
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", got.State.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(cgroups)) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), ":/")
		limits := strings.Contains(line, ":memory:") || strings.Contains(line, ":pids:") ||
			strings.HasPrefix(line, "0::") && info.CgroupVersion == "2"
		if limits && !strings.HasPrefix("/"+path, "/"+strings.TrimPrefix(parent, "/")+"/") {
			t.Errorf("PID 1 is in %q, want it below %s", line, parent)
		}
	}
	remove(t, b)
	if info.CgroupDriver == "cgroupfs" { // systemd removes an empty slice by itself
		left, _ := filepath.Glob("/sys/fs/cgroup/*" + parent)
		for _, folder := range append(left, "/sys/fs/cgroup"+parent) {
			_ = os.Remove(folder)
		}
	}
}

func TestAnUnfitSettingPreventsEveryStart(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	d.config.CgroupParent = "neither/a/path/nor/a/slice"
	spec := k.spec()
	spec.Execution = "exec_unfit"
	if _, err := d.Prepare(t.Context(), spec); !errors.Is(err, sandbox.ErrRefused) || !errors.Is(err, ErrUnfit) {
		t.Errorf("prepare = %v, want %v and %v", err, sandbox.ErrRefused, ErrUnfit)
	}
	wantNone(t, d, spec.Execution)
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheEngineNeverSeesTheJob(t *testing.T) {
	k := needKit(t)
	b := prepare(t, k.open(t), k.spec())
	const canary = "canary-7f3a"
	job := sandboxtest.Program{sandboxtest.Out("ready")}.Job()
	job.Env = map[string]string{"SECRET": canary}
	job.Stdin = []byte(canary)
	job.Argv = append(job.Argv, canary)
	follow(t, b, job)
	_, inspected, err := k.client.ContainerInspectWithRaw(t.Context(), b.id, true)
	if err != nil {
		t.Fatal(err)
	}
	list, err := k.client.ContainerList(t.Context(), container.ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"inspect": string(inspected), "list": asJSON(t, list)} {
		for _, secret := range []string{canary, job.Nonce} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %q", what, secret)
			}
		}
	}
}

func TestNoLineIsLost(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	const atOnce, lines = 2, 4000
	runs := 50 // the full scenario has 200 runs
	if testing.Short() {
		runs = 10
	}
	want := strings.Repeat("a line of a program that prints a lot\n", lines)
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			spec := k.spec()
			spec.Slot = i
			made, err := d.Prepare(t.Context(), spec)
			if err != nil {
				t.Errorf("prepare: %v", err)
				return
			}
			defer func() { _ = made.Remove(context.WithoutCancel(t.Context())) }()
			job := sandboxtest.Program{
				sandboxtest.Times(lines, sandboxtest.Out("a line of a program that prints a lot\n")),
				sandboxtest.Err("done\n"),
			}.Job()
			var stdout, stderr bytes.Buffer
			err = made.Assign(t.Context(), job)
			outcome, followErr := made.Follow(t.Context(), job.Nonce, &stdout, &stderr, nil)
			if err := errors.Join(err, followErr); err != nil || !outcome.Proven() {
				t.Errorf("run %d: %+v, %v, want a proof", i, outcome, err)
			}
			if stdout.String() != want || stderr.String() != "done\n" {
				t.Errorf("run %d: %d bytes and %q, want %d bytes and %q", i, stdout.Len(), stderr.String(), len(want),
					"done\n")
			}
		})
	}
	all.Wait()
}

// The test fills both streams with the most expensive output, and then a stream with a larger, cheaper output. If the
// log rotated, bytes would be missing.
func TestTheLogHoldsTheWorst(t *testing.T) {
	k := needKit(t)
	for name, c := range map[string]struct {
		head    int64
		program sandboxtest.Program
		stdout  string
		stderr  string
	}{
		"newlines on both streams": {
			head: 1 << 20,
			program: sandboxtest.Program{
				sandboxtest.Times(1088<<10, sandboxtest.Out("\n")), sandboxtest.Times(1088<<10, sandboxtest.Err("\n")),
			},
			stdout: strings.Repeat("\n", 1088<<10), stderr: strings.Repeat("\n", 1088<<10),
		},
		"64 MiB on one stream": {
			head: 64 << 20,
			program: sandboxtest.Program{
				sandboxtest.Times(64<<10, sandboxtest.Out(strings.Repeat("x", 1023)+"\n")),
			},
			stdout: strings.Repeat(strings.Repeat("x", 1023)+"\n", 64<<10),
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := k.spec()
			spec.Limits.Output = c.head
			b := prepare(t, k.open(t), spec)
			job := c.program.Job()
			job.Head = c.head
			job.Timeout = 5 * time.Minute
			stdout, stderr, outcome := follow(t, b, job)
			if stdout != c.stdout || stderr != c.stderr {
				t.Errorf("got %d and %d bytes, want %d and %d", len(stdout), len(stderr), len(c.stdout), len(c.stderr))
			}
			if outcome.Stdout.LeftOut != 0 || outcome.Stderr.LeftOut != 0 {
				t.Errorf("left out %d and %d bytes, want none", outcome.Stdout.LeftOut, outcome.Stderr.LeftOut)
			}
			again, _, err := followed(t, b, job)
			if err != nil || again != c.stdout {
				t.Errorf("read again: %d bytes, %v, want %d", len(again), err, len(c.stdout))
			}
		})
	}
}

func followed(t *testing.T, b *handle, job journal.Job) (stdout string, outcome sandbox.Outcome, err error) {
	t.Helper()
	var out bytes.Buffer
	outcome, err = b.Follow(t.Context(), job.Nonce, &out, io.Discard, nil)
	return out.String(), outcome, err
}

func TestFollowEndsSoonAfterTheInitIsKilled(t *testing.T) {
	k := needKit(t)
	b := prepare(t, k.open(t), k.spec())
	job := sandboxtest.Program{sandboxtest.Out("before"), sandboxtest.Hang()}.Job()
	if err := b.Assign(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	killed := writerFunc(func(p []byte) {
		if stdout.Write(p); stdout.String() == "before" {
			if err := k.client.ContainerKill(t.Context(), b.id, "KILL"); err != nil {
				t.Error(err)
			}
		}
	})
	outcome, err := b.Follow(t.Context(), job.Nonce, killed, io.Discard, nil)
	if err != nil || outcome.Proven() || outcome.Start == nil || outcome.ExitCode != 137 {
		t.Errorf("follow = %+v, %v, want a start, no proof and exit code 137", outcome, err)
	}
}

func TestAProcessThatDiesBeforeTheJobLeavesNothingRunning(t *testing.T) {
	k := needKit(t)
	b := prepare(t, k.open(t), k.spec())
	b.streams.close() // as the kernel does when a process dies
	outcome, err := b.Follow(t.Context(), journal.NewNonce(), io.Discard, io.Discard, nil)
	if err != nil || outcome.Start != nil || outcome.ExitCode != journal.ExitNoJob {
		t.Errorf("follow = %+v, %v, want no start and exit code %d", outcome, err, journal.ExitNoJob)
	}
}

func TestAContainerThatWasNeverStartedIsFoundAndNotStarted(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	b := prepare(t, d, k.spec()) // makes the image and the volume known
	image, err := d.image(t.Context(), k.spec(), false)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.create(t.Context(), containerName(sandbox.Spec{Execution: "exec_half"}), k.spec(), hostFacts{
		config: d.config, seccomp: d.seccomp, node: k.node, epoch: 1, image: image, volume: d.init.location,
	})
	if err != nil {
		t.Fatal(err)
	}
	half := &handle{Docker: d, id: id}
	t.Cleanup(func() { remove(t, half) })
	found, err := k.open(t).Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running := map[string]bool{}
	for _, f := range found {
		running[f.Container.ID()] = f.Running
	}
	if isRunning, there := running[id]; !there || isRunning || !running[b.id] {
		t.Errorf("containers = %v, want %s not running and %s running", running, id, b.id)
	}
	if outcome, err := half.Follow(t.Context(), journal.NewNonce(), io.Discard, io.Discard, nil); err != nil ||
		outcome.Start != nil {
		t.Errorf("follow = %+v, %v, want no start", outcome, err)
	}
	if err := half.Stop(t.Context()); err != nil {
		t.Errorf("stop = %v, want nil", err)
	}
}

func TestPrepareThatFailsLeavesNothing(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	for name, c := range map[string]struct {
		spoil func(*sandbox.Spec)
		want  error
	}{
		"a runtime that is not there": {func(s *sandbox.Spec) { s.Runtime = "no-such-runtime" }, sandbox.ErrRefused},
		"more CPUs than there are":    {func(s *sandbox.Spec) { s.Limits.CPUs = 10_000 }, sandbox.ErrRefused},
		"a network that is not there": {func(s *sandbox.Spec) { s.Network = "no-such-network" }, sandbox.ErrRefused},
		"the host's network":          {func(s *sandbox.Spec) { s.Network = "host" }, sandbox.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			spec := k.spec()
			spec.Execution = "exec_spoilt"
			c.spoil(&spec)
			if _, err := d.Prepare(t.Context(), spec); !errors.Is(err, c.want) {
				t.Errorf("prepare = %v, want %v", err, c.want)
			}
			wantNone(t, d, "exec_spoilt")
		})
	}
}

func TestAnInterruptedPrepareLeavesNothing(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	prepare(t, d, k.spec()) // so that only the container's own calls fail
	for patience := 5 * time.Millisecond; ; patience += patience / 4 {
		spec := k.spec()
		spec.Execution = fmt.Sprintf("exec_cut_%d", patience)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		made, err := d.Prepare(ctx, spec)
		cancel()
		if err == nil {
			if err := made.Remove(t.Context()); err != nil {
				t.Error(err)
			}
			return
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("prepare = %v, want %v", err, context.DeadlineExceeded)
		}
		wantNone(t, d, spec.Execution)
	}
}

func wantNone(t *testing.T, d *Docker, execution string) {
	t.Helper()
	found, err := d.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if f.Execution == execution {
			t.Errorf("a container was left behind: %+v", f)
		}
	}
}

func TestAnImageThatCannotBeIsUnavailable(t *testing.T) {
	d := needKit(t).open(t)
	for _, ref := range []string{"boomerang.invalid/no/such:image", "Not A Reference"} {
		if err := d.HasImage(t.Context(), ref); !errors.Is(err, sandbox.ErrImageUnavailable) {
			t.Errorf("has image %q = %v, want %v", ref, err, sandbox.ErrImageUnavailable)
		}
	}
}

// A shell litters the writable directories, and leaves processes that continue to litter.
func TestNothingOfARehearsalIsInTheContainer(t *testing.T) {
	k := needKit(t)
	spec := k.spec()
	spec.Image = bashImage
	spec.Rehearsal = []string{"bash", "-c", `for place in /workspace /tmp /dev/shm; do
		mkdir -p $place/closed/deep; echo x >$place/closed/deep/file; ln -s / $place/link; chmod 0 $place/closed
		(trap "" TERM; cd $place; while echo x; do :; done >.again) &
	done; exec sleep 4711`}
	b := prepare(t, k.open(t), spec)
	awaitProcess(t, b, "4711")
	job := sandboxtest.Program{}.Job()
	job.Argv = []string{"bash", "-c", `shopt -s nullglob dotglob; echo /workspace/* /tmp/* /dev/shm/* /proc/[0-9]*`}
	stdout, stderr, outcome := follow(t, b, job)
	found := strings.Fields(stdout)
	if len(found) != 3 || found[0] != "/workspace/"+job.File || found[1] != "/proc/1" || stderr != "" ||
		outcome.Stdout.ExitCode != 0 {
		t.Errorf("the program finds %q and says %q, want its code, the init and itself", found, stderr)
	}
}

const bashImage = "boomerang/bash:latest"

// awaitProcess waits until a process with that argument runs in a container. It looks inside the container, because the
// engine does not see gVisor's processes.
func awaitProcess(t *testing.T, b *handle, argument string) {
	t.Helper()
	pattern := "[" + argument[:1] + "]" + argument[1:] // a pattern that does not match the search's own argument
	late := time.Now().Add(time.Minute)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		look, err := b.client.ContainerExecCreate(t.Context(), b.id, container.ExecOptions{
			Cmd: []string{"bash", "-c", "grep -qxz '" + pattern + "' /proc/[0-9]*/cmdline"}, AttachStdout: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := b.client.ContainerExecAttach(t.Context(), look.ID, container.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out.Reader) // until the search has ended
		out.Close()
		if looked, err := b.client.ContainerExecInspect(t.Context(), look.ID); err == nil && !looked.Running &&
			looked.ExitCode == 0 {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("after a minute there is no process with %q", argument)
		}
	}
}
