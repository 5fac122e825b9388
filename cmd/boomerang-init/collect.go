//go:build linux

package main

import (
	"cmp"
	"crypto/sha256"
	"hash"
	"os"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"
	"unsafe"

	"boomerang/internal/journal"
)

// collector writes the files that a program left into the log. It runs when the container has no other process, so the
// files do not change. The files are hostile even so. The collector follows no links, reads only regular files on the
// same file system, and bounds the cost of names, sizes and counts by memory that it reserved before the program
// started. From then on it allocates nothing, because the program may have used up the init's memory and files.
type collector struct {
	tree
	asked []collection
	log   *log
	nonce string
	stop  <-chan os.Signal
	frame []byte
	buf   []byte // buffer for directories and for content
	given *received
	hash  hash.Hash
	code  []byte           // path of the code below the workspace; empty if it is elsewhere
	sent  map[string]known // code and files of the job, by their paths below the working directory

	codeDir int // length in the current walk of the deepest directory above the code that was reported
}

// collection is one collection that the job asks for.
type collection struct {
	*journal.Collect
	globs []journal.Glob
	root  int // the open directory; negative if there is none
	until time.Time
	done  journal.Collection
}

// newCollector returns nil if the job asks for no files.
func newCollector(job *journal.Job, given *received, log *log, stop <-chan os.Signal) *collector {
	if len(job.Collect) == 0 {
		return nil
	}
	c := &collector{
		log: log, nonce: job.Nonce, stop: stop, frame: make([]byte, 4<<10),
		buf: make([]byte, 8*journal.MaxPiece),
	}
	c.given, c.hash, c.code = given, sha256.New(), []byte(job.CodeIn(job.Workspace))
	if slices.ContainsFunc(job.Collect, func(of journal.Collect) bool { return !of.Tree }) {
		c.sent = sentFiles(job)
	}
	c.reserve()
	faultIn(c.frame)
	faultIn(c.buf)
	for i := range job.Collect {
		of := collection{Collect: &job.Collect[i], root: -1}
		of.done.Of = of.Name
		for _, text := range of.Globs {
			glob, _ := journal.ParseGlob(text) // the job is valid
			of.globs = append(of.globs, glob)
		}
		c.asked = append(c.asked, of)
	}
	return c
}

// sentFiles returns the code and the files of a job, by their paths below the working directory.
func sentFiles(job *journal.Job) map[string]known {
	sent := make(map[string]known, len(job.Files)+1)
	for _, f := range job.Files {
		sent[f.Path] = known{int64(len(f.Content)), sha256.Sum256(f.Content)}
	}
	sent[job.File] = known{int64(len(job.Code)), sha256.Sum256([]byte(job.Code))}
	return sent
}

// faultIn touches every page of s, so that the kernel provides the memory now.
func faultIn[T any](s []T) {
	var none T
	for i := 0; i < len(s); i += max(1, os.Getpagesize()/int(unsafe.Sizeof(none))) {
		s[i] = none
	}
}

// open opens the directories below the working directory before the program can replace them.
func (c *collector) open() {
	if c == nil {
		return
	}
	for i := range c.asked {
		of := &c.asked[i]
		if fd, err := syscall.Open(cmp.Or(of.Dir, "."), directory, 0); err == nil {
			of.root = fd
		}
	}
}

// collect writes all collections. After a stop from outside there is no time, because the engine will soon kill the
// init.
func (c *collector) collect(stopped bool) {
	if c == nil {
		return
	}
	select {
	case <-c.stop: // drop a signal that came before the program's end, perhaps from the program itself
	default:
	}
	for i := range c.asked {
		of := &c.asked[i]
		of.until = time.Now().Add(of.Timeout)
		if stopped && !of.Tree {
			of.done.Cut = journal.CutStopped
		} else {
			c.walk(of)
		}
		stopped = stopped || of.done.Cut == journal.CutStopped
		c.log.raw(journal.AppendCollection(c.frame[:0], c.nonce, of.done))
	}
}

// walk visits the entries that the globs can match, each directory in the order of names. It leaves early when the
// collection is cut.
func (c *collector) walk(of *collection) {
	if of.root < 0 {
		of.done.Cut = journal.CutUnreadable
		return
	}
	c.reset()
	c.codeDir = 0
	if !c.listDir(of, of.root, 0) {
		of.done.Cut = cmp.Or(of.done.Cut, journal.CutUnreadable)
	}
	for c.depth > 0 {
		e, ok := c.next()
		if !ok || of.done.Cut != "" || c.log.err != nil {
			c.popDir()
			continue
		}
		c.visit(of, e)
		c.withinTime(of)
	}
	if of.Tree && of.done.Cut == "" {
		c.sendHidden(of)
	}
}

// withinTime cuts the collection when its time is over or when the init is told to stop. It reports whether the
// collection may continue.
func (c *collector) withinTime(of *collection) bool {
	select {
	case <-c.stop:
		of.done.Cut = journal.CutStopped
	default:
		if time.Now().After(of.until) {
			of.done.Cut = journal.CutTime
		}
	}
	return of.done.Cut == "" && c.log.err == nil
}

// listDir lists an open directory and makes it the current one. Path is the length of the directory's path.
func (c *collector) listDir(of *collection, fd, path int) bool {
	c.pushDir(fd, path)
	for {
		n, errno := readDir(fd, c.buf)
		switch {
		case errno != 0:
			return false
		case n == 0:
			c.sort()
			return true
		case !c.withinTime(of):
			return true
		}
		for rest := c.buf[:n]; len(rest) > 0; {
			var name []byte
			var kind byte
			if name, kind, rest = nextEntry(rest); name == nil {
				continue
			}
			if c.seen++; c.seen > maxEntries {
				of.done.Cut = journal.CutEntries
				return true
			}
			chosen, above := c.matchGlobs(of, name, kind)
			if (chosen || above) && !c.add(name, kind, chosen) {
				of.done.Cut = journal.CutEntries
				return true
			}
		}
	}
}

// matchGlobs reports whether a name in the current directory matches, and whether an entry below it may match.
func (c *collector) matchGlobs(of *collection, name []byte, kind byte) (chosen, above bool) {
	if of.Tree {
		return true, true
	}
	path := text(c.pathOf(name))
	for _, glob := range of.globs {
		if kind != syscall.DT_DIR {
			chosen = chosen || glob.Match(path)
		}
		if kind == syscall.DT_DIR || kind == syscall.DT_UNKNOWN {
			above = above || glob.Below(path)
		}
	}
	return chosen, above
}

func (c *collector) visit(of *collection, e entry) {
	path := c.pathOf(c.name(e))
	kind := e.kind
	if kind == syscall.DT_UNKNOWN {
		kind = c.statKind(e)
	}
	if of.Tree && c.refuseInTree(of, path, kind) {
		return
	}
	switch kind {
	case syscall.DT_DIR:
		c.visitDir(of, e, path)
	case syscall.DT_REG:
		if e.chosen {
			c.visitFile(of, e, path)
		}
	case syscall.DT_LNK:
		switch {
		case of.Tree && (len(path) > journal.MaxCollectedPath || !utf8.Valid(path)):
			c.omit(of, path, journal.OmitName)
		case of.Tree:
			c.treeLink(of, e, path)
		case e.chosen:
			c.omit(of, path, journal.OmitSymlink)
		}
	case syscall.DT_UNKNOWN:
		if e.chosen {
			c.omit(of, path, journal.OmitUnreadable)
		}
	default:
		if e.chosen {
			c.omit(of, path, journal.OmitNotRegular)
		}
	}
}

func (c *collector) visitDir(of *collection, e entry, path []byte) {
	switch {
	case c.depth == maxDepth:
		c.omit(of, path, journal.OmitDeep)
		return
	case len(path) >= journal.MaxCollectedPath || of.Tree && !utf8.Valid(path):
		c.omit(of, path, journal.OmitName)
		return
	case of.Tree && !c.countEntry(of):
		return
	}
	if of.Tree {
		c.sendPresent(of, path, journal.EntryDir, 0, nil, nil)
		if c.aboveCode(path) {
			c.codeDir = len(path)
		}
	}
	fd, _, reason := c.openEntry(of, e, directory)
	switch {
	case reason != "":
		c.omit(of, path, reason)
	case !c.listDir(of, fd, len(path)):
		c.popDir()
		c.omit(of, path, journal.OmitUnreadable)
	}
}

func (c *collector) visitFile(of *collection, e entry, path []byte) {
	switch {
	case len(path) > journal.MaxCollectedPath || !utf8.Valid(path):
		c.omit(of, path, journal.OmitName)
		return
	case !of.Tree && of.done.Files >= of.Files:
		c.omit(of, path, journal.OmitCount)
		return
	}
	fd, stat, reason := c.openEntry(of, e, syscall.O_NOCTTY)
	if reason != "" {
		c.omit(of, path, reason)
		return
	}
	switch {
	case stat.Mode&syscall.S_IFMT != syscall.S_IFREG:
		c.omit(of, path, journal.OmitNotRegular)
	case of.Tree && c.treeFile(of, fd, path, stat):
	case c.unchanged(of, fd, path, stat):
		c.omit(of, path, journal.OmitUnchanged)
	case stat.Size > of.Bytes-of.done.Bytes: // check the size before reading: the file may be a hole of a tebibyte
		c.omit(of, path, journal.OmitSize)
	default:
		c.sendFile(of, fd, path, stat)
	}
	_ = syscall.Close(fd)
}

// unchanged reports whether a file of the working directory is the code or a file of the job, as it was sent.
func (c *collector) unchanged(of *collection, fd int, path []byte, stat syscall.Stat_t) bool {
	if of.Tree || of.Dir != "" {
		return false
	}
	sent, ok := c.sent[text(path)]
	if !ok || sent.size != stat.Size {
		return false
	}
	sum, ok := c.sum(of, fd, stat.Size)
	return ok && sum == sent.sum
}

// openEntry opens an entry of the current directory. It follows no link and does not block. Reason says why the entry
// cannot be opened.
func (c *collector) openEntry(of *collection, e entry, flags int) (fd int, stat syscall.Stat_t, reason string) {
	fd, errno := openAt(c.levels[c.depth-1].fd, c.name(e),
		flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC)
	switch {
	case errno == syscall.ELOOP:
		return -1, stat, journal.OmitSymlink
	case errno == syscall.ENXIO || errno == syscall.ENODEV:
		return -1, stat, journal.OmitNotRegular
	case errno != 0:
		return -1, stat, journal.OmitUnreadable
	}
	var root syscall.Stat_t
	switch {
	case syscall.Fstat(fd, &stat) != nil || syscall.Fstat(of.root, &root) != nil:
		reason = journal.OmitUnreadable
	case stat.Dev != root.Dev:
		reason = journal.OmitElsewhere
	default:
		return fd, stat, ""
	}
	_ = syscall.Close(fd)
	return -1, stat, reason
}

// sendFile writes a file into the log. The reader recognises a file that is shorter than announced by its size.
func (c *collector) sendFile(of *collection, fd int, path []byte, stat syscall.Stat_t) {
	c.log.raw(journal.AppendCollected(c.frame[:0], c.nonce, of.Name, path, stat.Size, stat.Mode&0o777))
	for left := stat.Size; left > 0; {
		if !c.withinTime(of) {
			return
		}
		n, err := syscall.Read(fd, c.buf[:min(left, int64(len(c.buf)))])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			c.omit(of, path, journal.OmitUnreadable)
			return
		}
		c.log.payload(c.buf[:n])
		left -= int64(n)
	}
	if !of.Tree { // countEntry counted it before
		of.done.Files++
	}
	of.done.Bytes += stat.Size
}

func (c *collector) omit(of *collection, path []byte, reason string) {
	if of.done.Omitted++; of.done.Omitted <= journal.MaxOmitted {
		c.log.raw(journal.AppendOmitted(c.frame[:0], c.nonce, of.Name, path, reason))
	}
}
