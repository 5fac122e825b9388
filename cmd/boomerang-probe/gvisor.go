//go:build linux

package main

import (
	"slices"

	"boomerang/internal/probe"
)

// gvisorExceptions lists the checks that need not hold under gVisor, where each container has a kernel of its own. They
// concern the machine's kernel and the numbers that it shows. All other checks must hold there too.
//
// PID 1's environment comes from the image, its maps and files reveal no secret, and its memory is closed.
func gvisorExceptions() []string {
	return []string{
		"identity: namespaces", "system calls: namespaces", "identity: priority", "identity: order of OOM kills",
		// GVisor shows no inodes and flags; the sizes hold.
		"files: writable places", "files: /workspace", "files: /tmp",
		"files: devices", "files: dangerous devices", "files: making devices",
		"others: /proc/1/environ", "others: /proc/1/maps", "others: /proc/1/fd",
		"limits: memory", "limits: swap", "limits: processes", "limits: CPU",
	}
}

// excuseUnderGVisor marks a failed check as held if gVisor's kernel explains it.
func excuseUnderGVisor(f probe.Finding) probe.Finding {
	if !f.Held && slices.Contains(gvisorExceptions(), f.Group+": "+f.Name) {
		f.Held = true
		f.Happened = "gVisor's kernel: " + f.Happened
	}
	return f
}
