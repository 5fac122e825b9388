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
	initPrefix = initName + "-" // of the volume and of the container that fills it, before the binary's hash

	labelInit   = "boomerang.init"   // on the volume: the node that made it
	labelHelper = "boomerang.helper" // on the container that fills it: the node

	// A filling takes less than a second; another process's that takes longer than this is held for dead.
	helperPatience = 10 * time.Second
	helperPause    = 100 * time.Millisecond
)

// initVolume is the volume that holds the init for this engine.
type initVolume struct {
	lock     lock         // held while the volume is filled; guards place
	location initLocation // without a name: not filled by this process yet
}

// initPlace is where the init lies.
type initLocation struct {
	name string // the volume's
	path string // the same on the engine's machine; empty where the engine does not tell
}

func newInitVolume() *initVolume { return &initVolume{lock: newLock()} }

// initVolume returns the name of a volume that holds the init, verified once per process. A container with the very
// image at hand is made to fill it and is never started, so nothing but that image is needed.
// With anew it is verified again: somebody may have removed the volume, whereupon the engine made an empty one.
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

// file is one in the volume.
type file struct {
	name    string
	content []byte
	mode    int64 // 0: that of a program
}

// hosts is the /etc/hosts of a container without network. The container's own name has lines of its own, so that it is its
// canonical name.
const (
	hostsName = "hosts"
	hosts     = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t" + sandbox.Name + "\n::1\t" + sandbox.Name + "\n"
)

// binaries reads the init, and what is carried beside it, for the engine's architecture, which need not be ours.
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
		content, err := os.ReadFile(filepath.Join(dir, name+"-linux-"+goarch(version))) //nolint:gosec // the operator names the folder
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		files = append(files, file{name: name, content: content})
	}
	return files, nil
}

// goarch spells the engine's architecture as Go does; some engines say what uname says.
func goarch(v types.Version) string {
	switch v.Arch {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return v.Arch
}

// volumeName is the same for all who need the init alone. With something beside it the volume is this node's own.
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

// fill makes the volume hold the files, whatever state it is in, and proves it by reading them back. The helper's
// name is the lock between processes.
func (d *Docker) fillVolume(ctx context.Context, image imageFacts, files []file) (string, error) {
	name := d.volumeName(files)
	helper, err := d.createHelper(ctx, name, image)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.remove(context.WithoutCancel(ctx), helper) }() // what stays is swept by the next process

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

// write copies files into the volume. The engine replaces a file that is there already by a new one; a container that has
// the old one mounted keeps it.
func (d *Docker) writeFiles(ctx context.Context, helper string, files []file) error {
	archive, err := tarFile(files)
	if err != nil {
		return err
	}
	return do(ctx, d, "write into the init's volume", func(ctx context.Context) error {
		return d.client.CopyToContainer(ctx, helper, initDir, bytes.NewReader(archive), container.CopyToContainerOptions{})
	})
}

// holds tells whether the volume holds all the files as they are.
func (d *Docker) volumeHolds(ctx context.Context, helper string, files []file) (bool, error) {
	for _, f := range files {
		if held, err := d.fileHash(ctx, helper, f.name); err != nil || held != sha256.Sum256(f.content) {
			return false, err
		}
	}
	return true, nil
}

// helper makes the container through which the volume is filled. While another process has one it waits. As with any create
// it waits for the engine's answer even when ctx ends meanwhile.
func (d *Docker) createHelper(ctx context.Context, name string, image imageFacts) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, helperPatience+d.config.CallTimeout)
	defer cancel()
	for began := time.Now(); ; {
		created, err := callEngine(context.WithoutCancel(ctx), d, "create helper", func(ctx context.Context) (container.CreateResponse, error) {
			return d.client.ContainerCreate(ctx,
				&container.Config{
					Image: image.id, Entrypoint: []string{initPath},
					Labels: map[string]string{labelHelper: d.node, labelEpoch: strconv.FormatInt(d.epoch, 10), labelNode: ""},
				},
				&container.HostConfig{
					NetworkMode: "none", Mounts: []mount.Mount{initMount(name, d.node, false)}, Tmpfs: volumeCovers(image, 0),
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

// held is the hash of what the volume holds by that name; the zero hash when it holds none.
func (d *Docker) fileHash(ctx context.Context, helper, name string) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	found, err := d.readFile(ctx, helper, initDir+"/"+name, func(_ *tar.Header, content io.Reader) error {
		_, err := io.Copy(hash, content) // bounded by what the volume holds and the deadline
		return err
	})
	if err != nil || !found {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// read passes a file of a container, which need not run, to a function. It does not follow a link at the end of the path,
// and returns false if there is no such file.
func (d *Docker) readFile(ctx context.Context, id, name string, with func(*tar.Header, io.Reader) error) (found bool, err error) {
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

// archived puts the files into a tar file as the engine wants it.
func tarFile(files []file) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: cmp.Or(f.mode, 0o755), Size: int64(len(f.content))})
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

// Dismantle removes every container and every volume of this node: for a node that does not come back.
// Errors: sandbox.ErrUnavailable.
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

// sweepHelpers removes the helpers of this node's earlier epochs: they died half way.
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

// sweepVolumes removes the volumes that this node made for other versions and that nobody uses. It does what it can;
// another node of such a version that finds its volume missing fills it again.
func (d *Docker) sweepVolumes(ctx context.Context, current string) {
	volumes, err := callEngine(ctx, d, "list volumes", func(ctx context.Context) (volume.ListResponse, error) {
		return d.client.VolumeList(ctx, volume.ListOptions{Filters: filters.NewArgs(filters.Arg("label", labelInit+"="+d.node))})
	})
	for _, v := range volumes.Volumes {
		if v.Name == current {
			continue
		}
		removeErr := do(ctx, d, "remove volume", func(ctx context.Context) error {
			return d.client.VolumeRemove(ctx, v.Name, false)
		})
		if !errdefs.IsConflict(removeErr) { // conflict: it is in use
			err = errors.Join(err, removeErr)
		}
	}
	if err != nil {
		d.log.WithError(err).Warn("remove old volumes of the init")
	}
}

// pause waits for d or for the end of ctx, whose cause it returns.
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
