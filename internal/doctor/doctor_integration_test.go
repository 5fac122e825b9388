//go:build integration

package doctor_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/sirupsen/logrus"

	"boomerang/internal/doctor"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
)

// programs is the directory of the two programs that the tests build for containers.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "boomerang-doctor-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		programs = dir
		for _, name := range []string{"boomerang-init", probe.Program} {
			build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", built(name),
				"boomerang/cmd/"+name)
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

func built(name string) string { return filepath.Join(programs, name+"-linux-"+runtime.GOARCH) }

const node = "doctor-test"

// users is the first UID of the doctor's programs, apart from the UIDs of other tests on this engine. It also exists on
// an engine that remaps users.
const users = 30_000

func engine(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Ping(t.Context()); err != nil && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("no Docker engine")
	}
	return c
}

// shipped returns a shipped language.
func shipped(t *testing.T, d *docker.Docker, name string) language.Language {
	t.Helper()
	catalogue, err := language.Open(language.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	l, err := catalogue.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.HasImage(t.Context(), l.Image); errors.Is(err, sandbox.ErrImageUnavailable) &&
		os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skipf("the image %s is not built", l.Image)
	}
	l.Runtime = os.Getenv("RUNTIME") // set by `make walls`
	return l
}

func TestTheIsolationChecksHold(t *testing.T) {
	theWallsHold(t, "bash", func(d *docker.Docker) sandbox.Sandbox { return d })
}

// A container that waited has run the language's rehearsal, and was made with other limits.
func TestTheIsolationChecksHoldInAContainerThatWaited(t *testing.T) {
	if os.Getenv("RUNTIME") != "" {
		t.Skip("no other runtime has to be able to change limits: a new container is made where it cannot")
	}
	theWallsHold(t, "python", func(d *docker.Docker) sandbox.Sandbox { return waited{d} })
}

// waited is a sandbox whose containers waited with more memory and PIDs than they should have, and with less CPU.
type waited struct{ sandbox.Sandbox }

// rehearsed is far longer than an interpreter takes to start and exit.
const rehearsed = time.Second

func (w waited) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	if len(spec.Rehearsal) == 0 {
		return nil, errors.New("there is nothing to rehearse")
	}
	want := spec.Limits
	spec.Limits.Memory, spec.Limits.PIDs, spec.Limits.CPUs = 2*want.Memory, 2*want.PIDs, want.CPUs/2
	b, err := w.Sandbox.Prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	select {
	case <-b.Gone():
		err = errors.New("it is gone before it got its job")
	case <-time.After(rehearsed):
		err = b.Resize(ctx, want)
	}
	if err != nil {
		return nil, errors.Join(err, b.Remove(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func theWallsHold(t *testing.T, name string, through func(*docker.Docker) sandbox.Sandbox) {
	t.Helper()
	e := engine(t)
	log := logrus.New()
	log.SetOutput(io.Discard)
	config := docker.Defaults()
	config.InitDir, config.Pull, config.UIDBase = programs, docker.PullNever, users
	d, err := docker.New(config, node, 1, logrus.NewEntry(log), probe.Program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	l := shipped(t, d, name)
	seen := map[string]bool{}
	examination := doctor.Doctor{
		Sandbox: through(d), Program: docker.Carried(probe.Program), Short: os.Getenv("DOCTOR") != "whole",
		Host: sandbox.Name, // a machine with the name of containers reveals nothing
		Found: func(f probe.Finding) {
			name := f.Group + ": " + f.Name
			if seen[name] {
				t.Errorf("two probes are called %s", name)
			}
			seen[name] = true
			if !f.Held {
				t.Errorf("%s is open: should be %q, happened: %q", name, f.Should, f.Happened)
			}
		},
	}
	if err := examination.Examine(t.Context(), l); err != nil {
		t.Error(err)
	}
	if len(seen) < 60 {
		t.Errorf("%d probes, want at least 60", len(seen))
	}
	if err := d.Dismantle(t.Context()); err != nil {
		t.Error(err)
	}
	nothingLeft(t, e)
}

func nothingLeft(t *testing.T, e *client.Client) {
	t.Helper()
	containers, err := e.ContainerList(t.Context(), container.ListOptions{
		All:     true,
		Filters: filters.NewArgs(filters.Arg("label", "boomerang.node="+node)),
	})
	if err != nil || len(containers) > 0 {
		t.Errorf("left behind: %v, %v", containers, err)
	}
}

// open lists the checks that must fail in a container with Docker's defaults. A check that held there would hold for
// the wrong reason.
var open = []string{
	"identity: capabilities", "identity: no new privileges", "identity: user", "identity: becoming root",
	"system calls: change of root", "files: root", "files: writable places", "files: /workspace",
	"files: /tmp", "files: making devices", "files: engine's files", "files: beside PID 1", "others: PID 1",
	"others: /proc/1/environ", "others: /proc/1/maps", "others: /proc/1/fd", "others: /proc/1/root",
	"limits: memory", "limits: swap", "limits: processes", "limits: CPU", "limits: open files",
	"limits: core dumps", "limits: asynchronous reads and writes", "network: interfaces", "network: routes",
	"network: public addresses", "network: gateway and machine", "system calls: raw socket",
	"system calls: socket AF_PACKET", "system calls: protocols", "system calls: netlink",
	"system calls: tracing", "system calls: limits of PID 1", "system calls: priority of PID 1", "others: /proc/1/mem",
	"others: /proc/1/exe", "others: /proc/1/cwd",
	"others: score of PID 1", "limits: open files, tried", "identity: set-uid programs",
}

func TestADefaultContainerIsWeaker(t *testing.T) {
	e := engine(t)
	findings := inDefaultContainer(t, e)
	got := map[string]probe.Finding{}
	for _, f := range findings {
		got[f.Group+": "+f.Name] = f
	}
	for _, name := range open {
		if f, ok := got[name]; !ok || f.Held {
			t.Errorf("%s: there %t, held %t: %q", name, ok, f.Held, f.Happened)
		}
	}
	for name, f := range got {
		if !f.Held && !slices.Contains(open, name) {
			t.Logf("open as well: %s: %s", name, f.Happened)
		}
	}
}

// inDefaultContainer runs the checks like `docker run IMAGE /boomerang-probe /task`.
func inDefaultContainer(t *testing.T, e *client.Client) []probe.Finding {
	t.Helper()
	task, err := json.Marshal(probe.Task{Attack: probe.IsolationChecks, Limits: probe.Limits{
		Memory: 512 << 20, CPUs: 1, PIDs: 128 + journal.Threads, Files: 1024, Workspace: 256 << 20, Tmp: 64 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(built(probe.Program))
	if err != nil {
		t.Fatal(err)
	}
	created, err := e.ContainerCreate(t.Context(), &container.Config{
		Image: "boomerang/bash", Entrypoint: []string{"/" + probe.Program, "/task"},
		Labels: map[string]string{"boomerang.test": node},
	}, &container.HostConfig{}, nil, nil, "")
	if errdefs.IsNotFound(err) && os.Getenv("REQUIRE_DOCKER") != "1" {
		t.Skip("the image boomerang/bash is not built")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.ContainerRemove(t.Context(), created.ID, container.RemoveOptions{
			Force:         true,
			RemoveVolumes: true,
		}); err != nil {
			t.Error(err)
		}
	}()
	archive := tarOf(t, map[string][]byte{probe.Program: program, "task": task})
	if err := e.CopyToContainer(t.Context(), created.ID, "/", archive, container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	ended, failed := e.ContainerWait(t.Context(), created.ID, container.WaitConditionNextExit)
	if err := e.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case err := <-failed:
		t.Fatal(err)
	case <-time.After(2 * time.Minute):
		t.Fatal("the probe does not come to its end")
	}
	logs, err := e.ContainerLogs(t.Context(), created.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = logs.Close() }()
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, logs); err != nil {
		t.Fatal(err)
	}
	findings := probe.Read[probe.Finding](stdout.Bytes())
	if answers := probe.Read[probe.Answer](stdout.Bytes()); len(answers) == 0 ||
		int64(len(findings)) != answers[0].Count {
		t.Errorf("%d findings of %v; stderr: %s", len(findings), answers, stderr.String())
	}
	return findings
}

func tarOf(t *testing.T, files map[string][]byte) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Mode: 0o755,
			Size: int64(len(content)),
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}
