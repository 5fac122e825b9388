//go:build linux && integration

package main

import (
	"os/exec"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
)

// The runtime asks the kernel for memory at certain boundaries. Whether it crosses one while the program runs depends
// on all earlier allocations. So the test crosses all of them: 512 rounds of 21 pages, which is no divisor, end at each
// page of the 4 MiB by which the heap grows. Five spans per round use up the 1632 entries of 256 KiB of bookkeeping
// more than once.
func TestPreallocatedMemorySufficesForEveryJob(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{roleVariable + "=stock"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %.500s", err, out)
	}
}

func liveOnStock() error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	const page = 8 << 10
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_AS, &limit); err != nil {
		return err
	}
	none := syscall.Rlimit{Max: limit.Max}
	kept := make([][]byte, 0, 512*5)
	for range 512 {
		kept = append(kept, make([]byte, page))
		preallocateMemory()
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &none); err != nil {
			return err
		}
		for range 4 {
			kept = append(kept, make([]byte, 5*page))
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_AS, &limit); err != nil {
			return err
		}
	}
	runtime.KeepAlive(kept)
	return nil
}
