//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"boomerang/internal/servertest"
)

// python returns the path of the interpreter of Debian, which the image has too, or of another one.
func python() string {
	const debian = "/usr/bin/python3"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	path, _ := exec.LookPath("python3")
	return path
}

// processor returns the name of the CPU.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

// filesystem returns the kind of the file system of a path.
func filesystem(path string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return err.Error()
	}
	switch s.Type {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs, where a sync costs nothing: C is not valid"
	}
	return fmt.Sprintf("a file system of type %#x", s.Type)
}

// cpu returns the processor time of processes, without their children.
func cpu(processes []servertest.Process) (used time.Duration) {
	for _, p := range processes {
		own, _ := p.CPU()
		used += own
	}
	return used
}

// busy returns the processor time that the whole machine has used, in steps of 10 ms; see proc_stat(5).
func busy() (used time.Duration) {
	text, _ := os.ReadFile("/proc/stat")
	all, _, _ := strings.Cut(string(text), "\n")
	const idle, waiting, guests, tick = 4, 5, 9, 10 * time.Millisecond // user includes the guests
	for i, field := range strings.Fields(all) {
		if n, err := strconv.Atoi(field); err == nil && i != idle && i != waiting && i < guests {
			used += time.Duration(n) * tick
		}
	}
	return used
}

// mebibytes returns the resident memory of the server: VmRSS now, or VmHWM at most since resetPeak.
func (s *server) mebibytes(name string) (float64, error) {
	kib, err := s.Status(name)
	return float64(kib) / 1024, err
}

// resetPeak resets VmHWM.
func (s *server) resetPeak() error { return os.WriteFile(s.File("clear_refs"), []byte("5"), 0o600) }

// named returns the processes with a command name and with a text in their arguments.
func named(command, argument string) (found []servertest.Process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if string(bytes.TrimSpace(comm)) == command && bytes.Contains(args, []byte(argument)) {
			found = append(found, servertest.Process(pid))
		}
	}
	return found
}
