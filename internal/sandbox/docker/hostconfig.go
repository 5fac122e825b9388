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

// What every container has, whatever the language.
const (
	initDir      = "/.boomerang"
	initPath     = initDir + "/" + initName
	workspaceDir = "/workspace"
	tmpDir       = "/tmp"

	shmDir       = "/dev/shm"
	terminalsDir = "/dev/pts"

	inodes      = 16384    // of /workspace, /tmp and /dev/shm: an inode of a tmpfs takes kernel memory
	shmSize     = 64 << 20 // bytes of /dev/shm
	coverSize   = 16 << 20 // bytes of a tmpfs over a VOLUME of the image
	coverInodes = 1024

	// Where users are remapped they draw from one stock, that of whoever made the user namespaces: about 100 000 for all
	// containers together. A timer takes one as long as it is there, a signal only until it is taken.
	pendingSignals = 1024

	gvisorPIDs = 1024 // gVisor's own threads on the host count against the limit

	// What a stream becomes in the log file, at worst (measured on Engine 20.10): a byte that the init read alone is an
	// entry of its own, with 8 bytes of lengths, 10 of source and content, 10 of time, and two of the byte, escaped. To that
	// the init adds two frames of at most 4 KiB.
	entrySize  = 30
	framesSize = 16 << 10

	// What the files that are collected become, at worst: two of each byte, escaped, and the bytes around an entry for every
	// whole piece; then for each file, and each that is refused, a frame, an entry for it, and one for the piece that is not whole.
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

// hostFacts is what a container's configuration depends on beside its Spec.
type hostFacts struct {
	config   Config
	seccomp  string // the profile in one line; empty = the engine's
	node     string
	epoch    int64
	image    imageFacts
	volume   initLocation
	accounts accountFiles
	engine   engineInfo
}

// containerConfig translates a spec. Whatever the image says of how it is run is overridden, its labels included;
// its environment stays, as the init hands it to the program.
func containerConfig(s sandbox.Spec, p hostFacts) *container.Config {
	return &container.Config{
		Hostname:        sandbox.Name, // the engine's choice would be the container's id
		Image:           p.image.id,
		User:            userAndGroup(s, p),
		WorkingDir:      workspaceDir,
		Entrypoint:      []string{initPath},
		Cmd:             s.Rehearsal, // beside an entrypoint of ours the image's own is dropped, also when this is empty
		AttachStdin:     true,
		OpenStdin:       true,
		StdinOnce:       true, // when we go away before the job is sent, the init reads EOF and leaves
		NetworkDisabled: skipsNetworkSetup(s, p),
		Healthcheck:     &container.HealthConfig{Test: []string{"NONE"}},
		StopSignal:      "SIGTERM",
		StopTimeout:     new(int(p.config.StopTimeout / time.Second)), // also when the engine itself shuts down
		Labels: map[string]string{
			labelExecution: s.Execution,
			labelNode:      p.node,
			labelEpoch:     strconv.FormatInt(p.epoch, 10),
			labelLanguage:  s.Language,
			labelSlot:      strconv.Itoa(s.Slot),
		},
	}
}

// hostConfig translates a spec into limits and walls.
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

// sizes are the limits that can be changed while a container waits.
func resourceLimits(s sandbox.Spec, p hostFacts) container.Resources {
	return container.Resources{
		Memory:     s.Limits.Memory,
		MemorySwap: s.Limits.Memory, // memory and swap together: no swap
		NanoCPUs:   int64(s.Limits.CPUs * 1e9),
		PidsLimit:  new(pidsLimit(s, p)),
	}
}

// uid is the slot's UID and GID.
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

// gvisor tells whether gVisor's kernel answers the program.
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

// noTerminals takes the place of the pseudo terminals: all containers draw them from one stock of the kernel's
// (kernel.pty.max), which one program can use up for the whole machine.
const noTerminals = "size=4096,nr_inodes=1,mode=0500,ro,nosuid,nodev,noexec"

// tmpfs are the only places that the program can write to, but for the last. The engine's own /dev/shm has no bound of inodes.
func tmpfs(s sandbox.Spec, p hostFacts) map[string]string {
	places := volumeCovers(p.image, uid(s, p))
	places[workspaceDir] = tmpfsOptions(s.Limits.Workspace, inodes, uid(s, p))
	places[tmpDir] = tmpfsOptions(s.Limits.Tmp, inodes, uid(s, p))
	places[shmDir] = strings.Replace(tmpfsOptions(shmSize, inodes, uid(s, p)), ",exec", ",noexec", 1)
	places[terminalsDir] = noTerminals
	return places
}

// covers take the place of the image's volumes, which would write to the host's disk in spite of the read-only root.
// The key must be the clean path, or the engine makes an anonymous volume all the same.
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

// unprepared tells whether the engine is spared the preparations for a network, which are half of a start (Engine 20.10). The
// kernel gives the container a network namespace of its own, with nothing but a loopback, all the same. The engine then writes
// no /etc/hosts, in which programs look up localhost; it must be had from elsewhere.
func skipsNetworkSetup(s sandbox.Spec, p hostFacts) bool {
	return !networked(s.Network) && p.volume.path != ""
}

// mounts are the init's volume and what lies in it for a place of its own: the lists of users and groups and, where the
// engine writes none, /etc/hosts.
func mounts(s sandbox.Spec, p hostFacts) []mount.Mount {
	all := []mount.Mount{initMount(p.volume.name, p.node, true)}
	over := func(name, target string) {
		all = append(all, mount.Mount{Type: mount.TypeBind, Source: path.Join(p.volume.path, name), Target: target, ReadOnly: true})
	}
	if skipsNetworkSetup(s, p) {
		over(hostsName, "/etc/hosts")
	}
	for _, list := range accountLists {
		if name := p.accounts[list.path].of(uid(s, p)); name != "" {
			over(name, list.path)
		}
	}
	return all
}

// initMount mounts the init's volume, which the engine makes, labelled with the node, if it is not there. NoCopy: what
// the image may have at that path stays out.
func initMount(volume, node string, readOnly bool) mount.Mount {
	return mount.Mount{
		Type: mount.TypeVolume, Source: volume, Target: initDir, ReadOnly: readOnly,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{labelInit: node}},
	}
}

// logConfig makes a log that holds all that the init can pass on and so never rotates: a log that rotates under its
// reader loses data silently. Of the drivers only local keeps bytes that are not UTF-8.
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
