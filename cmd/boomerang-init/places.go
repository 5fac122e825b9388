//go:build linux

package main

import (
	"os"
	"strings"
	"syscall"
)

const placeMode = 0o700

// closePlaces gives the file systems in memory that are this user's the mode that was asked for them: some versions of runc
// give them that of the folder which they cover, 0755 or 1777. Best effort; to whom that folder belongs was set in any case.
func closePlaces(mounts string) {
	for line := range strings.Lines(mounts) {
		// proc_pid_mountinfo(5): the mount point is the fifth field, the kind follows on a dash.
		fields := strings.Fields(line)
		const pointField = 4
		if len(fields) <= pointField || !strings.Contains(line, " - tmpfs ") {
			continue
		}
		info, err := os.Lstat(fields[pointField])
		if err != nil || !info.IsDir() || info.Mode().Perm() == placeMode && info.Mode()&os.ModeSticky == 0 {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() {
			_ = os.Chmod(fields[pointField], placeMode)
		}
	}
}
