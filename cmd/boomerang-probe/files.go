//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

func pointer[T any](p *T) unsafe.Pointer { return unsafe.Pointer(p) }

// files returns checks of the file system: writable, readable and visible files.
func files() []check {
	const group = "files"
	return []check{
		{group, "root", "read-only", func(probe.Task) (string, bool) {
			var open []string
			for _, folder := range []string{
				"/", "/etc", "/usr", "/usr/bin", "/bin", "/lib", "/var", "/var/tmp",
				"/root", "/home", "/opt", "/run", "/srv", "/mnt",
			} {
				if err := canWrite(folder); err == nil {
					open = append(open, folder)
				}
			}
			return "written to: " + orNone(open), len(open) == 0
		}},
		{group, "writable places", "only tmpfs mounts with limits of bytes and inodes", func(task probe.Task) (string,
			bool,
		) {
			places, whole := writable()
			held := whole
			said := make([]string, len(places))
			for i, p := range places {
				said[i] = p.String()
				held = held && p.bounded(task)
			}
			if !whole {
				said = append(said, "the search was cut short")
			}
			return orNone(said), held
		}},
		tmpfsCheck(group, "/workspace", func(l probe.Limits) int64 { return l.Workspace }),
		tmpfsCheck(group, "/tmp", func(l probe.Limits) int64 { return l.Tmp }),
		{
			group, "left by others", "/workspace, /tmp and /dev/shm are empty except for the code",
			func(probe.Task) (string,
				bool,
			) {
				var found []string
				for _, folder := range []string{"/workspace", "/tmp", "/dev/shm", "/dev/mqueue"} {
					entries, _ := os.ReadDir(folder)
					for _, e := range entries {
						if path := filepath.Join(folder, e.Name()); !isTask(path) {
							found = append(found, path)
						}
					}
				}
				return orNone(found), len(found) == 0
			},
		},
		{
			group, "engine's files", "/etc/hosts, /etc/hostname, /etc/resolv.conf, /etc/passwd, /etc/group: read-only",
			func(probe.Task) (string, bool) {
				return refuseWriting(mountedFiles...)
			},
		},
		{group, "beside PID 1", "its directory is read-only", func(probe.Task) (string, bool) {
			folder := filepath.Dir(os.Args[0])
			err := canWrite(folder)
			init, _ := refuseWriting(os.Args[0], "/.boomerang/boomerang-init")
			return folder + ": " + errorName(err) + "; files: " + init, err != nil && !strings.Contains(init, "open")
		}},
		{group, "engine's socket", "absent", func(probe.Task) (string, bool) {
			return absent("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
				"/run/podman/podman.sock",
				"/run/crio/crio.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", "/run/user")
		}},
		{group, "mounts", "from the machine: only these files and the directory of PID 1", foreignMounts},
		{group, "devices", "only harmless ones", devices},
		{group, "dangerous devices", "absent", func(probe.Task) (string, bool) {
			return absent("/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/net/tun",
				"/dev/loop-control",
				"/dev/sda", "/dev/vda", "/dev/nvme0", "/dev/snapshot", "/dev/uinput", "/dev/vhost-vsock")
		}},
		{group, "making devices", "refused: mknod of a disk and of the memory", func(probe.Task) (string, bool) {
			path := filepath.Join(os.TempDir(), "device")
			disk := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(8, 0)))
			memory := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1)))
			_ = os.Remove(path)
			return errorName(disk) + ", " + errorName(memory), disk != nil && memory != nil
		}},
		{
			group, "masked files", "/proc/kcore, keys, timer_list, acpi, /sys/firmware, … show nothing",
			func(probe.Task) (string, bool) {
				var shown []string
				for _, path := range []string{
					"/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
					"/proc/sched_debug",
					"/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/kmsg", "/sys/firmware", "/sys/kernel/debug",
					"/sys/kernel/tracing",
					"/sys/kernel/security", "/sys/fs/bpf", "/proc/kpagecount",
				} {
					if shows(path) {
						shown = append(shown, path)
					}
				}
				return "shown: " + orNone(shown), len(shown) == 0
			},
		},
		{group, "kernel settings", "nothing in /proc/sys can be written", func(probe.Task) (string, bool) {
			open, whole := writableFiles("/proc/sys")
			return "writable: " + few(open), len(open) == 0 && whole
		}},
		{group, "/proc", "closed: sysrq-trigger, irq, bus, fs, mtrr", func(probe.Task) (string, bool) {
			return refuseWriting("/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/mtrr",
				"/proc/bus/pci/devices", "/proc/fs/nfsd/exports")
		}},
		{
			group, "programs that the kernel starts",
			"closed: core_pattern, modprobe, uevent_helper, release_agent, binfmt_misc", func(probe.Task) (string,
				bool,
			) {
				agents, _ := filepath.Glob("/sys/fs/cgroup/*/release_agent")
				return refuseWriting(append(agents, "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
					"/proc/sys/kernel/hotplug",
					"/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent",
					"/proc/sys/fs/binfmt_misc/register")...)
			},
		},
		{group, "/sys", "nothing can be written", func(probe.Task) (string, bool) {
			open, _ := writableFiles("/sys/kernel")
			more, _ := writableFiles("/sys/fs")
			open = append(open, more...)
			if err := canWrite("/sys/fs/cgroup"); err == nil {
				open = append(open, "/sys/fs/cgroup")
			}
			return "writable: " + few(open), len(open) == 0
		}},
		{group, "own limits", "the files of the program's cgroup cannot be written", func(probe.Task) (string, bool) {
			return refuseWriting("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cgroup.procs",
				"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max",
				"/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
				"/sys/fs/cgroup/devices/devices.allow")
		}},
	}
}

// canWrite makes a file in a directory and removes it.
func canWrite(folder string) error {
	f, err := os.CreateTemp(folder, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// refuseWriting holds if no existing file can be opened for writing. It writes nothing.
func refuseWriting(paths ...string) (string, bool) {
	var open, answers []string
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		switch {
		case err == nil:
			_ = f.Close()
			open = append(open, path)
		case !errors.Is(err, fs.ErrNotExist):
			answers = append(answers, errorName(err))
		}
	}
	if len(open) > 0 {
		return "open: " + strings.Join(open, ", "), false
	}
	return orNone(distinct(answers)), true
}

func absent(paths ...string) (string, bool) {
	var there []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			there = append(there, path)
		}
	}
	return "there: " + orNone(there), len(there) == 0
}

// shows reports whether a directory has entries or a file has bytes to read.
func shows(path string) bool {
	if entries, err := os.ReadDir(path); err == nil {
		return len(entries) > 0
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	n, _ := f.Read(make([]byte, 1))
	return n > 0
}

// filesystem is a writable file system.
type filesystem struct {
	path, kind    string
	bytes, inodes int64
}

func (p filesystem) String() string {
	return fmt.Sprintf("%s (%s, %d MiB, %d inodes)", p.path, p.kind, p.bytes>>20, p.inodes)
}

// bounded holds for a tmpfs with limits of its own. Message queues have a limit per user.
func (p filesystem) bounded(task probe.Task) bool {
	largest := max(task.Limits.Workspace, task.Limits.Tmp, 64<<20)
	return p.kind == "tmpfs" && p.bytes <= largest && 0 < p.inodes && p.inodes <= mostInodes || p.kind == "mqueue"
}

const mostInodes = 1 << 20

const lookFor = 20 * time.Second

// writable returns the file systems in which the program can make a file. Whole is false if time ran out.
func writable() (all []filesystem, whole bool) {
	end := time.Now().Add(lookFor)
	found := map[string]bool{}
	kinds := mountKinds()
	err := filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case time.Now().After(end):
			return fs.SkipAll
		case err != nil || !entry.IsDir():
			return nil //nolint:nilerr // an unreadable directory is not writable
		case path == "/proc" || path == "/sys":
			return fs.SkipDir
		}
		if unix.Access(path, unix.W_OK) == nil && canWrite(path) == nil {
			mount := mountOf(path, kinds)
			if !found[mount] {
				found[mount] = true
				all = append(all, measured(mount, kinds[mount]))
			}
		}
		return nil
	})
	return all, err == nil && time.Now().Before(end)
}

func measured(path, kind string) filesystem {
	var s unix.Statfs_t
	_ = unix.Statfs(path, &s)
	return filesystem{path: path, kind: kind, bytes: int64(s.Blocks) * s.Bsize, inodes: int64(s.Files)}
}

// mountKinds maps each mount point to the type of its file system.
func mountKinds() map[string]string {
	kinds := map[string]string{}
	for _, m := range mounts() {
		kinds[m.at] = m.kind
	}
	return kinds
}

func mountOf(path string, kinds map[string]string) string {
	for ; ; path = filepath.Dir(path) {
		if _, ok := kinds[path]; ok || path == "/" {
			return path
		}
	}
}

type mounted struct{ root, at, kind, source string }

// mounts reads /proc/self/mountinfo; see proc_pid_mountinfo(5).
func mounts() []mounted {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var all []mounted
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		dash := slices.Index(fields, "-")
		const rootField, atField = 3, 4
		if dash > atField && len(fields) > dash+2 {
			all = append(all, mounted{
				root: fields[rootField], at: fields[atField], kind: fields[dash+1],
				source: fields[dash+2],
			})
		}
	}
	return all
}

// mountedFiles are the files that the engine or boomerang mounts into every container.
var mountedFiles = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group"}

// foreignMounts finds unexpected mounts: not the kernel's, not in memory, not the root, and not in every container.
func foreignMounts(probe.Task) (string, bool) {
	known := append([]string{"/", filepath.Dir(os.Args[0])}, mountedFiles...)
	kinds := []string{"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs"}
	var foreign []string
	for _, m := range mounts() {
		// In /dev and /proc the engine masks entries by mounting null and similar devices over them.
		masked := m.kind == "devtmpfs" && strings.HasPrefix(m.at, "/dev") && m.at == "/dev"
		if masked || !slices.Contains(known, m.at) && !slices.Contains(kinds, m.kind) {
			foreign = append(foreign, m.at+" ("+m.kind+" "+m.source+m.root+")")
		}
	}
	return orNone(foreign), len(foreign) == 0
}

func devices(probe.Task) (string, bool) {
	harmless := []string{
		"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "mqueue", "fd", "stdin",
		"stdout", "stderr", "core",
	}
	var more []string
	entries, err := os.ReadDir("/dev")
	for _, e := range entries {
		if !slices.Contains(harmless, e.Name()) {
			more = append(more, e.Name())
		}
	}
	return "beside these: " + orNone(more), err == nil && len(more) == 0
}

// tmpfsCheck checks one of the two tmpfs mounts that every program has.
func tmpfsCheck(group, path string, size func(probe.Limits) int64) check {
	const should = "a tmpfs of the configured size, for this user only (mode 0700), nosuid, nodev, with a limit of " +
		"inodes"
	return check{group, path, should, func(task probe.Task) (string, bool) {
		var s unix.Statfs_t
		var info unix.Stat_t
		if err := errors.Join(unix.Statfs(path, &s), unix.Stat(path, &info)); err != nil {
			return errorName(err), false
		}
		m := measured(path, mountKinds()[path])
		flags := s.Flags&unix.ST_NOSUID != 0 && s.Flags&unix.ST_NODEV != 0
		mode := info.Mode & 0o7777
		happened := fmt.Sprintf("%v, mode %04o, user %d, nosuid and nodev: %t", m, mode, info.Uid, flags)
		return happened, m.kind == "tmpfs" && m.bytes <= size(task.Limits) && m.inodes <= mostInodes &&
			int(info.Uid) == os.Getuid() && mode == 0o700 && flags
	}}
}

// writableFiles finds the writable files below a directory. It writes nothing.
func writableFiles(folder string) (open []string, whole bool) {
	end := time.Now().Add(lookFor)
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if time.Now().After(end) {
			return fs.SkipAll
		}
		if err == nil && !entry.IsDir() && entry.Type()&fs.ModeSymlink == 0 && unix.Access(path, unix.W_OK) == nil {
			open = append(open, path)
		}
		return nil
	})
	return open, time.Now().Before(end)
}

func few(all []string) string {
	const some = 5
	if len(all) > some {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:some], ", "), len(all)-some)
	}
	return orNone(all)
}

func isTask(path string) bool {
	task, err := os.Stat(os.Args[1])
	info, infoErr := os.Stat(path)
	return err == nil && infoErr == nil && os.SameFile(task, info)
}
