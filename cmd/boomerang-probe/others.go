//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// others returns checks of the access to PID 1 and to processes outside the container.
func others() []check {
	const group = "others"
	all := []check{}
	for _, name := range []string{"environ", "mem", "maps", "fd", "root", "cwd", "exe"} {
		all = append(all, check{group, "/proc/1/" + name, "closed", func(probe.Task) (string,
			bool,
		) {
			return closed("/proc/1/" + name)
		}})
	}
	return append(all,
		check{group, "score of PID 1", "cannot be changed: oom_score_adj", func(probe.Task) (string, bool) {
			return refuseWriting("/proc/1/oom_score_adj", "/proc/1/oom_adj", "/proc/1/clear_refs", "/proc/1/comm")
		}},
		check{group, "PID 1", "boomerang-init, and not the program", func(probe.Task) (string, bool) {
			text, _ := os.ReadFile("/proc/1/comm")
			comm := strings.TrimSpace(string(text))
			return comm, strings.HasPrefix(comm, "boomerang-init") && os.Getpid() != 1
		}},
		check{group, "processes", "those of this container alone", func(probe.Task) (string, bool) {
			var seen []string
			entries, err := os.ReadDir("/proc")
			for _, e := range entries {
				if _, err := strconv.Atoi(e.Name()); err == nil {
					comm, _ := os.ReadFile("/proc/" + e.Name() + "/comm")
					seen = append(seen, strings.TrimSpace(string(comm)))
				}
			}
			return strings.Join(seen, ", "), err == nil && len(seen) <= 2
		}},
		check{group, "shared memory", "no segments, semaphores or queues of others", func(probe.Task) (string, bool) {
			lines := 0
			for _, name := range []string{"shm", "sem", "msg"} {
				text, _ := os.ReadFile("/proc/sysvipc/" + name)
				lines += max(strings.Count(string(text), "\n")-1, 0)
			}
			// The doctor's neighbour has a segment with this key.
			_, _, errno := unix.Syscall(unix.SYS_SHMGET, sharedKey, 0, 0)
			return fmt.Sprintf("%d; the neighbour's: %s", lines, unix.ErrnoName(errno)), lines == 0 &&
				errno == unix.ENOENT
		}},
		check{group, "abstract sockets", "none of others", func(probe.Task) (string, bool) {
			text, _ := os.ReadFile("/proc/net/unix")
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return errorName(err), false
			}
			defer func() { _ = unix.Close(fd) }()
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: sharedSocket})
			listed := strings.Count(string(text), " @")
			return fmt.Sprintf("%d; the neighbour's: %s", listed, errorName(err)), listed == 0 &&
				errors.Is(err, unix.ECONNREFUSED)
		}},
		check{group, "host name", "not the machine's", func(task probe.Task) (string, bool) {
			name, err := os.Hostname()
			return name, err == nil && (task.Host == "" || name != task.Host)
		}},
	)
}

// closed holds if reading, listing, following and writing all fail.
func closed(path string) (string, bool) {
	var answers []string
	held := true
	for _, try := range []func() error{
		func() error { _, err := os.ReadFile(path); return err },
		func() error { _, err := os.ReadDir(path); return err },
		func() error { _, err := os.Readlink(path); return err },
		func() error { f, err := os.OpenFile(path, os.O_WRONLY, 0); return errors.Join(err, f.Close()) },
	} {
		err := try()
		held = held && err != nil
		if err == nil {
			answers = append(answers, "open")
		} else if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			answers = append(answers, errorName(err))
		}
	}
	slices.Sort(answers)
	return orNone(distinct(answers)), held
}
