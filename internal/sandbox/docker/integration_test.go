//go:build integration

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/sandboxtest"
)

// kit holds the tests' image and the init. The image contains only the player, and settings that would do harm if the
// engine followed them.
type kit struct {
	client  *client.Client
	initDir string
	image   string
	node    string
}

// theKit is made once by TestMain and only read after that; nil without an engine.
var theKit *kit

func TestMain(m *testing.M) {
	code, err := withKit(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withKit(run func() int) (code int, err error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	ctx := context.Background() // bounded by the test binary's own timeout
	if _, err := engine.Ping(ctx); err != nil {
		if os.Getenv("REQUIRE_DOCKER") == "1" {
			return 0, fmt.Errorf("REQUIRE_DOCKER=1: %w", err)
		}
		return run(), nil
	}
	dir, err := os.MkdirTemp("", "boomerang-docker-test-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	k := &kit{client: engine, initDir: dir, node: fmt.Sprintf("test-%d", time.Now().UnixNano())}
	k.image = "boomerang-test-player:" + k.node
	if err := k.build(ctx); err != nil {
		return 0, err
	}
	theKit = k
	code = run()
	return code, k.cleanUp(ctx)
}

func (k *kit) build(ctx context.Context) error {
	for name, from := range map[string]string{
		initName + "-linux-" + runtime.GOARCH: "boomerang/cmd/boomerang-init",
		"program":                             "boomerang/internal/sandbox/sandboxtest/program",
	} {
		compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(k.initDir,
			name), from)
		compile.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
		if out, err := compile.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", from, err, out)
		}
	}
	// Bytes after the end of a program are not read when it runs. The tests remove the volume of their init at the end,
	// so no server on this engine may have a volume of that name.
	path := filepath.Join(k.initDir, initName+"-linux-"+runtime.GOARCH)
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(binary, k.node...), 0o600); err != nil {
		return err
	}
	program, err := os.ReadFile(filepath.Join(k.initDir, "program"))
	if err != nil {
		return err
	}
	built, err := k.client.ImageBuild(ctx, folder(file{name: "Dockerfile", content: []byte(hostile)},
		file{name: player, content: program}), build.ImageBuildOptions{
		Tags: []string{k.image}, Remove: true,
		ForceRemove: true,
	})
	if err != nil {
		return err
	}
	return errors.Join(readPullProgress(built.Body), built.Body.Close())
}

// player is the path of the player in an archive.
var player = strings.TrimPrefix(sandboxtest.Player, "/")

// hostile is an image with only the player and every setting that an image can have.
const hostile = `
FROM scratch
COPY program /program
USER root
WORKDIR /proc/self/fd/3
VOLUME /data/ /tmp /workspace
ENV FROM_IMAGE=kept
HEALTHCHECK --interval=1s CMD ["/bin/false"]
STOPSIGNAL SIGKILL
ONBUILD USER root
EXPOSE 80
LABEL boomerang.node=liar boomerang.execution=liar boomerang.slot=99 boomerang.epoch=99
ENTRYPOINT ["/bin/false"]
CMD ["/bin/false"]
`

// folder returns an archive of files, from which an image is built, or a file system to import.
func folder(files ...file) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o755, Size: int64(len(f.content))})
		_, _ = w.Write(f.content)
	}
	_ = w.Close()
	return &b
}

// cleanUp removes the image and the init's volume, and reports containers and volumes that a test left behind.
func (k *kit) cleanUp(ctx context.Context) error {
	var errs []error
	for _, label := range []string{labelNode, labelHelper} {
		left, err := k.client.ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", label+"="+k.node)),
		})
		errs = append(errs, err)
		for _, c := range left {
			errs = append(errs, fmt.Errorf("left behind: container %s %v", c.ID, c.Names), k.client.ContainerRemove(ctx,
				c.ID, removal))
		}
	}
	_, err := k.client.ImageRemove(ctx, k.image, image.RemoveOptions{Force: true, PruneChildren: true})
	errs = append(errs, err)
	volumes, err := k.client.VolumeList(ctx,
		volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelInit))})
	errs = append(errs, err)
	for _, v := range volumes.Volumes {
		if strings.HasPrefix(v.Labels[labelInit], k.node) {
			errs = append(errs, k.client.VolumeRemove(ctx, v.Name, false))
		}
	}
	return errors.Join(errs...)
}

// otherRuntime is the runtime under test if it is not the engine's default; `make walls` sets it.
func otherRuntime() string { return os.Getenv("RUNTIME") }

// needKit skips the test if there is no engine.
func needKit(t *testing.T) *kit {
	t.Helper()
	if theKit == nil {
		t.Skip("no Docker engine")
	}
	return theKit
}

// open opens a new process of the node.
func (k *kit) open(t *testing.T) *Docker {
	t.Helper()
	config := Defaults()
	config.InitDir = k.initDir
	config.Pull = PullNever
	d, err := New(config, k.node, 1, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestDockerKeepsTheContract(t *testing.T) {
	k := needKit(t)
	sandboxtest.Contract(t, sandboxtest.Harness{
		Open:  func(t *testing.T) sandbox.Sandbox { t.Helper(); return k.open(t) },
		Image: k.image, Runtime: otherRuntime(),
	})
}
