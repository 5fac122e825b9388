package journal

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
)

// WorkspaceEntry is one entry of the workspace that a job brings along. The entries come behind the job's JSON, in the order of their
// paths, so that neither side has to hold them all: each has a header, as JSON behind its length in four bytes, and the
// content of a file. A length of zero ends them.
type WorkspaceEntry struct {
	Path    string           `json:"-"`
	RawPath []byte           `json:"path"` // so that every path has its form
	Kind    string           `json:"kind"` // one of the Given constants
	Mode    uint32           `json:"mode,omitempty"`
	Size    int64            `json:"size,omitempty"`
	Sum     []byte           `json:"sum,omitempty"` // SHA-256
	Target  string           `json:"target,omitempty"`
	Content func() io.Reader `json:"-"` // of a file, for who sends it
}

// What an entry is.
const (
	EntryFile = "file"
	EntryDir  = "dir"
	EntryLink = "link"
)

// ErrSource says that what was to be given could not be read; the job did not arrive.
var ErrSource = errors.New("what is to be given cannot be read")

const maxEntryHeader = 64 << 10 // bytes of a header

// writeWorkspace sends the entries. An error of theirs is an ErrSource.
func writeWorkspace(w io.Writer, entries iter.Seq2[WorkspaceEntry, error]) error {
	buf := make([]byte, 256<<10)
	for g, err := range entries {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		g.RawPath = []byte(g.Path)
		text, err := json.Marshal(g)
		if err != nil || len(text) > maxEntryHeader {
			return fmt.Errorf("%w: the header of %q: %w", ErrSource, g.Path, err)
		}
		if _, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)); err != nil { //nolint:gosec // bounded
			return err
		}
		if g.Kind != EntryFile || g.Size == 0 {
			continue
		}
		if err := copyWhole(w, g, buf); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, 4))
	return err
}

func copyWhole(w io.Writer, g WorkspaceEntry, buf []byte) error {
	content := g.Content()
	for left := g.Size; left > 0; {
		n, err := io.ReadFull(content, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// ReadWorkspace reads what came with the job behind its JSON, entry by entry. The content of a file is read by each before it
// returns; what it leaves is passed over. The error of each ends it. An error that wraps io.ErrUnexpectedEOF says that the
// sender went away half way: then there is no job.
func ReadWorkspace(r io.Reader, each func(g WorkspaceEntry, content io.Reader) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	header := make([]byte, 0, maxEntryHeader)
	for {
		var prefix [4]byte
		if _, err := io.ReadFull(in, prefix[:]); err != nil {
			return cutShort(err)
		}
		size := binary.BigEndian.Uint32(prefix[:])
		switch {
		case size == 0:
			return nil
		case size > maxEntryHeader:
			return fmt.Errorf("read given: a header of %d bytes", size)
		}
		header = header[:size]
		if _, err := io.ReadFull(in, header); err != nil {
			return cutShort(err)
		}
		var g WorkspaceEntry
		if err := json.Unmarshal(header, &g); err != nil {
			return fmt.Errorf("read given: %w", err)
		}
		g.Path = string(g.RawPath)
		if !fs.ValidPath(g.Path) || g.Path == "." || strings.ContainsRune(g.Path, 0) || g.Size < 0 {
			return fmt.Errorf("read given: %q of %d bytes is no entry", g.Path, g.Size)
		}
		content := &io.LimitedReader{R: in, N: g.Size}
		if err := each(g, content); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, in, content.N); err != nil {
			return cutShort(err)
		}
	}
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read given: %w", err)
}

// CodeIn is where the code lies below dir; empty when it lies elsewhere.
func (j Job) CodeIn(dir string) string {
	below, ok := strings.CutPrefix(path.Join(j.Dir, j.File), strings.TrimSuffix(dir, "/")+"/")
	if !ok {
		return ""
	}
	return below
}
