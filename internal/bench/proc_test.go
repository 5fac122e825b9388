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
)

// python is the interpreter that the image has, too: Debian's.
func python() string {
	const debian = "/usr/bin/python3"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	path, _ := exec.LookPath("python3")
	return path
}

// processor is the name of the CPU.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(text), "model name\t: ")
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

// filesystem is the kind of the one that a path is on.
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
		return "tmpfs, where a sync costs nothing: do not believe C"
	}
	return fmt.Sprintf("a file system of type %#x", s.Type)
}

// process is one that runs on this machine.
type process int

func (p process) file(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

// cpu is the processor time that it has used itself, in steps of 10 ms; 0 when it is gone. See proc_pid_stat(5).
func (p process) cpu() (used time.Duration) {
	text, _ := os.ReadFile(p.file("stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	const first, last, tick = 11, 12, 10 * time.Millisecond // utime and stime, in USER_HZ, which is 100 everywhere
	for i, field := range strings.Fields(rest) {
		if n, err := strconv.Atoi(field); err == nil && first <= i && i <= last {
			used += time.Duration(n) * tick
		}
	}
	return used
}

// busy is the processor time that all of the machine has used, in steps of 10 ms; see proc_stat(5).
func busy() (used time.Duration) {
	text, _ := os.ReadFile("/proc/stat")
	all, _, _ := strings.Cut(string(text), "\n")
	const idle, waiting, guests, tick = 4, 5, 9, 10 * time.Millisecond // guests are in user already
	for i, field := range strings.Fields(all) {
		if n, err := strconv.Atoi(field); err == nil && i != idle && i != waiting && i < guests {
			used += time.Duration(n) * tick
		}
	}
	return used
}

// memory is what VmRSS (now) or VmHWM (at most, since forget) say, in MiB: all that is resident, the pages of the program's
// file and the heap alike.
func (p process) memory(name string) (float64, error) {
	text, err := os.ReadFile(p.file("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("%s does not say %s", p.file("status"), name)
}

// forget makes VmHWM begin again.
func (p process) forget() error { return os.WriteFile(p.file("clear_refs"), []byte("5"), 0o600) }

// named finds the processes whose command is so called and whose arguments contain a text.
func named(command, argument string) (found []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if string(bytes.TrimSpace(comm)) == command && bytes.Contains(args, []byte(argument)) {
			found = append(found, process(pid))
		}
	}
	return found
}
