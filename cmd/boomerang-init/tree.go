//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"slices"
	"syscall"
	"unsafe"

	"boomerang/internal/journal"
)

// The limits of a walk.
const (
	maxEntries = 100_000   // files and directories that the walk looks at
	maxKept    = 16_384    // names that wait at the same time; a container's tmpfs holds no more
	maxNames   = 512 << 10 // bytes of the waiting names
	maxDepth   = 64        // directories above a file
)

const directory = syscall.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_CLOEXEC

// tree is the state of a walk: the current directory, its parents, and the remaining names in each.
type tree struct {
	levels  [maxDepth]level
	depth   int // number of levels in use; the last one is the current directory
	entries []entry
	names   []byte // names of the entries, each followed by a NUL
	path    []byte // path of the current entry
	seen    int
}

type level struct {
	fd    int
	path  int // length of the directory's path
	first int // index of the directory's first entry
	next  int // index of the next entry to visit
	names int // start of the directory's names
}

type entry struct {
	name   int32
	length uint16
	kind   byte // the kind in the directory, syscall.DT_…
	chosen bool // matched by a glob
}

func (t *tree) reserve() {
	t.entries = make([]entry, 0, maxKept)
	t.names = make([]byte, 0, maxNames)
	t.path = make([]byte, 0, journal.MaxCollectedPath+nameMax+2)
	faultIn(t.entries[:cap(t.entries)])
	faultIn(t.names[:cap(t.names)])
	faultIn(t.path[:cap(t.path)])
}

const nameMax = 255 // largest length of a name in bytes on Linux

func (t *tree) reset() {
	t.depth, t.seen = 0, 0
	t.entries, t.names, t.path = t.entries[:0], t.names[:0], t.path[:0]
}

func (t *tree) pushDir(fd, path int) {
	t.levels[t.depth] = level{fd: fd, path: path, first: len(t.entries), next: len(t.entries), names: len(t.names)}
	t.depth++
}

// popDir closes the current directory and returns to its parent.
func (t *tree) popDir() {
	t.depth--
	l := t.levels[t.depth]
	_ = syscall.Close(l.fd)
	t.entries, t.names = t.entries[:l.first], t.names[:l.names]
}

// add keeps a name of the current directory; it returns false if there is no space.
func (t *tree) add(name []byte, kind byte, chosen bool) bool {
	if len(t.entries) == cap(t.entries) || len(t.names)+len(name)+1 > cap(t.names) {
		return false
	}
	t.entries = append(t.entries, entry{int32(len(t.names)), uint16(len(name)), kind, chosen}) //nolint:gosec // bounded
	t.names = append(append(t.names, name...), 0)
	return true
}

// sort sorts the names of the current directory.
func (t *tree) sort() {
	slices.SortFunc(t.entries[t.levels[t.depth-1].first:], func(a, b entry) int {
		return bytes.Compare(t.name(a),
			t.name(b))
	})
}

// next returns the next entry of the current directory.
func (t *tree) next() (e entry, ok bool) {
	l := &t.levels[t.depth-1]
	if l.next >= len(t.entries) {
		return e, false
	}
	e = t.entries[l.next]
	l.next++
	return e, true
}

func (t *tree) name(e entry) []byte { return t.names[e.name:][:e.length] }

// pathOf returns the path of a name in the current directory. The path is valid until the next call.
func (t *tree) pathOf(name []byte) []byte {
	t.path = t.path[:t.levels[t.depth-1].path]
	if len(t.path) > 0 {
		t.path = append(t.path, '/')
	}
	t.path = append(t.path, name...)
	return t.path
}

// statKind finds the kind of an entry if the directory does not tell it.
func (t *tree) statKind(e entry) byte {
	const pathOnly = 0x200000 // O_PATH, which does not touch the opened file
	fd, errno := openAt(t.levels[t.depth-1].fd, t.name(e), pathOnly|syscall.O_NOFOLLOW|syscall.O_CLOEXEC)
	if errno != 0 {
		return syscall.DT_UNKNOWN
	}
	var stat syscall.Stat_t
	err := syscall.Fstat(fd, &stat)
	_ = syscall.Close(fd)
	if err != nil {
		return syscall.DT_UNKNOWN
	}
	return byte(stat.Mode & syscall.S_IFMT >> 12) // the kinds of directory entries are the upper bits of a mode
}

// openAt opens a name that ends in a NUL. Package syscall would copy the name.
func openAt(dir int, name []byte, flags int) (int, syscall.Errno) {
	for {
		fd, _, errno := syscall.Syscall6(syscall.SYS_OPENAT, uintptr(dir),
			uintptr(unsafe.Pointer(unsafe.SliceData(name))), //nolint:gosec // the kernel does not keep it
			uintptr(flags), 0, 0, 0)
		if errno != syscall.EINTR {
			return int(fd), errno
		}
	}
}

// readDir reads the next entries of a directory.
func readDir(fd int, buf []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.Syscall(syscall.SYS_GETDENTS64, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(buf))), //nolint:gosec // the kernel does not keep it
			uintptr(len(buf)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// nextEntry reads one struct linux_dirent64: the inode, an offset, the record's length, the kind, and the name with a
// NUL. The name is nil for "." and "..".
func nextEntry(buf []byte) (name []byte, kind byte, rest []byte) {
	const header = 8 + 8 + 2 + 1
	if len(buf) < header {
		return nil, 0, nil
	}
	length := int(binary.NativeEndian.Uint16(buf[16:]))
	if length < header || length > len(buf) {
		return nil, 0, nil
	}
	name, _, _ = bytes.Cut(buf[header:length], []byte{0})
	if len(name) == 0 || string(name) == "." || string(name) == ".." {
		name = nil
	}
	return name, buf[18], buf[length:]
}

// text returns a view of bytes that do not change while the view is in use.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // no caller keeps it
