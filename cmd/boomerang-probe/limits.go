//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// limits returns checks of the limits that the kernel reports. The bombs check whether the limits hold.
func limits() []check {
	const group = "limits"
	return []check{
		{group, "memory", "as configured", func(task probe.Task) (string, bool) {
			return asTold(task.Limits.Memory, "/sys/fs/cgroup/memory.max",
				"/sys/fs/cgroup/memory/memory.limit_in_bytes")
		}},
		{group, "swap", "none", func(task probe.Task) (string, bool) {
			if text, err := os.ReadFile("/sys/fs/cgroup/memory.swap.max"); err == nil {
				value := strings.TrimSpace(string(text))
				return value, value == "0"
			}
			return asTold(task.Limits.Memory, "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
		}},
		{group, "processes", "as configured, plus the threads of PID 1", func(task probe.Task) (string, bool) {
			return asTold(task.Limits.PIDs, "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")
		}},
		{group, "CPU", "as configured", cpuAsTold},
		{group, "open files", "as configured, and cannot be raised", func(task probe.Task) (string, bool) {
			var l unix.Rlimit
			err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
			higher := unix.Rlimit{Cur: l.Max + 1, Max: l.Max + 1}
			raised := unix.Setrlimit(unix.RLIMIT_NOFILE, &higher)
			return fmt.Sprintf("hard %d, raising it: %s", l.Max, errorName(raised)),
				err == nil && l.Max == uint64(task.Limits.Files) && raised != nil
		}},
		{group, "open files, tried", "opening one more fails with EMFILE", func(task probe.Task) (string, bool) {
			var open []int
			var err error
			for int64(len(open)) <= task.Limits.Files {
				var fd int
				if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
					break
				}
				open = append(open, fd)
			}
			for _, fd := range open {
				_ = unix.Close(fd)
			}
			return fmt.Sprintf("%d more, then %s", len(open), errorName(err)), errors.Is(err, unix.EMFILE)
		}},
		{group, "core dumps", "off", func(probe.Task) (string, bool) {
			var l unix.Rlimit
			err := unix.Getrlimit(unix.RLIMIT_CORE, &l)
			return fmt.Sprintf("soft %d, hard %d", l.Cur, l.Max), err == nil && l.Cur == 0 && l.Max == 0
		}},
		{
			group, "asynchronous reads and writes", "no part of the machine's shared pool: io_setup is refused",
			func(task probe.Task) (string, bool) {
				return callsRefused(call{"io_setup", unix.SYS_IO_SETUP, [6]uintptr{1, noFile}})(task)
			},
		},
	}
}

// asTold reads a number from the first existing file and compares it with the expected number.
func asTold(want int64, paths ...string) (string, bool) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		value := strings.TrimSpace(string(text))
		got, err := strconv.ParseInt(value, 10, 64)
		return fmt.Sprintf("%s, configured %d", value, want), err == nil && got <= want
	}
	return "the kernel does not show it", false
}

func cpuAsTold(task probe.Task) (string, bool) {
	var quota, period float64
	if text, err := os.ReadFile("/sys/fs/cgroup/cpu.max"); err == nil {
		_, _ = fmt.Sscan(string(text), &quota, &period)
	} else {
		first, _ := os.ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
		second, _ := os.ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
		_, _ = fmt.Sscan(string(first), &quota)
		_, _ = fmt.Sscan(string(second), &period)
	}
	if quota <= 0 || period <= 0 {
		return "no limit", false
	}
	const rounding = 0.01
	return fmt.Sprintf("%.2f, configured %.2f", quota/period, task.Limits.CPUs),
		quota/period <= task.Limits.CPUs+rounding
}
