//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"syscall"
	"unsafe"

	"boomerang/internal/journal"
)

// This file holds the parts of the collector for whole trees. They allocate nothing either: the hash exists before the
// program starts.

// sendPresent reports an entry without sending its content.
func (c *collector) sendPresent(of *collection, path []byte, kind string, mode uint32, sum, target []byte) {
	c.log.raw(journal.AppendPresent(c.frame[:0], c.nonce, of.Name, path, kind, mode, sum, target))
}

// countEntry counts an entry against the tree's limit, and cuts the collection when the limit is reached.
func (c *collector) countEntry(of *collection) bool {
	if of.done.Files >= of.Files {
		of.done.Cut = journal.CutCount
		return false
	}
	of.done.Files++
	return true
}

// treeLink reports a symbolic link.
func (c *collector) treeLink(of *collection, e entry, path []byte) {
	target := c.buf[:journal.MaxCollectedPath+1]
	n, errno := readLink(c.levels[c.depth-1].fd, c.name(e), target)
	switch {
	case errno != 0:
		c.omit(of, path, journal.OmitUnreadable)
	case n == 0 || n > journal.MaxCollectedPath || bytes.IndexByte(target[:n], 0) >= 0:
		c.omit(of, path, journal.OmitSymlink)
	case c.countEntry(of):
		c.sendPresent(of, path, journal.EntryLink, 0, nil, target[:n])
	}
}

// refuseInTree handles entries of a tree that are not reported as the program left them: those below the deepest level,
// the code's own file, and those in the way of the file that the code hid. It reports whether it handled the entry.
func (c *collector) refuseInTree(of *collection, path []byte, kind byte) bool {
	hidden := c.given != nil && c.given.code != nil
	switch {
	case c.depth > journal.MaxTreeDepth: // the current directory has depth-1 parts
		c.omit(of, path, journal.OmitDeep)
		return true
	case len(c.code) == 0:
		return false
	case bytes.Equal(path, c.code) && kind == syscall.DT_REG:
		return true
	case hidden && (bytes.Equal(path, c.code) || c.aboveCode(path) && kind != syscall.DT_DIR):
		c.omit(of, path, journal.OmitHidden)
		return true
	}
	return false
}

// aboveCode reports whether the code's own file is below a path.
func (c *collector) aboveCode(path []byte) bool {
	return len(path) < len(c.code) && c.code[len(path)] == '/' && bytes.HasPrefix(c.code, path)
}

// sendHidden reports the file of the workspace that the code hid, and the directories above it that the program
// removed.
func (c *collector) sendHidden(of *collection) {
	if c.given == nil || c.given.code == nil {
		return
	}
	for i, b := range c.code {
		if b == '/' && i > c.codeDir && c.countEntry(of) {
			c.sendPresent(of, c.code[:i], journal.EntryDir, 0, nil, nil)
		}
	}
	if of.done.Cut == "" && c.countEntry(of) {
		c.sendPresent(of, c.code, journal.EntryFile, c.given.mode, c.given.code, nil)
	}
}

// treeFile handles files that need no sending: a file above the limit, and a content that the sender knows. It reports
// whether it handled the file.
func (c *collector) treeFile(of *collection, fd int, path []byte, stat syscall.Stat_t) bool {
	mode := stat.Mode & 0o777
	if stat.Size > of.Bytes-of.done.Bytes { // check the size before reading: the file may be a hole of a tebibyte
		of.done.Cut = journal.CutSize
		return true
	}
	if !c.countEntry(of) {
		return true
	}
	if c.given == nil || !c.given.sized(stat.Size) {
		return false
	}
	sum, ok := c.sum(of, fd, stat.Size)
	if !ok || !c.given.has(known{stat.Size, sum}) {
		return of.done.Cut != ""
	}
	of.done.Bytes += stat.Size
	c.sendPresent(of, path, journal.EntryFile, mode, sum[:], nil)
	return true
}

// sum returns the hash of a file and rewinds it.
func (c *collector) sum(of *collection, fd int, size int64) (sum [sha256.Size]byte, ok bool) {
	c.hash.Reset()
	for left := size; left > 0; {
		if !c.withinTime(of) {
			return sum, false
		}
		n, err := syscall.Read(fd, c.buf[:min(left, int64(len(c.buf)))])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			break
		}
		_, _ = c.hash.Write(c.buf[:n])
		left -= int64(n)
	}
	c.hash.Sum(sum[:0])
	_, err := syscall.Seek(fd, 0, 0)
	return sum, err == nil
}

// readLink reads the target of a link. The name must end in a NUL.
func readLink(dir int, name, target []byte) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(syscall.SYS_READLINKAT, uintptr(dir),
		uintptr(unsafe.Pointer(unsafe.SliceData(name))),   //nolint:gosec // the kernel does not keep it
		uintptr(unsafe.Pointer(unsafe.SliceData(target))), //nolint:gosec // the kernel does not keep it
		uintptr(len(target)), 0, 0)
	return int(n), errno
}
