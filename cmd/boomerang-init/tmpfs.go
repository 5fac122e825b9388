//go:build linux

package main

import (
	"os"
	"strings"
	"syscall"
)

const tmpfsMode = 0o700

// placesIn finds the file systems in memory that are this user's: whatever a program leaves, it leaves there.
func tmpfsDirs(mounts string) (places []string) {
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mounts) {
		// proc_pid_mountinfo(5): the mount point is the fifth field, the kind follows on a dash.
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

// closePlaces gives them the mode that was asked for: some versions of runc give them that of the folder which they cover,
// 0755 or 1777. Best effort; to whom that folder belongs was set in any case.
func restrictDirs(places []string) {
	for _, place := range places {
		_ = os.Chmod(place, tmpfsMode)
	}
}
