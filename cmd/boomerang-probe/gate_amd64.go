//go:build linux

package main

import (
	"syscall"

	"golang.org/x/sys/unix"

	"boomerang/internal/probe"
)

// compatGetpid calls getpid through the 32-bit entry of the kernel.
func compatGetpid() int32

// throughGate reports whether a call through the 32-bit entry succeeds.
func throughGate() bool { return uintptr(compatGetpid()) == getpid(0) }

// throughX32 reports whether a call with an x32 number succeeds; x32 means 32-bit pointers on 64-bit processors.
func throughX32() bool {
	const x32 = 0x40000000
	return getpid(x32) == getpid(0)
}

func getpid(bits uintptr) uintptr {
	pid, _, _ := syscall.RawSyscall(bits|unix.SYS_GETPID, 0, 0, 0)
	return pid
}

func gate(probe.Task) (string, bool) { return childDies(throughGate) }

// architectureCalls returns checks of calls that only this architecture has.
func architectureCalls(group string) []check {
	ports := []call{
		{"iopl", unix.SYS_IOPL, [6]uintptr{3}},
		{"ioperm", unix.SYS_IOPERM, [6]uintptr{0x80, 1, 1}},
	}
	tables := []call{{"modify_ldt", unix.SYS_MODIFY_LDT, [6]uintptr{1}}}
	return []check{
		{group, "x32 calls", "killed or refused: a call with an x32 number", func(probe.Task) (string,
			bool,
		) {
			return childDies(throughX32)
		}},
		{group, "I/O ports", "refused: iopl, ioperm", callsRefused(ports...)},
		{group, "segment tables", "refused: modify_ldt", callsRefused(tables...)},
	}
}
