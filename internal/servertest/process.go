package servertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is the ID of a process on this machine.
type Process int

// File returns the path of a file in the directory of the process in /proc.
func (p Process) File(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

// CPU returns the processor time that the process and the children that it has waited for have used, in steps of 10 ms,
// or 0 if the process has ended; see proc_pid_stat(5).
func (p Process) CPU() (own, children time.Duration) {
	const utime, stime, cutime, cstime = 11, 12, 13, 14 // indexes behind the name of the command
	const tick = 10 * time.Millisecond                  // USER_HZ is 100 everywhere
	text, _ := os.ReadFile(p.File("stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= cstime {
		return 0, 0
	}
	ticks := func(i int) time.Duration {
		n, _ := strconv.Atoi(fields[i])
		return time.Duration(n) * tick
	}
	return ticks(utime) + ticks(stime), ticks(cutime) + ticks(cstime)
}

// Status returns a number of /proc/PID/status: "VmRSS" and "VmHWM" are in KiB, "Threads" is a count.
func (p Process) Status(name string) (int, error) {
	text, err := os.ReadFile(p.File("status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
	}
	return 0, fmt.Errorf("%s has no line %s", p.File("status"), name)
}
