//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlacesOfTheUsersOwnAreClosed(t *testing.T) {
	const anyone = os.ModeSticky | 0o777
	dir := t.TempDir()
	var mounts strings.Builder
	written := strings.NewReplacer("\t", `\011`, `\`, `\134`)
	want := map[string]os.FileMode{}
	for name, c := range map[string]struct {
		kind string
		mode os.FileMode
		want os.FileMode
	}{
		"like /tmp":       {"tmpfs", anyone, tmpfsMode},
		"like /a\tb\\c":   {"tmpfs", anyone, tmpfsMode}, // a possible name of a VOLUME
		"like /workspace": {"tmpfs", 0o755, tmpfsMode},
		"closed already":  {"tmpfs", tmpfsMode, tmpfsMode},
		"closed to us":    {"tmpfs", 0o500, tmpfsMode},
		"a disk":          {"ext4", anyone, anyone},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(name, "like /"), " ", "-"))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		want[path] = c.want
		fmt.Fprintf(&mounts, "124 107 0:59 / %s rw,nosuid - %s none rw,size=1024k\n", written.Replace(path), c.kind)
	}
	restrictDirs(tmpfsDirs(mounts.String() + "not a mount\n1 1 0:1 / /no/such/place rw - tmpfs none rw\n"))
	for path, mode := range want {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode() &^ os.ModeDir; got != mode {
			t.Errorf("%s has mode %v, want %v", filepath.Base(path), got, mode)
		}
	}
}
