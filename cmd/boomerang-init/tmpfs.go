//go:build linux

package main

import (
	"os"
	"strings"
	"syscall"
)

const tmpfsMode = 0o700

// tmpfsDirs returns the mount points of the file systems in memory that belong to this user: the only places where a
// program can leave files.
func tmpfsDirs(mounts string) (places []string) {
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mounts) {
		// proc_pid_mountinfo(5): the mount point is the fifth field, and the type follows a dash.
		fields := strings.Fields(line)
		const pointField = 4
		if len(fields) <= pointField || !strings.Contains(line, " - tmpfs ") {
			continue
		}
		place := plain.Replace(fields[pointField])
		info, err := os.Lstat(place)
		if err != nil || !info.IsDir() {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) == os.Getuid() {
			places = append(places, place)
		}
	}
	return places
}

// restrictDirs sets the intended mode: some versions of runc copy the mode of the covered directory, 0755 or 1777.
// Errors are ignored, because the owner is right in any case.
func restrictDirs(places []string) {
	for _, place := range places {
		_ = os.Chmod(place, tmpfsMode)
	}
}
