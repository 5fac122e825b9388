package dispatch

import (
	"context"
	"io"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
)

// BlobWriter writes one blob. The store removes a blob whose writer was not closed.
type BlobWriter interface {
	io.Writer
	// Close completes the blob. Errors: execution.ErrStale if the blob was removed meanwhile.
	Close() (execution.Blob, error)
}

// Blobs begins a blob. An error, also one of the writer, says that the store accepts no bytes at the moment.
type Blobs func(ctx context.Context) (BlobWriter, error)

// fileCollector stores the files that an execution leaves while its journal is read. A journal may be read several
// times: a later pass does not store a file again that an earlier pass stored. One goroutine uses it at a time.
type fileCollector struct {
	ctx       context.Context //nolint:containedctx // journal.FileSink has no parameter for it; it ends with the run
	blobs     Blobs
	artifacts *collection
	workspace *collection // nil if the execution writes to no workspace

	// The current pass:
	current *collection // of the current file; nil if the file is skipped
	writer  BlobWriter  // of the current file; nil if an earlier pass stored the file
	err     error       // of the store; the pass is useless after it
}

var _ journal.FileSink = (*fileCollector)(nil)

// rules are the rules of one kind of collection. They repeat the checks of the init, in case the init is broken.
type rules interface {
	// accept tells whether the next file of a collection is stored. It may set cut.
	accept(c *collection, path string, size int64) bool
	// addPresent adds an entry whose content the journal does not have. It may set cut.
	addPresent(c *collection, p journal.Present)
}

// collection is one set of files: the artifacts or the workspace.
type collection struct {
	rules  rules
	stored []execution.Entry // files that any pass stored, in the order of the journal

	// The current pass:
	files    int             // number of files read so far: a prefix of stored
	file     execution.Entry // the current file, not yet complete
	entries  []execution.Entry
	size     int64 // bytes of all entries
	omitted  []execution.Omission
	missing  int    // entries that were left out; may exceed the length of omitted
	cut      string // the reason why the collection is not whole; empty if it is whole
	complete bool   // the journal has the end of the collection
}

// rewind prepares for a pass from the beginning of the journal.
func (f *fileCollector) rewind() {
	f.current, f.writer, f.err = nil, nil, nil
	for _, c := range f.collections() {
		*c = collection{rules: c.rules, stored: c.stored}
	}
}

// forget drops the stored files, because their blobs were removed. The next pass stores them again.
func (f *fileCollector) forget() {
	for _, c := range f.collections() {
		c.stored = nil
	}
}

func (f *fileCollector) collections() []*collection {
	if f.workspace == nil {
		return []*collection{f.artifacts}
	}
	return []*collection{f.artifacts, f.workspace}
}

// find returns the collection with a name that the journal uses; nil if the collector does not store it.
func (f *fileCollector) find(name string) *collection {
	switch name {
	case language.Artifacts:
		return f.artifacts
	case language.Tree:
		return f.workspace
	}
	return nil
}

// open returns the collection with a name; nil if the rest of it is not stored in this pass.
func (f *fileCollector) open(name string) *collection {
	c := f.find(name)
	if c == nil || f.err != nil || c.cut != "" {
		return nil
	}
	return c
}

// Begin implements journal.FileSink.
func (f *fileCollector) Begin(file journal.Collected) {
	f.current, f.writer = nil, nil
	c := f.open(file.Of)
	if c == nil || !c.rules.accept(c, file.Path, file.Size) {
		return
	}
	f.current = c
	c.file = execution.Entry{Path: file.Path, Kind: execution.EntryFile, Mode: file.Mode}
	if c.files < len(c.stored) && c.stored[c.files].Path == file.Path {
		return
	}
	c.stored = c.stored[:c.files]
	f.writer, f.err = f.blobs(f.ctx)
}

// Write implements journal.FileSink.
func (f *fileCollector) Write(p []byte) (int, error) {
	if f.writer != nil && f.err == nil {
		_, f.err = f.writer.Write(p)
	}
	crash.Point("in-file")
	return len(p), nil
}

// Done implements journal.FileSink.
func (f *fileCollector) Done(whole bool) {
	c := f.current
	switch {
	case c == nil || f.err != nil:
	case f.writer == nil:
		c.entries = append(c.entries, c.stored[c.files])
		c.files++
	case whole:
		if c.file.Blob, f.err = f.writer.Close(); f.err == nil {
			c.stored, c.entries = append(c.stored, c.file), append(c.entries, c.file)
			c.files++
		}
	}
	f.current, f.writer = nil, nil
	crash.Point("after-file")
}

// Present implements journal.FileSink.
func (f *fileCollector) Present(p journal.Present) {
	if c := f.open(p.Of); c != nil {
		c.rules.addPresent(c, p)
	}
}

// Omit implements journal.FileSink. Complete counts the omission.
func (f *fileCollector) Omit(o journal.Omitted) {
	if c := f.find(o.Of); c != nil {
		c.addOmission(o.Path, o.Reason)
	}
}

func (c *collection) addOmission(path, reason string) {
	if len(c.omitted) < journal.MaxOmitted {
		c.omitted = append(c.omitted, execution.Omission{Path: path, Reason: reason})
	}
}

// Complete implements journal.FileSink.
func (f *fileCollector) Complete(end journal.Collection) {
	c := f.find(end.Of)
	if c == nil {
		return
	}
	c.complete = true
	c.missing += end.Omitted
	if c.cut == "" {
		c.cut = end.Cut
	}
}
