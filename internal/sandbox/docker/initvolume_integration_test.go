//go:build integration

package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"

	"boomerang/internal/sandbox/sandboxtest"
)

// freshInit copies the init into a directory with a hash that is new to the engine: bytes after the end of a program
// are not read when it runs.
func (k *kit) freshInit(t *testing.T) (dir string, binary []byte) {
	t.Helper()
	name := initName + "-linux-" + runtime.GOARCH
	binary, err := os.ReadFile(filepath.Join(k.initDir, name))
	if err != nil {
		t.Fatal(err)
	}
	binary = append(binary, rand.Text()...)
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), binary, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, binary
}

// openNode opens a process of a node whose init lies in dir.
func (k *kit) openNode(t *testing.T, node string, epoch int64, dir string) *Docker {
	t.Helper()
	config := Defaults()
	config.InitDir = dir
	config.Pull = PullNever
	d, err := New(config, node, epoch, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// runs checks that a program runs in a new container of d.
func runs(t *testing.T, k *kit, d *Docker) {
	t.Helper()
	b := prepare(t, d, k.spec())
	if stdout, _, _ := follow(t, b, sandboxtest.Program{sandboxtest.Out("it runs")}.Job()); stdout != "it runs" {
		t.Errorf("stdout = %q, want %q", stdout, "it runs")
	}
	remove(t, b)
}

func TestManyProcessesFillOneVolume(t *testing.T) {
	k := needKit(t)
	dir, _ := k.freshInit(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() { runs(t, k, k.openNode(t, k.node+strconv.Itoa(i), 1, dir)) })
	}
	all.Wait()
}

func TestAVolumeThatWasLostIsFilledAgain(t *testing.T) {
	k := needKit(t)
	dir, _ := k.freshInit(t)
	d := k.openNode(t, k.node, 1, dir)
	runs(t, k, d)
	if err := k.client.VolumeRemove(t.Context(), d.init.location.name, true); err != nil {
		t.Fatal(err)
	}
	runs(t, k, d)
}

func TestAFillingThatDiedHalfWayIsDoneAgain(t *testing.T) {
	k := needKit(t)
	dir, binary := k.freshInit(t)
	dead := k.openNode(t, k.node, 1, dir)
	image, err := dead.image(t.Context(), k.spec(), false)
	if err != nil {
		t.Fatal(err)
	}
	name, err := dead.fillVolume(t.Context(), image, []file{{name: initName, content: binary}})
	if err != nil {
		t.Fatal(err)
	}
	helper, err := dead.createHelper(t.Context(), name, image)
	if err != nil {
		t.Fatal(err)
	}
	half, err := tarFile([]file{{name: initName, content: binary[:len(binary)/2]}})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.client.CopyToContainer(t.Context(), helper, initDir, bytes.NewReader(half),
		container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	runs(t, k, k.openNode(t, k.node, 2, dir))
	if _, err := k.client.ContainerInspect(t.Context(), helper); !errdefs.IsNotFound(err) {
		t.Errorf("the dead process's helper: inspect = %v, want that it is gone", err)
	}
}

// An engine may create a helper after the process that asked for it was killed. The next process has swept by then.
func TestAHelperThatComesLateIsRemoved(t *testing.T) {
	k := needKit(t)
	dir, _ := k.freshInit(t)
	dead, next := k.openNode(t, k.node, 1, dir), k.openNode(t, k.node, 2, dir)
	runs(t, k, next)
	image, err := dead.image(t.Context(), k.spec(), false)
	if err != nil {
		t.Fatal(err)
	}
	late, err := dead.createHelper(t.Context(), next.init.location.name, image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = next.remove(context.Background(), late) })
	if _, err := next.Containers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := k.client.ContainerInspect(t.Context(), late); !errdefs.IsNotFound(err) {
		t.Errorf("the late helper: inspect = %v, want that it is gone", err)
	}
}

func TestVolumesOfOtherVersionsAreRemovedUnlessInUse(t *testing.T) {
	k := needKit(t)
	oldDir, _ := k.freshInit(t)
	old := k.openNode(t, k.node, 1, oldDir)
	inUse := prepare(t, old, k.spec())
	newDir, _ := k.freshInit(t)
	runs(t, k, k.openNode(t, k.node, 2, newDir))
	if _, err := k.client.VolumeInspect(t.Context(), old.init.location.name); err != nil {
		t.Errorf("a volume in use: inspect = %v, want that it is there", err)
	}
	remove(t, inUse)
	newerDir, _ := k.freshInit(t)
	runs(t, k, k.openNode(t, k.node, 3, newerDir))
	if _, err := k.client.VolumeInspect(t.Context(), old.init.location.name); !errdefs.IsNotFound(err) {
		t.Errorf("a volume of an old version: inspect = %v, want that it is gone", err)
	}
}

func TestARebuiltImageIsUsed(t *testing.T) {
	k := needKit(t)
	d := k.open(t)
	program, err := os.ReadFile(filepath.Join(k.initDir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	ref := "boomerang-test-player:again-" + k.node
	build := func(label string) {
		t.Helper()
		progress, err := k.client.ImageImport(t.Context(),
			image.ImportSource{Source: folder(file{name: player, content: program}), SourceName: "-"}, ref,
			image.ImportOptions{Changes: []string{"LABEL build=" + label}})
		if err == nil {
			err = errors.Join(readPullProgress(progress), progress.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	gone := func() {
		t.Helper()
		if _, err := k.client.ImageRemove(t.Context(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	spec := k.spec()
	spec.Image = ref
	build("first")
	remove(t, prepare(t, d, spec))
	gone()
	build("second")
	b := prepare(t, d, spec)
	found, err := k.client.ContainerInspect(t.Context(), b.id)
	if err != nil || found.Config.Labels["build"] != "second" {
		t.Errorf("inspect = %v, %v, want the second build", found.Config.Labels, err)
	}
	remove(t, b)
	gone()
}

// The image's own file at the init's path stays out.
func TestTheHelperIsNeverStarted(t *testing.T) {
	k := needKit(t)
	dir, binary := k.freshInit(t)
	d := k.openNode(t, k.node, 1, dir)
	image, err := d.image(t.Context(), k.spec(), false)
	if err != nil {
		t.Fatal(err)
	}
	name, err := d.fillVolume(t.Context(), image, []file{{name: initName, content: binary}})
	if err != nil {
		t.Fatal(err)
	}
	helper, err := d.createHelper(t.Context(), name, image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.remove(t.Context(), helper) })
	found, err := k.client.ContainerInspect(t.Context(), helper)
	if err != nil || found.State.Status != container.StateCreated || found.HostConfig.NetworkMode != "none" {
		t.Errorf("helper = %+v, %v, want created and without a network", found.State, err)
	}
	if len(found.Mounts) == 0 || !hasMount(found.Mounts, mount.TypeVolume, initDir) {
		t.Errorf("mounts = %+v, want the init's volume", found.Mounts)
	}
	if err := d.remove(t.Context(), helper); err != nil {
		t.Error(err)
	}
}

func hasMount(mounts []container.MountPoint, kind mount.Type, at string) bool {
	for _, m := range mounts {
		if m.Type == kind && m.Destination == at {
			return true
		}
	}
	return false
}
