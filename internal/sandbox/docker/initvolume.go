package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"

	"boomerang/internal/sandbox"
)

const (
	initName   = "boomerang-init"
	initPrefix = initName + "-" // start of the names of the volume and its helper, before the hash of the binary

	labelInit   = "boomerang.init"   // label of the volume; its value is the node that made it
	labelHelper = "boomerang.helper" // label of the helper, the container that fills the volume; its value is the node

	// Filling takes less than a second. A helper of another process that is older than helperPatience is considered
	// dead.
	helperPatience = 10 * time.Second
	helperPause    = 100 * time.Millisecond
)

// initVolume is the volume with the init for this engine.
type initVolume struct {
	lock     lock         // held while the volume is filled; guards location
	location initLocation // no name until this process has filled the volume
}

// initLocation locates the init.
type initLocation struct {
	name string // name of the volume
	path string // path of the volume on the engine's machine; empty if the engine does not report it
}

func newInitVolume() *initVolume { return &initVolume{lock: newLock()} }

// initVolume returns the volume that holds the init, verified once per process. A helper container, which is never
// started, fills the volume. The helper uses the image at hand, so no other image is needed. With refresh, initVolume
// verifies the volume again: if an operator removed it, the engine has made an empty one.
func (d *Docker) initVolume(ctx context.Context, image imageFacts, refresh bool) (initLocation, error) {
	release, err := d.init.lock.Acquire(ctx)
	if err != nil {
		return initLocation{}, fmt.Errorf("fill the init's volume: %w", err)
	}
	defer release()
	if d.init.location.name != "" && !refresh {
		return d.init.location, nil
	}
	files, err := d.readBinaries(ctx)
	if err != nil {
		return initLocation{}, err
	}
	files = append(files, file{name: hostsName, mode: 0o444, content: []byte(hosts)})
	if err := d.sweepHelpers(ctx); err != nil {
		return initLocation{}, err
	}
	name, err := d.fillVolume(ctx, image, files)
	if err != nil {
		return initLocation{}, fmt.Errorf("fill the init's volume: %w", err)
	}
	d.sweepVolumes(ctx, name)
	filled, err := callEngine(ctx, d, "inspect the init's volume", func(ctx context.Context) (volume.Volume, error) {
		return d.client.VolumeInspect(ctx, name)
	})
	if err != nil {
		return initLocation{}, err
	}
	d.init.location = initLocation{name: name, path: filled.Mountpoint}
	return d.init.location, nil
}

// file is a file in the volume.
type file struct {
	name    string
	content []byte
	mode    int64 // 0 means the mode of a program
}

// hosts is the /etc/hosts of a container without network. The container's own name has lines of its own, which makes it
// the canonical name.
const (
	hostsName = "hosts"
	hosts     = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t" + sandbox.Name +
		"\n::1\t" + sandbox.Name + "\n"
)

// readBinaries reads the init and the carried programs for the engine's architecture, which may differ from this
// machine's.
func (d *Docker) readBinaries(ctx context.Context) ([]file, error) {
	version, err := callEngine(ctx, d, "ask engine for its architecture", d.client.ServerVersion)
	if err != nil {
		return nil, err
	}
	dir, err := d.config.initDir()
	if err != nil {
		return nil, err
	}
	var files []file
	for _, name := range append([]string{initName}, d.carried...) {
		path := filepath.Join(dir, name+"-linux-"+goarch(version))
		content, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		files = append(files, file{name: name, content: content})
	}
	return files, nil
}

// goarch returns Go's name of the engine's architecture; some engines report the name that uname prints.
func goarch(v types.Version) string {
	switch v.Arch {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return v.Arch
}

// volumeName returns the name of the volume. Nodes share a volume that holds only the init; a volume with carried
// programs belongs to this node.
func (d *Docker) volumeName(files []file) string {
	hash := sha256.New()
	for _, f := range files {
		_, _ = hash.Write(f.content)
	}
	if len(d.carried) > 0 {
		_, _ = io.WriteString(hash, d.node)
	}
	return initPrefix + hex.EncodeToString(hash.Sum(nil))[:12]
}

// fillVolume makes the volume hold the files, whatever its state, and verifies them by reading them back. The helper's
// name is the lock between processes.
func (d *Docker) fillVolume(ctx context.Context, image imageFacts, files []file) (string, error) {
	name := d.volumeName(files)
	helper, err := d.createHelper(ctx, name, image)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.remove(context.WithoutCancel(ctx), helper) }() // the next process sweeps a helper that stays

	if held, err := d.volumeHolds(ctx, helper, files); err != nil || held {
		return name, err
	}
	if err := d.writeFiles(ctx, helper, files); err != nil {
		return "", err
	}
	switch held, err := d.volumeHolds(ctx, helper, files); {
	case err != nil:
		return "", err
	case !held:
		return "", errors.New("the engine does not hold the init as it was sent")
	}
	return name, nil
}

// writeFiles copies files into the volume. The engine replaces an existing file by a new one, and containers that have
// the old file mounted keep it.
func (d *Docker) writeFiles(ctx context.Context, helper string, files []file) error {
	archive, err := tarFile(files)
	if err != nil {
		return err
	}
	return do(ctx, d, "write into the init's volume", func(ctx context.Context) error {
		return d.client.CopyToContainer(ctx, helper, initDir, bytes.NewReader(archive),
			container.CopyToContainerOptions{})
	})
}

// volumeHolds reports whether the volume holds exactly these files.
func (d *Docker) volumeHolds(ctx context.Context, helper string, files []file) (bool, error) {
	for _, f := range files {
		if held, err := d.fileHash(ctx, helper, f.name); err != nil || held != sha256.Sum256(f.content) {
			return false, err
		}
	}
	return true, nil
}

// createHelper makes the helper container. While another process has a helper, createHelper waits. Like create, it
// waits for the engine's answer even when ctx ends.
func (d *Docker) createHelper(ctx context.Context, name string, image imageFacts) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, helperPatience+d.config.CallTimeout)
	defer cancel()
	for began := time.Now(); ; {
		created, err := callEngine(context.WithoutCancel(ctx), d, "create helper",
			func(ctx context.Context) (container.CreateResponse, error) {
				return d.client.ContainerCreate(ctx,
					&container.Config{
						Image: image.id, Entrypoint: []string{initPath},
						Labels: map[string]string{
							labelHelper: d.node, labelEpoch: strconv.FormatInt(d.epoch, 10),
							labelNode: "",
						},
					},
					&container.HostConfig{
						NetworkMode: "none", Mounts: []mount.Mount{initMount(name, d.node, false)},
						Tmpfs: volumeCovers(image, 0),
					},
					nil, nil, name)
			})
		if !errdefs.IsConflict(err) {
			return created.ID, err
		}
		if time.Since(began) > helperPatience {
			err = d.remove(ctx, name)
		} else {
			err = pause(ctx, helperPause)
		}
		if err != nil {
			return "", err
		}
	}
}

// fileHash returns the hash of a file in the volume; the zero hash if the file is missing.
func (d *Docker) fileHash(ctx context.Context, helper, name string) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	found, err := d.readFile(ctx, helper, initDir+"/"+name, func(_ *tar.Header, content io.Reader) error {
		_, err := io.Copy(hash, content) // bounded by the size of the volume and the deadline
		return err
	})
	if err != nil || !found {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// readFile passes a file of a container, which need not run, to a function. It does not follow a link at the end of the
// path. Found is false if the file is missing.
func (d *Docker) readFile(ctx context.Context, id, name string, with func(*tar.Header, io.Reader) error) (found bool,
	err error,
) {
	return callEngine(ctx, d, "read "+name, func(ctx context.Context) (found bool, err error) {
		archive, _, err := d.client.CopyFromContainer(ctx, id, name)
		if errdefs.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, archive.Close()) }()
		file := tar.NewReader(archive)
		header, err := file.Next()
		if err != nil {
			return false, err
		}
		return true, with(header, file)
	})
}

// tarFile returns the files as a tar archive for the engine.
func tarFile(files []file) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: cmp.Or(f.mode, 0o755),
			Size: int64(len(f.content)),
		})
		if err == nil {
			_, err = w.Write(f.content)
		}
		if err != nil {
			return nil, fmt.Errorf("archive %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("archive the init: %w", err)
	}
	return archive.Bytes(), nil
}

// Dismantle removes all containers and volumes of this node, for a node that does not come back. Errors:
// sandbox.ErrUnavailable.
func (d *Docker) Dismantle(ctx context.Context) error {
	found, err := d.Containers(ctx)
	for _, f := range found {
		err = errors.Join(err, f.Container.Remove(ctx))
	}
	if err == nil {
		d.sweepVolumes(ctx, "")
	}
	return err
}

// sweepHelpers removes the helpers of this node's earlier epochs, whose processes died while filling.
func (d *Docker) sweepHelpers(ctx context.Context) error {
	helpers, err := callEngine(ctx, d, "list helpers", func(ctx context.Context) ([]container.Summary, error) {
		return d.client.ContainerList(ctx, container.ListOptions{
			All: true, Filters: filters.NewArgs(filters.Arg("label", labelHelper+"="+d.node)),
		})
	})
	for _, h := range helpers {
		if h.Labels[labelEpoch] != strconv.FormatInt(d.epoch, 10) {
			err = errors.Join(err, d.remove(ctx, h.ID))
		}
	}
	return err
}

// sweepVolumes removes this node's unused volumes for other versions, on a best-effort basis. A node of such a version
// fills its volume again when it finds it missing.
func (d *Docker) sweepVolumes(ctx context.Context, current string) {
	volumes, err := callEngine(ctx, d, "list volumes", func(ctx context.Context) (volume.ListResponse, error) {
		return d.client.VolumeList(ctx,
			volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelInit+"="+d.node))})
	})
	for _, v := range volumes.Volumes {
		if v.Name == current {
			continue
		}
		removeErr := do(ctx, d, "remove volume", func(ctx context.Context) error {
			return d.client.VolumeRemove(ctx, v.Name, false)
		})
		if !errdefs.IsConflict(removeErr) { // a conflict means that the volume is in use
			err = errors.Join(err, removeErr)
		}
	}
	if err != nil {
		d.log.WithError(err).Warn("remove old volumes of the init")
	}
}

// pause waits for d. If ctx ends first, pause returns the cause of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
