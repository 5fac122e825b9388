//go:build bench

package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"boomerang/internal/servertest"
)

// noEngine is an address without an engine.
const noEngine = "unix:///nonexistent/docker.sock"

// engine is the Docker engine of the machine.
type engine struct {
	client *client.Client
	socket string // of a local engine; empty for a remote one
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Ping(t.Context()); err != nil {
		t.Fatalf("the Docker engine does not answer: %v", err)
	}
	for _, image := range []string{"boomerang/python:latest", "boomerang/bash:latest"} {
		if _, err := c.ImageInspect(t.Context(), image); err != nil {
			t.Fatalf("%v: make images", err)
		}
	}
	e := &engine{client: c}
	if path, ok := strings.CutPrefix(c.DaemonHost(), "unix://"); ok {
		e.socket = path
	}
	return e
}

func (e *engine) describe(ctx context.Context, t *testing.T) string {
	t.Helper()
	info, err := e.client.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	version, err := e.client.ServerVersion(ctx)
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{"Docker " + info.ServerVersion}
	for _, c := range version.Components {
		if c.Name == "containerd" || c.Name == "runc" {
			parts = append(parts, c.Name+" "+c.Version)
		}
	}
	return fmt.Sprintf("%s, runtime %s, storage %s, cgroup v%s", strings.Join(parts, ", "), info.DefaultRuntime,
		info.Driver, info.CgroupVersion)
}

// of returns the options that list the containers of a node.
func of(node string) container.ListOptions {
	return container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "boomerang.node="+node))}
}

// count returns the number of containers of a node, and how many of them run.
func (e *engine) count(ctx context.Context, node string) (all, running int, err error) {
	list, err := e.client.ContainerList(ctx, of(node))
	for _, c := range list {
		if c.State == container.StateRunning {
			running++
		}
	}
	return len(list), running, err
}

// clear removes the containers of a node.
func (e *engine) clear(ctx context.Context, node string) {
	list, _ := e.client.ContainerList(ctx, of(node))
	for _, c := range list {
		_ = e.client.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
	}
}

// daemons returns the processes of dockerd and containerd that are on this machine.
func (e *engine) daemons() ([]servertest.Process, error) {
	connection, err := net.Dial("unix", e.socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	raw, err := connection.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	if err := errors.Join(raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}), err); err != nil {
		return nil, err
	}
	found := []servertest.Process{servertest.Process(peer.Pid)}
	if peer.Pid == 1 { // systemd opened the socket for dockerd
		found = named("dockerd", "")
	}
	return append(found, named("containerd", "")...), nil
}

// hardenedConfig is the configuration of a container for an execution.
type hardenedConfig struct {
	config container.Config
	host   container.HostConfig
}

// readHardenedConfig returns the configuration of a container that the server made.
func (s *server) readHardenedConfig(ctx context.Context) (m hardenedConfig, err error) {
	id, err := s.submit(ctx, s.me, "python", "import time\ntime.sleep(600)")
	if err != nil {
		return m, err
	}
	if err := s.started(ctx, s.me, id); err != nil {
		return m, err
	}
	node, err := s.node()
	if err != nil {
		return m, err
	}
	list, err := s.h.engine.client.ContainerList(ctx, of(node))
	if err != nil {
		return m, err
	}
	found, err := s.h.engine.client.ContainerInspect(ctx, list[0].ID)
	if err != nil {
		return m, err
	}
	m.config, m.host = *found.Config, *found.HostConfig
	// Raw containers have no labels, no init, and no job on stdin.
	m.config.Labels, m.config.OpenStdin, m.config.StdinOnce, m.config.AttachStdin = nil, false, false, false
	m.config.Hostname, m.config.Cmd = "", nil
	m.host.Mounts, m.host.Binds = nil, nil
	m.config.Env = append(m.config.Env, environment...)
	if _, err := s.me.Cancel(ctx, id); err != nil {
		return m, err
	}
	if _, err := s.h.callback(ctx, id); err != nil {
		return m, err
	}
	return m, s.awaitRest(ctx)
}

// raw runs one program with raw calls to the engine: it creates a container, starts it, follows its log to the end, and
// removes it. The time known ends with the output and the exit code, the time all with the removal.
func (e *engine) raw(ctx context.Context, m hardenedConfig, command ...string) (stdout, stderr string, known,
	all time.Duration, err error,
) {
	began := time.Now()
	m.config.Entrypoint = command
	created, err := e.client.ContainerCreate(ctx, &m.config, &m.host, nil, nil, "")
	if err != nil {
		return "", "", 0, 0, err
	}
	ended, failed := e.client.ContainerWait(ctx, created.ID, container.WaitConditionNextExit)
	if err := e.client.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		return "", "", 0, 0, err
	}
	logs, err := e.client.ContainerLogs(ctx, created.ID, container.LogsOptions{
		ShowStdout: true, ShowStderr: true,
		Follow: true,
	})
	if err != nil {
		return "", "", 0, 0, err
	}
	var out, complaints bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &complaints, logs)
	if err = errors.Join(err, logs.Close()); err != nil {
		return "", "", 0, 0, err
	}
	select {
	case err = <-failed:
	case end := <-ended:
		if end.StatusCode != 0 {
			err = fmt.Errorf("raw run ended with %d: %s", end.StatusCode, complaints.String())
		}
	}
	known = time.Since(began)
	err = errors.Join(err, e.client.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true}))
	return out.String(), complaints.String(), known, time.Since(began), err
}

// rawPrint runs print(1) with raw calls.
func (e *engine) rawPrint(ctx context.Context, m hardenedConfig) (known, all time.Duration, err error) {
	out, _, known, all, err := e.raw(ctx, m, "python3", "-c", "print(1)")
	if err == nil && out != "1\n" {
		err = fmt.Errorf("raw: printed %q", out)
	}
	return known, all, err
}

// flags returns the arguments of docker run that correspond to the configuration.
func (m hardenedConfig) flags(dir string) ([]string, error) {
	f := []string{
		"run", "--rm", "--read-only", "--no-healthcheck", "--user", m.config.User, "--workdir", m.config.WorkingDir,
		"--network", string(m.host.NetworkMode), "--ipc", string(m.host.IpcMode), "--cgroupns",
		string(m.host.CgroupnsMode),
		"--memory", strconv.FormatInt(m.host.Memory, 10), "--memory-swap", strconv.FormatInt(m.host.MemorySwap, 10),
		"--cpus", strconv.FormatFloat(float64(m.host.NanoCPUs)/1e9, 'f', -1, 64), "--pids-limit",
		strconv.FormatInt(*m.host.PidsLimit, 10),
		"--shm-size", strconv.FormatInt(m.host.ShmSize, 10), "--log-driver", m.host.LogConfig.Type,
	}
	for _, c := range m.host.CapDrop {
		f = append(f, "--cap-drop", c)
	}
	for _, o := range m.host.SecurityOpt {
		if profile, ok := strings.CutPrefix(o, "seccomp="); ok && strings.HasPrefix(profile, "{") {
			path := filepath.Join(dir, "seccomp.json")
			if err := os.WriteFile(path, []byte(profile), 0o600); err != nil {
				return nil, err
			}
			o = "seccomp=" + path
		}
		f = append(f, "--security-opt", o)
	}
	for _, place := range slices.Sorted(maps.Keys(m.host.Tmpfs)) {
		f = append(f, "--tmpfs", place+":"+m.host.Tmpfs[place])
	}
	for _, u := range m.host.Ulimits {
		f = append(f, "--ulimit", fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	for name, value := range m.host.LogConfig.Config {
		f = append(f, "--log-opt", name+"="+value)
	}
	for _, entry := range environment {
		f = append(f, "--env", entry)
	}
	return append(f, "--entrypoint", "python3", m.config.Image, "-c", "print(1)"), nil
}

// command measures a program of this machine that prints 1.
func command(ctx context.Context, name string, args ...string) (time.Duration, error) {
	began := time.Now()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err == nil && string(out) != "1\n" {
		err = fmt.Errorf("printed %q", out)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return time.Since(began), err
}
