//go:build linux

package main

import (
	"slices"

	"boomerang/internal/probe"
)

// besideThePoint are the walls before the machine's kernel, and the numbers that this one shows. Where gVisor's own kernel
// answers the program, each container has another: it is told what that one says, and nothing follows from it. What is
// not in this list must hold there as well.
//
// PID 1's environment is the image's, its maps and files tell nothing that is secret, its memory is closed.
func gvisorExceptions() []string {
	return []string{
		"identity: namespaces", "system calls: namespaces", "identity: priority", "identity: who is killed first",
		"files: writable places", "files: /workspace", "files: /tmp", // no inodes and flags are shown; the sizes hold
		"files: devices", "files: dangerous devices", "files: making devices",
		"others: /proc/1/environ", "others: /proc/1/maps", "others: /proc/1/fd",
		"limits: memory", "limits: swap", "limits: processes", "limits: CPU",
	}
}

// underSentry judges again what the machine's kernel would be blamed for.
func excuseUnderGVisor(f probe.Finding) probe.Finding {
	if !f.Held && slices.Contains(gvisorExceptions(), f.Group+": "+f.Name) {
		f.Held = true
		f.Happened = "gVisor's kernel: " + f.Happened
	}
	return f
}
