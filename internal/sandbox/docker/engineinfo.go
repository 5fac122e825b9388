package docker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"sync"

	"github.com/docker/docker/api/types/system"

	"boomerang/internal/sandbox"
)

// ErrUnfit means that this engine cannot apply a setting. Its text names the key and is for the operator.
var ErrUnfit = errors.New("a setting does not fit the engine")

// engineInfo holds the properties of the engine that a container's configuration depends on.
type engineInfo struct {
	remapped bool   // containers have a user namespace of their own: userns-remap, or a rootless engine
	runtime  string // the engine's default runtime
}

// The default UIDs of slot 0. A user namespace usually maps 65536 users, because useradd fills /etc/subuid that way.
const (
	uidBase         = 100_000
	remappedUIDBase = 20_000
	usuallyMapped   = 65_536
)

func (t engineInfo) uidBase(c Config) int {
	switch {
	case c.UIDBase != 0:
		return c.UIDBase
	case t.remapped:
		return remappedUIDBase
	}
	return uidBase
}

// engineInfoCache remembers the answer while it can be used to make containers.
type engineInfoCache struct {
	mu    sync.Mutex // guards known
	known *engineInfo
}

// engineInfo asks the engine once. With refresh, it asks again, because the engine may have been replaced. Errors:
// sandbox.ErrUnavailable, and sandbox.ErrRefused for a setting that does not fit the engine.
func (d *Docker) engineInfo(ctx context.Context, refresh bool) (engineInfo, error) {
	d.info.mu.Lock()
	known := d.info.known
	d.info.mu.Unlock()
	if known != nil && !refresh {
		return *known, nil
	}
	info, err := callEngine(ctx, d, "inspect engine", d.client.Info)
	if err != nil {
		return engineInfo{}, err
	}
	if err := d.config.checkEngine(info); err != nil {
		return engineInfo{}, fmt.Errorf("%w: %w", sandbox.ErrRefused, err)
	}
	t := engineInfoOf(info)
	d.info.mu.Lock()
	d.info.known = &t
	d.info.mu.Unlock()
	return t, nil
}

func engineInfoOf(info system.Info) engineInfo {
	options := securityOptionsOf(info)
	return engineInfo{remapped: options["userns"] != "" || options["rootless"] != "", runtime: info.DefaultRuntime}
}

// checkEngine checks that the engine supports the configuration. The forms of slice names follow runc and systemd.
func (c Config) checkEngine(info system.Info) error {
	switch {
	case c.CgroupParent == "":
	case info.CgroupDriver == "systemd" && !sliceName.MatchString(c.CgroupParent):
		return fmt.Errorf(
			"%w: docker.cgroup_parent: with its cgroup driver, systemd, it must be the name of a slice, such as "+
				"boomerang.slice, not %q",
			ErrUnfit, c.CgroupParent)
	case info.CgroupDriver == "cgroupfs" && !cleanPath(c.CgroupParent):
		return fmt.Errorf(
			"%w: docker.cgroup_parent: with its cgroup driver, cgroupfs, it must be a path such as /boomerang, not %q",
			ErrUnfit, c.CgroupParent)
	}
	return nil
}

func cleanPath(p string) bool { return path.IsAbs(p) && path.Clean(p) == p && p != "/" }

var sliceName = regexp.MustCompile(`^[A-Za-z0-9:_.\\]+(-[A-Za-z0-9:_.\\]+)*\.slice$`)

// usersFact reports the users that programs run as on the engine's machine.
func usersFact(c Config, t engineInfo) sandbox.Fact {
	base := t.uidBase(c)
	f := sandbox.Fact{
		Name: "programs' users", Value: fmt.Sprintf("%d and up, one for each slot", base),
		Weight: sandbox.Fine,
	}
	if t.remapped {
		f.Value += ", of a user namespace"
		f.Weight = sandbox.Note
		f.Advice = "User namespaces share one quota of inotify instances (fs.inotify.max_user_instances of the " +
			"engine's user): raise it, one program can use up all of it."
		if base >= usuallyMapped {
			f.Weight = sandbox.Warning
			f.Advice = "Unless /etc/subuid maps that many to this engine no program can start: leave " +
				"docker.uid_base at 0, which chooses one that fits."
		}
	}
	return f
}
