package dispatch

import (
	"cmp"
	"context"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// BlobWriter writes one blob. One that is not closed is nobody's, and removed in time.
type BlobWriter interface {
	io.Writer
	// Close ends the blob. Errors: execution.ErrStale when it was removed meanwhile.
	Close() (execution.Blob, error)
}

// Blobs begins a blob. Errors, also those of its writer: the store takes nothing now.
type Blobs func(ctx context.Context) (BlobWriter, error)

// artifacts stores the files of a journal as they come. A journal may be read several times: what was stored is not stored
// again, and a pass in which the store refused something is of no use. It is used by one goroutine at a time.
type artifacts struct {
	ctx    context.Context //nolint:containedctx // journal.Files has no other way to get it; it lives as long as the run
	blobs  Blobs
	stored []execution.Artifact // in the order of the journal

	// Of the pass under way:
	at       int // files of it that are stored
	path     string
	mode     uint32
	known    bool       // the file that is read was stored in an earlier pass
	writer   BlobWriter // of the file that is read; nil when it is not stored
	err      error
	leavings execution.Omissions
}

var _ journal.FileSink = (*artifacts)(nil)

// rewind announces that the journal will be read from its beginning.
func (a *artifacts) rewind() {
	a.at, a.known, a.writer, a.err, a.leavings = 0, false, nil, nil, execution.Omissions{}
}

// forget drops what was stored: the blobs are there no more.
func (a *artifacts) forget() { a.stored = nil }

// Begin implements journal.Files.
func (a *artifacts) Begin(f journal.Collected) {
	a.writer, a.known = nil, false
	if f.Of != language.Artifacts || a.err != nil {
		return
	}
	a.path, a.mode = f.Path, f.Mode
	if a.at < len(a.stored) && a.stored[a.at].Path == f.Path {
		a.known = true
		return
	}
	a.stored = a.stored[:a.at]
	if !a.acceptable(f.Path) {
		return
	}
	a.writer, a.err = a.blobs(a.ctx)
}

// acceptable holds what the init promises, should it be broken: the store would refuse the result for ever.
func (a *artifacts) acceptable(path string) bool {
	return a.at < sandbox.MaxArtifacts && fs.ValidPath(path) && path != "." && utf8.ValidString(path) && !strings.ContainsRune(path, 0) &&
		!slices.ContainsFunc(a.stored, func(s execution.Artifact) bool { return s.Path == path })
}

// Write implements journal.Files.
func (a *artifacts) Write(p []byte) (int, error) {
	if a.writer != nil && a.err == nil {
		_, a.err = a.writer.Write(p)
	}
	return len(p), nil
}

// Done implements journal.Files.
func (a *artifacts) Done(whole bool) {
	switch {
	case a.known:
		a.at++
	case a.writer != nil && a.err == nil && whole:
		var blob execution.Blob
		if blob, a.err = a.writer.Close(); a.err == nil {
			a.stored = append(a.stored, execution.Artifact{Path: a.path, Mode: a.mode, Blob: blob})
			a.at++
		}
	}
	a.writer, a.known = nil, false
}

// Omit implements journal.Files.
func (a *artifacts) Omit(o journal.Omitted) {
	if o.Of == language.Artifacts && len(a.leavings.Omitted) < journal.MaxOmitted {
		a.leavings.Omitted = append(a.leavings.Omitted, execution.Omission{Path: o.Path, Reason: o.Reason})
	}
}

// Present implements journal.Files.
func (*artifacts) Present(journal.Present) {}

// Complete implements journal.Files.
func (a *artifacts) Complete(c journal.Collection) {
	if c.Of == language.Artifacts {
		a.leavings.Count, a.leavings.Cut = c.Omitted, c.Cut
	}
}

// of returns what the run left, by the proof of the end of its stdout: without it nobody vouches for anything.
func (a *artifacts) of(e execution.Execution, end *journal.End) *execution.Artifacts {
	left := noArtifacts(e)
	switch {
	case left == nil:
	case end == nil:
		left.Cut = execution.CutLost
	default:
		left.Files, left.Omissions = slices.Clone(a.stored[:a.at]), a.leavings
		slices.SortFunc(left.Files, func(a, b execution.Artifact) int { return cmp.Compare(a.Path, b.Path) })
	}
	return left
}

// noArtifacts is what an execution left that did not run; nil when it was to leave nothing.
func noArtifacts(e execution.Execution) *execution.Artifacts {
	if len(e.Options.Artifacts) == 0 {
		return nil
	}
	return new(execution.Artifacts)
}
