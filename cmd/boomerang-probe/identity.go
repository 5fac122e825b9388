//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// identity returns checks of the program's user and privileges.
func identity() []check {
	const group = "identity"
	return []check{
		{group, "capabilities", "none: all five sets empty", func(probe.Task) (string, bool) {
			var sets []string
			for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
				value := status("self", set)
				// Old kernels lack this set.
				if hidden := value == "" && set == "CapAmb"; strings.Trim(value, "0") != "" || value == "" && !hidden {
					sets = append(sets, set+" "+value)
				}
			}
			return orNone(sets), len(sets) == 0
		}},
		{group, "no new privileges", "set", func(probe.Task) (string, bool) {
			value, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			return fmt.Sprintf("%d, %s", value, errorName(err)), err == nil && value == 1
		}},
		{group, "seccomp", "a filter is on (mode 2)", func(probe.Task) (string, bool) {
			value := status("self", "Seccomp")
			return "mode " + value, value == "2"
		}},
		{group, "user", "not root, a group of its own, no further groups", func(probe.Task) (string, bool) {
			groups, _ := os.Getgroups()
			uid, gid := os.Getuid(), os.Getgid()
			alone := !slices.ContainsFunc(groups, func(g int) bool { return g != gid })
			return fmt.Sprintf("uid %d, gid %d, groups %v", uid, gid, groups), uid != 0 && gid != 0 &&
				uid == os.Geteuid() && alone
		}},
		{group, "becoming root", "refused: setuid(0), setgid(0), setgroups", func(probe.Task) (string, bool) {
			// These calls act on one thread, so a success ends with the thread.
			_, _, user := unix.RawSyscall(unix.SYS_SETUID, 0, 0, 0)
			_, _, groups := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
			return unix.ErrnoName(user) + ", " + unix.ErrnoName(groups), user == unix.EPERM && groups == unix.EPERM
		}},
		{group, "set-uid programs", "they run with the rights of the user that starts them", setUIDPrograms},
		{group, "apparmor", "confined if the engine has AppArmor", func(task probe.Task) (string, bool) {
			if !task.Confined {
				return "the engine has none", true
			}
			label, err := os.ReadFile("/proc/self/attr/current")
			text := strings.TrimRight(string(label), "\n\x00")
			if err != nil {
				text = errorName(err)
			}
			return text, err == nil && text != "" && !strings.HasPrefix(text, "unconfined")
		}},
		{group, "namespaces", "none is shared with the machine", func(probe.Task) (string, bool) {
			// The numbers of the first namespaces are constants in include/linux/proc_ns.h.
			var shared []string
			for name, first := range map[string]string{
				"ipc": "4026531839", "uts": "4026531838", "pid": "4026531836",
				"cgroup": "4026531835",
			} {
				if link, err := os.Readlink("/proc/self/ns/" + name); err != nil || strings.Contains(link, first) {
					shared = append(shared, name)
				}
			}
			slices.Sort(shared)
			return "shared with the machine: " + orNone(shared), len(shared) == 0
		}},
		{group, "priority", "refused: a better nice value, real-time scheduling", func(probe.Task) (string, bool) {
			nice := unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
			parameter := int32(1)
			_, _, realtime := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO,
				uintptr(pointer(&parameter)))
			return errorName(nice) + ", " + errorName(orNil(realtime)), nice != nil && realtime != 0
		}},
		{group, "order of OOM kills", "the program cannot protect itself", func(probe.Task) (string, bool) {
			before, _ := os.ReadFile("/proc/self/oom_score_adj")
			err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
			if err == nil {
				_ = os.WriteFile("/proc/self/oom_score_adj", before, 0)
			}
			return errorName(err), err != nil
		}},
		{group, "environment", "no variable of the server or the engine", func(probe.Task) (string, bool) {
			var theirs []string
			for _, entry := range os.Environ() {
				name, _, _ := strings.Cut(entry, "=")
				if strings.HasPrefix(name, "BOOMERANG_") || strings.HasPrefix(name, "DOCKER_") {
					theirs = append(theirs, name)
				}
			}
			return orNone(theirs), len(theirs) == 0
		}},
		{group, "inherited files", "only stdin, stdout and stderr", func(probe.Task) (string, bool) {
			var more []string
			entries, err := os.ReadDir("/proc/self/fd")
			for _, e := range entries {
				fd, _ := strconv.Atoi(e.Name())
				// A file that closes at an exec was opened after the start.
				if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd > syscall.Stderr &&
					flags&unix.FD_CLOEXEC == 0 {
					target, _ := os.Readlink("/proc/self/fd/" + e.Name())
					more = append(more, e.Name()+" "+target)
				}
			}
			return orNone(more), err == nil && len(more) == 0
		}},
		{group, "terminal", "no controlling terminal", func(probe.Task) (string, bool) {
			f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
			if err == nil {
				_ = f.Close()
			}
			return errorName(err), err != nil
		}},
	}
}

// status returns a value from /proc/PID/status.
func status(pid, key string) string {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(key+":")); ok {
			return string(bytes.TrimSpace(rest))
		}
	}
	return ""
}

const manySetUID = 20

// setUIDPrograms starts the set-uid programs of the image and checks their identity. The check also works for a program
// that has ended, which keeps its identity until it is waited for.
func setUIDPrograms(probe.Task) (string, bool) {
	found := 0
	var risen []string
	for _, folder := range []string{
		"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib",
		"/usr/libexec",
	} {
		_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || found >= manySetUID {
				return nil //nolint:nilerr // an unreadable program cannot be started
			}
			if info, err := entry.Info(); err != nil || info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) == 0 ||
				info.Mode()&0o001 == 0 {
				return nil //nolint:nilerr // an unreadable program cannot be started
			}
			found++
			if who := startedAs(path); who != fmt.Sprintf("%d %d", os.Getuid(), os.Getgid()) {
				risen = append(risen, path+" as "+who)
			}
			return nil
		})
	}
	if found == 0 {
		return "the image has none", true
	}
	return fmt.Sprintf("%d started, with other rights: %s", found, orNone(risen)), len(risen) == 0
}

// startedAs starts a program and returns its effective user and group.
func startedAs(path string) string {
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Sprintf("%d %d", os.Getuid(), os.Getgid()) // the program could not be started
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	user, group := strings.Fields(status(pid, "Uid")), strings.Fields(status(pid, "Gid"))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	const effective = 1
	if len(user) <= effective || len(group) <= effective {
		return "an unknown user"
	}
	return user[effective] + " " + group[effective]
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

func orNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
