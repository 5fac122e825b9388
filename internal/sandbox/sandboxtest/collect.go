package sandboxtest

import (
	"fmt"
	"maps"
	"slices"

	"boomerang/internal/journal"
)

// collect passes on the files that the program left, as the init does. Files that came with the job are left out. The
// fake's programs make no directories, so the order of the paths is the init's order.
func (t timeline) collect(job journal.Job, stopped bool, files journal.FileSink) {
	for _, asked := range job.Collect {
		done := journal.Collection{Of: asked.Name}
		if stopped && !asked.Tree {
			done.Cut = journal.CutStopped
		}
		for _, path := range slices.Sorted(maps.Keys(t.files)) {
			if done.Cut != "" || !asked.Tree && !matchesAny(asked.Globs, path) {
				continue
			}
			content := t.files[path]
			size, reason := int64(len(content)), ""
			switch {
			case done.Files >= asked.Files:
				reason = journal.OmitCount
			case done.Bytes+size > asked.Bytes:
				reason = journal.OmitSize
			}
			if reason != "" {
				files.Omit(journal.Omitted{Of: asked.Name, Path: path, Reason: reason})
				done.Omitted++
				continue
			}
			files.Begin(journal.Collected{Of: asked.Name, Path: path, Size: size, Mode: 0o600})
			_, _ = files.Write(content)
			files.Done(true)
			done.Files++
			done.Bytes += size
		}
		files.Complete(done)
	}
}

func matchesAny(globs []string, path string) bool {
	return slices.ContainsFunc(globs, func(text string) bool {
		glob, err := journal.ParseGlob(text)
		return err == nil && glob.Match(path)
	})
}

// fileRecorder records the calls of a journal.FileSink.
type fileRecorder struct {
	lines   []string // in order
	content map[string][]byte
	now     string
}

// Begin implements journal.FileSink.
func (f *fileRecorder) Begin(c journal.Collected) {
	if f.content == nil {
		f.content = make(map[string][]byte)
	}
	f.now, f.content[c.Path] = c.Path, nil
}

// Write implements journal.FileSink.
func (f *fileRecorder) Write(p []byte) (int, error) {
	f.content[f.now] = append(f.content[f.now], p...)
	return len(p), nil
}

// Done implements journal.FileSink.
func (f *fileRecorder) Done(whole bool) {
	line := f.now
	if !whole {
		line += " is not whole"
	}
	f.lines = append(f.lines, line)
}

// Omit implements journal.FileSink.
func (f *fileRecorder) Omit(o journal.Omitted) {
	f.lines = append(f.lines, o.Path+" omitted: "+o.Reason)
}

// Present implements journal.FileSink.
func (*fileRecorder) Present(journal.Present) {}

// Complete implements journal.FileSink.
func (f *fileRecorder) Complete(c journal.Collection) {
	f.lines = append(f.lines, fmt.Sprintf("%s: %d and %d, %d bytes %s", c.Of, c.Files, c.Omitted, c.Bytes, c.Cut))
}
