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

// WorkspaceEntry is one entry of the workspace that is sent with a job. The entries follow the JSON of the job, sorted
// by path, so that neither side must hold them all. Each entry is a header, as JSON after its length in four bytes, and
// the content of a file. A length of zero ends the entries.
type WorkspaceEntry struct {
	Path    string           `json:"-"`
	RawPath []byte           `json:"path"` // bytes, because a path need not be UTF-8
	Kind    string           `json:"kind"` // one of the Entry constants
	Mode    uint32           `json:"mode,omitempty"`
	Size    int64            `json:"size,omitempty"`
	Sum     []byte           `json:"sum,omitempty"` // SHA-256
	Target  string           `json:"target,omitempty"`
	Content func() io.Reader `json:"-"` // content of a file, for the sender
}

// The kinds of entries.
const (
	EntryFile = "file"
	EntryDir  = "dir"
	EntryLink = "link"
)

// ErrSource says that an entry of the workspace could not be read; the job did not arrive.
var ErrSource = errors.New("the workspace cannot be read")

const maxEntryHeader = 64 << 10 // bytes of a header

// writeWorkspace sends the entries. If entries returns an error, it returns an ErrSource.
func writeWorkspace(w io.Writer, entries iter.Seq2[WorkspaceEntry, error]) error {
	buf := make([]byte, 256<<10)
	for e, err := range entries {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrSource, err)
		}
		e.RawPath = []byte(e.Path)
		text, err := json.Marshal(e)
		if err != nil || len(text) > maxEntryHeader {
			return fmt.Errorf("%w: the header of %q: %w", ErrSource, e.Path, err)
		}
		header := binary.BigEndian.AppendUint32(nil, uint32(len(text))) //nolint:gosec // bounded by maxEntryHeader
		if _, err := w.Write(append(header, text...)); err != nil {
			return err
		}
		if e.Kind != EntryFile || e.Size == 0 {
			continue
		}
		if err := copyContent(w, e, buf); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, 4))
	return err
}

func copyContent(w io.Writer, e WorkspaceEntry, buf []byte) error {
	content := e.Content()
	for left := e.Size; left > 0; {
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

// ReadWorkspace reads the entries that follow the JSON of a job and calls each with every entry. The function each
// reads the content of a file before it returns; ReadWorkspace skips the rest. It returns the first error of each, and
// an error that wraps io.ErrUnexpectedEOF if the sender stopped half way, in which case there is no job.
func ReadWorkspace(r io.Reader, each func(e WorkspaceEntry, content io.Reader) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	header := make([]byte, 0, maxEntryHeader)
	for {
		var prefix [4]byte
		if _, err := io.ReadFull(in, prefix[:]); err != nil {
			return readError(err)
		}
		size := binary.BigEndian.Uint32(prefix[:])
		switch {
		case size == 0:
			return nil
		case size > maxEntryHeader:
			return fmt.Errorf("read workspace: a header of %d bytes", size)
		}
		header = header[:size]
		if _, err := io.ReadFull(in, header); err != nil {
			return readError(err)
		}
		var e WorkspaceEntry
		if err := json.Unmarshal(header, &e); err != nil {
			return fmt.Errorf("read workspace: %w", err)
		}
		e.Path = string(e.RawPath)
		if !fs.ValidPath(e.Path) || e.Path == "." || strings.ContainsRune(e.Path, 0) || e.Size < 0 {
			return fmt.Errorf("read workspace: %q of %d bytes is no entry", e.Path, e.Size)
		}
		content := &io.LimitedReader{R: in, N: e.Size}
		if err := each(e, content); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, in, content.N); err != nil {
			return readError(err)
		}
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read workspace: %w", err)
}

// CodeIn returns the path of the code's file relative to dir, or an empty string if it is not below dir.
func (j Job) CodeIn(dir string) string {
	below, ok := strings.CutPrefix(path.Join(j.Dir, j.File), strings.TrimSuffix(dir, "/")+"/")
	if !ok {
		return ""
	}
	return below
}
