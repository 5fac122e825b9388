package docker

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
)

// The settings that containers of all languages share.
const (
	initDir      = "/.boomerang"
	initPath     = initDir + "/" + initName
	workspaceDir = "/workspace"
	tmpDir       = "/tmp"

	shmDir       = "/dev/shm"
	terminalsDir = "/dev/pts"

	inodes      = 16384    // of /workspace, /tmp and /dev/shm; each inode of a tmpfs takes kernel memory
	shmSize     = 64 << 20 // bytes of /dev/shm
	coverSize   = 16 << 20 // bytes of the tmpfs over a VOLUME of the image
	coverInodes = 1024

	// With remapped users, all containers share one quota, which belongs to the creator of the user namespaces: about
	// 100 000 signals. A timer takes one signal for its whole life, a signal only until its delivery.
	pendingSignals = 1024

	gvisorPIDs = 1024 // gVisor's own threads on the host count against the limit

	// The worst size of a stream in the log file, measured on Engine 20.10. A byte that the init read alone is an entry
	// of its own: 8 bytes of lengths, 10 of source and content, 10 of time, and two for the escaped byte. The init adds
	// two frames of at most 4 KiB.
	entrySize  = 30
	framesSize = 16 << 10

	// The worst size of collected files in the log file: two bytes for each escaped byte, and an entry around every
	// whole piece. Each file, and each omitted file, adds a frame, an entry for the frame, and an entry for the last
	// piece.
	escapedSize    = 2
	aroundEntry    = 28
	collectedMost  = sandbox.MaxArtifacts + journal.MaxOmitted + 1
	collectedFrame = 4<<10 + 2*aroundEntry
)

// The labels of a container.
const (
	labelExecution = "boomerang.execution"
	labelNode      = "boomerang.node"
	labelEpoch     = "boomerang.epoch"
	labelLanguage  = "boomerang.language"
	labelSlot      = "boomerang.slot"
)

// hostFacts holds the inputs of a container's configuration beside its Spec.
type hostFacts struct {
	config   Config
	seccomp  string // the profile in one line; empty means the engine's own profile
	node     string
	epoch    int64
	image    imageFacts
	volume   initLocation
	accounts accountFiles
	engine   engineInfo
}

// containerConfig translates a spec. It overrides the image's settings, including its labels. The image's environment
// stays, because the init passes it on to the program.
func containerConfig(s sandbox.Spec, p hostFacts) *container.Config {
	return &container.Config{
		Hostname:   sandbox.Name, // by default the engine uses the container's id
		Image:      p.image.id,
		User:       userAndGroup(s, p),
		WorkingDir: workspaceDir,
		Entrypoint: []string{initPath},
		// With our entrypoint, the engine drops the image's own command, also if this is empty.
		Cmd:             s.Rehearsal,
		AttachStdin:     true,
		OpenStdin:       true,
		StdinOnce:       true, // if this process dies before it sends the job, the init reads EOF and exits
		NetworkDisabled: skipsNetworkSetup(s, p),
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		StopSignal:      "SIGTERM",
		StopTimeout:     new(int(p.config.StopTimeout / time.Second)), // also applies when the engine itself shuts down
		Labels: map[string]string{
			labelExecution: s.Execution,
			labelNode:      p.node,
			labelEpoch:     strconv.FormatInt(p.epoch, 10),
			labelLanguage:  s.Language,
			labelSlot:      strconv.Itoa(s.Slot),
		},
	}
}

// hostConfig translates a spec into limits and isolation settings.
func hostConfig(s sandbox.Spec, p hostFacts) *container.HostConfig {
	n := networkSettings(s, p)
	resources := resourceLimits(s, p)
	resources.CgroupParent = p.config.CgroupParent
	resources.Ulimits = []*container.Ulimit{
		{Name: "core", Soft: 0, Hard: 0},
		{Name: "nofile", Soft: s.Limits.Files, Hard: s.Limits.Files},
		{Name: "sigpending", Soft: pendingSignals, Hard: pendingSignals},
	}
	return &container.HostConfig{
		NetworkMode:    n.mode,
		DNS:            n.servers,
		DNSSearch:      n.search,
		ExtraHosts:     n.hosts,
		Sysctls:        n.sysctls,
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    securityOptions(p),
		ReadonlyRootfs: true,
		Tmpfs:          tmpfs(s, p),
		Mounts:         mounts(s, p),
		ShmSize:        shmSize,
		Runtime:        s.Runtime,
		Init:           new(false),
		AutoRemove:     false,
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig:      logConfig(s.Limits),
		Resources:      resources,
	}
}

// resourceLimits returns the limits that Resize can change.
func resourceLimits(s sandbox.Spec, p hostFacts) container.Resources {
	return container.Resources{
		Memory:     s.Limits.Memory,
		MemorySwap: s.Limits.Memory, // total of memory and swap, so there is no swap
		NanoCPUs:   int64(s.Limits.CPUs * 1e9),
		PidsLimit:  new(pidsLimit(s, p)),
	}
}

// uid returns the UID and GID of the slot.
func uid(s sandbox.Spec, p hostFacts) int { return p.engine.uidBase(p.config) + s.Slot }

func userAndGroup(s sandbox.Spec, p hostFacts) string {
	return fmt.Sprintf("%d:%d", uid(s, p), uid(s, p))
}

func securityOptions(p hostFacts) []string {
	options := []string{"no-new-privileges"}
	if p.seccomp != "" {
		options = append(options, "seccomp="+p.seccomp)
	}
	return options
}

// runsOnGVisor reports whether gVisor's kernel runs the program.
func runsOnGVisor(s sandbox.Spec, engine engineInfo) bool {
	return strings.HasPrefix(cmp.Or(s.Runtime, engine.runtime), "runsc")
}

func pidsLimit(s sandbox.Spec, p hostFacts) int64 {
	limit := s.Limits.PIDs + journal.Threads
	if runsOnGVisor(s, p.engine) {
		return max(limit, gvisorPIDs)
	}
	return limit
}

// noTerminals hides the pseudo terminals. All containers share the kernel's stock of them (kernel.pty.max), so one
// program could use them up for the whole machine.
const noTerminals = "size=4096,nr_inodes=1,mode=0500,ro,nosuid,nodev,noexec"

// tmpfs returns the mounts in memory. All but the last are the only places that the program can write to. The engine's
// own /dev/shm has no limit of inodes.
func tmpfs(s sandbox.Spec, p hostFacts) map[string]string {
	places := volumeCovers(p.image, uid(s, p))
	places[workspaceDir] = tmpfsOptions(s.Limits.Workspace, inodes, uid(s, p))
	places[tmpDir] = tmpfsOptions(s.Limits.Tmp, inodes, uid(s, p))
	places[shmDir] = strings.Replace(tmpfsOptions(shmSize, inodes, uid(s, p)), ",exec", ",noexec", 1)
	places[terminalsDir] = noTerminals
	return places
}

// volumeCovers returns mounts over the volumes of the image, which would write to the host's disk in spite of the
// read-only root. The key must be the clean path, or the engine still makes an anonymous volume.
func volumeCovers(image imageFacts, uid int) map[string]string {
	places := make(map[string]string, len(image.volumes))
	for _, volume := range image.volumes {
		places[path.Clean(volume)] = tmpfsOptions(coverSize, coverInodes, uid)
	}
	return places
}

func tmpfsOptions(size int64, inodes, uid int) string {
	return fmt.Sprintf("size=%d,nr_inodes=%d,mode=0700,uid=%d,gid=%d,nosuid,nodev,exec", size, inodes, uid, uid)
}

// skipsNetworkSetup reports whether the engine may skip its network setup, which is half of a start on Engine 20.10.
// The kernel still gives the container a network namespace of its own with only a loopback. The engine then writes no
// /etc/hosts, which programs need for localhost, so boomerang mounts one.
func skipsNetworkSetup(s sandbox.Spec, p hostFacts) bool {
	return !networked(s.Network) && p.volume.path != ""
}

// mounts returns the init's volume and the files in it that need a path of their own: the lists of users and groups,
// and /etc/hosts if the engine writes none.
func mounts(s sandbox.Spec, p hostFacts) []mount.Mount {
	all := []mount.Mount{initMount(p.volume.name, p.node, true)}
	over := func(name, target string) {
		all = append(all, mount.Mount{
			Type: mount.TypeBind, Source: path.Join(p.volume.path, name), Target: target,
			ReadOnly: true,
		})
	}
	if skipsNetworkSetup(s, p) {
		over(hostsName, "/etc/hosts")
	}
	for _, list := range accountLists {
		if name := p.accounts[list.path].fileName(uid(s, p)); name != "" {
			over(name, list.path)
		}
	}
	return all
}

// initMount mounts the init's volume. If the volume is missing, the engine makes it, labelled with the node. NoCopy
// keeps the image's files at that path out of the volume.
func initMount(volume, node string, readOnly bool) mount.Mount {
	return mount.Mount{
		Type: mount.TypeVolume, Source: volume, Target: initDir, ReadOnly: readOnly,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{labelInit: node}},
	}
}

// logConfig returns a log configuration that is large enough for all output of the init, so that the log never rotates:
// a log that rotates under its reader loses data silently. Only the driver local keeps bytes that are not UTF-8.
func logConfig(l sandbox.Limits) container.LogConfig {
	const streams = 2
	size := streams * ((l.Output+l.Tail)*entrySize + framesSize)
	collected, frames := l.Artifacts+l.Kept, collectedMost+int64(l.Entries)
	if l.Kept > 0 {
		frames += journal.MaxOmitted + 1
	}
	size += collected*escapedSize + collected/journal.MaxPiece*aroundEntry + frames*collectedFrame
	return container.LogConfig{
		Type: "local",
		Config: map[string]string{
			"mode":     "blocking",
			"max-size": strconv.FormatInt(size, 10),
			"max-file": "2",
			"compress": "false",
		},
	}
}
