//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"boomerang/internal/journal"
)

const cgroupRoot = "/sys/fs/cgroup"

// usage holds the kernel's counters for the whole container. A negative number is unknown.
type usage struct {
	cpu      time.Duration
	memory   int64 // peak in bytes
	oomKills int64
	reaped   syscall.Rusage // of reaped processes
}

// readUsage reads the control group that is mounted at root, version 2 or 1.
func readUsage(root string) usage {
	u := usage{cpu: -1, memory: -1, oomKills: -1}
	_ = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u.reaped)
	if n := readCounter(root, "cpu.stat", "usage_usec"); n >= 0 {
		u.cpu = time.Duration(n) * time.Microsecond
	} else if n := readCounter(root, "cpuacct/cpuacct.usage", ""); n >= 0 {
		u.cpu = time.Duration(n)
	}
	u.memory = max(readCounter(root, "memory.peak", ""), readCounter(root, "memory/memory.max_usage_in_bytes", ""))
	u.oomKills = max(readCounter(root, "memory.events", "oom_kill"), readCounter(root, "memory/memory.oom_control",
		"oom_kill"))
	return u
}

// readCounter returns the number after key, or the only number if key is empty; -1 if there is none.
func readCounter(root, file, key string) int64 {
	text, err := os.ReadFile(filepath.Join(root, file)) //nolint:gosec // the names are ours
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(strings.TrimSpace(line), key)
		if !ok {
			continue
		}
		// A longer key with this prefix leaves no number.
		if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			return n
		}
	}
	return -1
}

// addUsage fills in the program's resource usage: the control group's counters or, without them, the sum over the
// reaped processes. The usage of a rehearsal is subtracted, except from the peak of memory, which the init cannot
// reset.
func addUsage(end *journal.End, before, after usage) {
	end.CPUTime = after.childCPUTime() - before.childCPUTime()
	end.MaxMemory = after.reaped.Maxrss << 10
	if before.cpu >= 0 && after.cpu >= before.cpu {
		end.CPUTime = after.cpu - before.cpu
	}
	if after.memory >= 0 {
		end.MaxMemory = after.memory
	}
	end.OutOfMem = after.oomKills > max(before.oomKills, 0)
}

// childCPUTime returns the CPU time of the reaped processes.
func (u usage) childCPUTime() time.Duration {
	return time.Duration(u.reaped.Utime.Nano() + u.reaped.Stime.Nano())
}

// oomScore makes the kernel kill the program first when the container's memory is used up. If /proc does not allow
// that, the kernel decides.
type oomScore struct {
	file *os.File
	own  []byte // the init's own score
}

func openOOMScore() *oomScore {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return &oomScore{}
	}
	own := make([]byte, 16)
	n, _ := f.Read(own)
	return &oomScore{file: f, own: own[:n]}
}

// raise gives the init the highest score, which the program inherits.
func (v *oomScore) raise() { v.set([]byte("1000")) }

// restore resets the init's own score.
func (v *oomScore) restore() { v.set(v.own) }

func (v *oomScore) set(score []byte) {
	if v.file != nil {
		_, _ = v.file.WriteAt(score, 0)
	}
}
