//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime/debug"
	"slices"

	"boomerang/internal/journal"
)

// received describes the workspace that came with the job.
type received struct {
	known  []known // sorted
	code   []byte  // hash of the file at the code's path; nil if there was none
	mode   uint32  // permissions of that file
	failed error   // a sentence for the client if the workspace could not be written
}

// known identifies a content that the sender has.
type known struct {
	size int64
	sum  [sha256.Size]byte
}

func compareKnown(a, b known) int {
	if a.size != b.size {
		return int(max(-1, min(1, a.size-b.size)))
	}
	return bytes.Compare(a.sum[:], b.sum[:])
}

// many is the number of entries from which a garbage collection is worthwhile: reading an entry takes half a KiB and
// more.
const many = 1 << 10

// receiveWorkspace writes the workspace that follows the job on stdin. No program runs yet, so the only likely failure
// is a lack of space. After a failure the rest is read all the same, so that the sender does not block. An error means
// that there is no job.
func receiveWorkspace(stdin io.Reader, job *journal.Job) (*received, error) {
	r := &received{}
	if job.Workspace == "" {
		return r, nil
	}
	root, err := os.OpenRoot(job.Workspace)
	if err != nil {
		r.failed = fmt.Errorf("the workspace cannot be laid out: %w", withoutPath(err))
	} else {
		defer func() { _ = root.Close() }()
	}
	code := job.CodeIn(job.Workspace)
	buf := make([]byte, 256<<10)
	entries := 0
	err = journal.ReadWorkspace(stdin, func(g journal.WorkspaceEntry, content io.Reader) error {
		entries++
		if g.Kind == journal.EntryFile && len(g.Sum) == sha256.Size {
			r.known = append(r.known, known{g.Size, [sha256.Size]byte(g.Sum)})
			if g.Path == code {
				r.code, r.mode = g.Sum, g.Mode
			}
		}
		if r.failed != nil {
			return nil //nolint:nilerr // the rest is read all the same
		}
		err := writeEntry(root, g, content, buf)
		if errors.Is(err, errSender) {
			return err
		}
		if err != nil {
			r.failed = fmt.Errorf("%s of the workspace cannot be laid out: %w", g.Path, withoutPath(err))
		}
		return nil
	})
	slices.SortFunc(r.known, compareKnown)
	if entries >= many {
		debug.FreeOSMemory()
	}
	return r, err
}

// errSender marks errors of reading, as opposed to writing.
var errSender = errors.New("the sender went away")

func writeEntry(root *os.Root, g journal.WorkspaceEntry, content io.Reader, buf []byte) (err error) {
	switch g.Kind {
	case journal.EntryDir:
		return root.MkdirAll(g.Path, 0o700)
	case journal.EntryLink:
		return root.Symlink(g.Target, g.Path)
	}
	if dir := path.Dir(g.Path); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(g.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		n, readErr := content.Read(buf)
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return fmt.Errorf("%w: %w: %w", errSender, io.ErrUnexpectedEOF, readErr)
		}
	}
	return f.Chmod(fs.FileMode(g.Mode) & 0o777)
}

// has reports whether the sender has a content.
func (r *received) has(k known) bool {
	_, found := slices.BinarySearchFunc(r.known, k, compareKnown)
	return found
}

// sized reports whether the sender has a content of this size.
func (r *received) sized(size int64) bool {
	at, found := slices.BinarySearchFunc(r.known, known{size: size}, compareKnown)
	return found || at < len(r.known) && r.known[at].size == size
}
