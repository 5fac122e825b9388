//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"

	"boomerang/internal/servertest"
)

const (
	image = "boomerang/bash:latest"

	// The runtime of the engine: runc, with an additional mount of the book of runs. A program records there that it
	// was started; the files of its sandbox do not outlive it.
	witness = "witness"

	witnessScript = `#!/bin/sh
# runc, and a mount of the book of runs at /witness
bundle= previous=
for argument; do
	[ "$previous" = --bundle ] && bundle=$argument
	previous=$argument
done
[ -z "$bundle" ] ||
	sed -i 's#"mounts":\[#&{"destination":"/witness","type":"bind","source":"%s","options":["rbind","rw"]},#' \
		"$bundle/config.json"
exec runc "$@"
`
)

// engine is a private Docker engine with a socket and a data root of its own. It can be stopped without harm to others.
type engine struct {
	dir    string
	driver string
	client *client.Client
	shims  *daemon // containerd, which keeps the containers and outlives dockerd

	mu      sync.Mutex // guards the fields below; held while the engine restarts
	dockerd *daemon
	live    bool // containers survive a stop of dockerd
}

// newEngine starts an engine in dir and loads the image. It uses the storage driver of the engine of the machine.
func newEngine(ctx context.Context, dir string) (*engine, error) {
	local, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	defer func() { _ = local.Close() }()
	info, err := local.Info(ctx)
	if err != nil {
		return nil, err
	}
	e := &engine{dir: dir, driver: info.Driver, live: true}
	if err := os.Mkdir(e.runs(), 0o777); err != nil {
		return nil, err
	}
	if err := os.Chmod(e.runs(), 0o777); err != nil { // the programs run as other users; Mkdir obeys the umask
		return nil, err
	}
	for path, text := range map[string]string{
		"witness":         fmt.Sprintf(witnessScript, e.runs()),
		"containerd.toml": "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
		"daemon.json":     fmt.Sprintf(`{"runtimes": {%q: {"path": %q}}}`, witness, e.path("witness")),
	} {
		if err := os.WriteFile(e.path(path), []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	if e.client, err = client.NewClientWithOpts(client.WithHost("unix://"+e.socket()),
		client.WithAPIVersionNegotiation()); err != nil {
		return nil, err
	}
	e.shims, err = e.daemon("containerd", "--config", e.path("containerd.toml"), "--address", e.path("containerd.sock"),
		"--root", e.path("containerd"), "--state", e.path("containerd.state"))
	if err != nil {
		return nil, err
	}
	if err := e.start(ctx); err != nil {
		return nil, err
	}
	saved, err := local.ImageSave(ctx, []string{image})
	if err != nil {
		return nil, fmt.Errorf("the image %s is not there; make images builds it: %w", image, err)
	}
	defer func() { _ = saved.Close() }()
	loaded, err := e.client.ImageLoad(ctx, saved)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, loaded.Body) // the image is loaded at the end of the body
	return e, errors.Join(err, loaded.Body.Close())
}

func (e *engine) path(name string) string { return filepath.Join(e.dir, name) }
func (e *engine) socket() string          { return e.path("docker.sock") }
func (e *engine) runs() string            { return e.path("runs") }

// start starts the engine and waits until it answers.
func (e *engine) start(ctx context.Context) (err error) {
	e.dockerd, err = e.daemon("dockerd", "--data-root", e.path("data"), "--exec-root", e.path("exec"),
		"--host", "unix://"+e.socket(), "--pidfile", e.path("dockerd.pid"), "--config-file", e.path("daemon.json"),
		"--containerd", e.path("containerd.sock"), "--storage-driver", e.driver,
		"--bridge=none", "--iptables=false", "--ip6tables=false", fmt.Sprintf("--live-restore=%v", e.live))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if servertest.Eventually(ctx, 100*time.Millisecond, func() bool {
		_, err = e.client.Ping(ctx)
		return err == nil
	}) {
		return nil
	}
	return fmt.Errorf("the engine does not answer, see %s: %w", e.path("dockerd.log"), err)
}

// daemon is a process that runs until stop, or until the harness dies.
type daemon struct {
	process *os.Process
	done    chan struct{} // closed when the process has ended
}

// daemon starts a process of the engine with a log of its own.
func (e *engine) daemon(name string, args ...string) (*daemon, error) {
	log, err := os.OpenFile(e.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	command := exec.Command(name, args...)
	command.Stdout, command.Stderr = log, log
	// A session of its own keeps interrupts of the terminal away. Pdeathsig is sent when the thread that started the
	// process dies, so that thread waits for the process and does nothing else.
	//
	// A network namespace of its own protects docker0: with --bridge=none an engine removes the docker0 that it finds,
	// which would be that of the engine of the machine.
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGTERM,
		Cloneflags: syscall.CLONE_NEWNET,
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			_ = command.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return &daemon{process: command.Process, done: done}, nil
}

// stop sends a signal and waits for the end of the process.
func (d *daemon) stop(signal syscall.Signal) error {
	err := d.process.Signal(signal)
	<-d.done
	return err
}

// restart stops dockerd with a signal and starts it again with a setting of live-restore. The old setting decides
// whether containers survive.
func (e *engine) restart(ctx context.Context, signal syscall.Signal, live bool, pause time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live = live
	if err := e.dockerd.stop(signal); err != nil {
		return err
	}
	if signal == syscall.SIGKILL {
		_ = os.Remove(e.path("dockerd.pid")) // a killed dockerd leaves its pid file
	}
	servertest.Rest(ctx, pause)
	return e.start(ctx)
}

const labelExecution = "boomerang.execution"

// running returns the running containers, the newest first, warm containers included.
func (e *engine) running(ctx context.Context) []container.Summary {
	list, _ := e.client.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label",
		labelExecution))})
	return list
}

// waiting returns the two newest containers without the label of an execution, which most likely are warm: the oldest
// warm container is used first.
func (e *engine) waiting(ctx context.Context) []container.Summary {
	list := slices.DeleteFunc(e.running(ctx), func(c container.Summary) bool { return c.Labels[labelExecution] != "" })
	return list[:min(len(list), 2)]
}

// left returns all containers, and all volumes but that of the init. While a server runs, warm containers are allowed.
func (e *engine) left(ctx context.Context, served bool) (left []string, err error) {
	containers, err := e.client.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		if served && c.State == container.StateRunning && c.Labels[labelExecution] == "" {
			continue
		}
		left = append(left, fmt.Sprintf("container %s, %s", strings.Join(c.Names, " "), c.Status))
	}
	volumes, err := e.client.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i, v := range volumes.Volumes {
		if i > 0 || !strings.HasPrefix(v.Name, "boomerang-init-") {
			left = append(left, "volume "+v.Name)
		}
	}
	return left, nil
}

// sweep removes every container, so that the next round does not report it again.
func (e *engine) sweep(ctx context.Context) {
	containers, _ := e.client.ContainerList(ctx, container.ListOptions{All: true})
	for _, c := range containers {
		_ = e.client.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
	}
}

// close stops the engine and removes its containers.
func (e *engine) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweep(ctx)
	err := errors.Join(e.dockerd.stop(syscall.SIGTERM), e.shims.stop(syscall.SIGTERM))
	_ = unix.Unmount(e.path("data"), unix.MNT_DETACH) // a killed engine leaves its mount
	return errors.Join(err, e.client.Close())
}

// nonces returns the nonces of a program from the book of runs.
func (e *engine) nonces(mark string) []string {
	text, _ := os.ReadFile(filepath.Join(e.runs(), mark))
	return strings.Fields(string(text))
}

// ended returns the time of the end of a program from the book of runs.
func (e *engine) ended(mark string) (at time.Time, ok bool) {
	text, _ := os.ReadFile(filepath.Join(e.runs(), mark+".end"))
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return time.UnixMicro(int64(seconds * 1e6)), err == nil
}
