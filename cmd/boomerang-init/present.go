//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"syscall"
	"unsafe"

	"boomerang/internal/journal"
)

// What only a collection of a whole tree does. It allocates nothing either: the hash was made before the program started.

// present tells of an entry without sending it.
func (c *collector) sendPresent(of *collection, path []byte, kind string, mode uint32, sum, target []byte) {
	c.log.raw(journal.AppendPresent(c.frame[:0], c.nonce, of.Name, path, kind, mode, sum, target))
}

// counted takes one of the entries that a tree may have, and cuts the collection when there are no more.
func (c *collector) countEntry(of *collection) bool {
	if of.done.Files >= of.Files {
		of.done.Cut = journal.CutCount
		return false
	}
	of.done.Files++
	return true
}

// treeLink tells of a link.
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

// treeFile tells whether it has dealt with a file of a tree: what is the code's own, too large, or known to the sender.
func (c *collector) treeFile(of *collection, fd int, path []byte, stat syscall.Stat_t) bool {
	mode := stat.Mode & 0o777
	if c.given != nil && text(path) == c.code {
		if c.given.code != nil && c.countEntry(of) {
			c.sendPresent(of, path, journal.EntryFile, c.given.mode, c.given.code, nil)
		}
		return true
	}
	if stat.Size > of.Bytes-of.done.Bytes { // before a byte of it is read: it may be a hole of a tebibyte
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

// sum reads a file and goes back to its beginning.
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

// readLink reads where a name that is followed by a NUL leads.
func readLink(dir int, name, target []byte) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall6(syscall.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(unsafe.SliceData(name))), //nolint:gosec // the kernel does not keep it
		uintptr(unsafe.Pointer(unsafe.SliceData(target))), uintptr(len(target)), 0, 0) //nolint:gosec // the kernel does not keep it
	return int(n), errno
}
