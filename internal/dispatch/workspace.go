package dispatch

import (
	"context"
	"fmt"
	"io"
	"iter"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/workspace"
)

// Workspaces keeps what outlives executions.
type Workspaces interface {
	// Snapshot returns all that a running execution is given in its workspace. For one that changes it this holds until Finish,
	// for one that reads it until Sent.
	Snapshot(ctx context.Context, id execution.ID) ([]execution.Entry, error)
	ReleaseSnapshot(ctx context.Context, id execution.ID) error
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
	// Kept is how many bytes all workspaces of the subject hold but the named one.
	OtherWorkspacesSize(ctx context.Context, subject, but string) (size int64, err error)
	// Discard removes blobs that are not needed after all.
	Discard(ctx context.Context, blobs []execution.Blob)
}

// addWorkspace adds to a job what the execution is given in its workspace.
func (d *Dispatcher) addWorkspace(ctx context.Context, r *run, job *journal.Job) error {
	if r.execution.Options.Workspace.Name == "" {
		return nil
	}
	entries, err := d.Workspaces.Snapshot(ctx, r.execution.ID)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	job.Workspace = workspace.Dir
	job.WorkspaceSnapshot = d.snapshotEntries(ctx, entries)
	return nil
}

func (d *Dispatcher) snapshotEntries(ctx context.Context, entries []execution.Entry) iter.Seq2[journal.WorkspaceEntry, error] {
	kinds := map[execution.EntryKind]string{
		execution.EntryFile: journal.EntryFile, execution.EntryDir: journal.EntryDir, execution.EntryLink: journal.EntryLink,
	}
	return func(yield func(journal.WorkspaceEntry, error) bool) {
		for _, e := range entries {
			g := journal.WorkspaceEntry{Path: e.Path, Kind: kinds[e.Kind], Mode: e.Mode, Size: e.Blob.Size, Target: e.Target}
			if e.Kind == execution.EntryFile {
				g.Sum = e.Blob.Sum[:]
				g.Content = func() io.Reader { return d.Workspaces.Blob(ctx, e.Blob) }
			}
			if !yield(g, nil) {
				return
			}
		}
	}
}

// tree stores what a program left in its workspace, as the journal tells it. A journal may be read several times: what was
// stored is not stored again. It is used by one goroutine at a time.
type tree struct {
	ctx    context.Context //nolint:containedctx // journal.Files has no other way to get it; it lives as long as the run
	blobs  Blobs
	limits execution.WorkspaceLimits
	had    map[[32]byte]execution.Blob // what the workspace holds, by its sum; nil: not read yet

	stored []execution.Entry // files, in the order of the journal

	// Of the pass under way:
	at       int // files of it that are stored
	entries  []execution.Entry
	size     int64
	file     execution.Entry
	known    bool       // the file that is read was stored in an earlier pass
	writer   BlobWriter // of the file that is read; nil when it is not stored
	complete bool
	cut      string
	omitted  []execution.Omission
	missing  int
	err      error
}

var _ journal.FileSink = (*tree)(nil)

func (t *tree) rewind() {
	t.at, t.entries, t.size, t.known, t.writer, t.complete, t.cut, t.omitted, t.missing, t.err = 0, nil, 0, false, nil, false, "", nil, 0, nil
}

// forget drops what was stored: the blobs are there no more.
func (t *tree) forget() { t.stored = nil }

// mine tells whether a frame is about the workspace, and holds what the init promises, should it be broken.
func (t *tree) mine(of, path string) bool {
	if of != language.Tree || t.err != nil || t.cut != "" {
		return false
	}
	if len(t.entries) >= t.limits.Entries || workspace.CheckPath("path", path) != nil {
		t.cut = journal.CutUnreadable
		return false
	}
	return true
}

// Begin implements journal.Files.
func (t *tree) Begin(f journal.Collected) {
	t.writer, t.known = nil, false
	if !t.mine(f.Of, f.Path) {
		return
	}
	if t.size += f.Size; t.size > t.limits.Size {
		t.cut = journal.CutSize
		return
	}
	t.file = execution.Entry{Path: f.Path, Kind: execution.EntryFile, Mode: f.Mode}
	if t.at < len(t.stored) && t.stored[t.at].Path == f.Path {
		t.known = true
		return
	}
	t.stored = t.stored[:t.at]
	t.writer, t.err = t.blobs(t.ctx)
}

// Write implements journal.Files.
func (t *tree) Write(p []byte) (int, error) {
	if t.writer != nil && t.err == nil {
		_, t.err = t.writer.Write(p)
	}
	return len(p), nil
}

// Done implements journal.Files.
func (t *tree) Done(whole bool) {
	switch {
	case t.known:
		t.entries = append(t.entries, t.stored[t.at])
		t.at++
	case t.writer != nil && t.err == nil && whole:
		if t.file.Blob, t.err = t.writer.Close(); t.err == nil {
			t.stored, t.entries = append(t.stored, t.file), append(t.entries, t.file)
			t.at++
		}
	}
	t.writer, t.known = nil, false
}

// Present implements journal.Files.
func (t *tree) Present(p journal.Present) {
	if !t.mine(p.Of, p.Path) {
		return
	}
	e := execution.Entry{Path: p.Path, Mode: p.Mode}
	switch p.Kind {
	case journal.EntryDir:
		e.Kind = execution.EntryDir
	case journal.EntryLink:
		if !workspace.Within(p.Path, p.Target) {
			t.omit(p.Path, journal.OmitSymlink)
			return
		}
		e.Kind, e.Target = execution.EntryLink, p.Target
	case journal.EntryFile:
		e.Kind = execution.EntryFile
		if len(p.Sum) == 32 {
			e.Blob = t.had[[32]byte(p.Sum)]
		}
		if t.size += e.Blob.Size; e.Blob.ID == 0 || t.size > t.limits.Size {
			t.cut = journal.CutSize
			return
		}
	default:
		t.cut = journal.CutUnreadable
		return
	}
	t.entries = append(t.entries, e)
}

// Omit implements journal.Files.
func (t *tree) Omit(o journal.Omitted) {
	if o.Of == language.Tree {
		t.omit(o.Path, o.Reason)
		t.missing-- // the end of the collection counts it
	}
}

func (t *tree) omit(path, reason string) {
	t.missing++
	if len(t.omitted) < journal.MaxOmitted {
		t.omitted = append(t.omitted, execution.Omission{Path: path, Reason: reason})
	}
}

// Complete implements journal.Files.
func (t *tree) Complete(c journal.Collection) {
	if c.Of == language.Tree {
		t.complete = true
		t.missing += c.Omitted
		if t.cut == "" {
			t.cut = c.Cut
		}
	}
}

// readHad reads what the workspace holds, so that what the init does not send again is found.
func (d *Dispatcher) readHad(ctx context.Context, r *run) error {
	if r.tree == nil || r.tree.had != nil {
		return nil
	}
	entries, err := d.Workspaces.Snapshot(ctx, r.execution.ID)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	r.tree.had = make(map[[32]byte]execution.Blob, len(entries))
	for _, e := range entries {
		r.tree.had[e.Blob.Sum] = e.Blob
	}
	delete(r.tree.had, [32]byte{}) // of what is no file
	return nil
}

// workspaceResult tells what becomes of the workspace, by the proof of the end of stdout: without it nobody vouches for anything. What is
// not saved is thrown away at once.
func (d *Dispatcher) workspaceResult(ctx context.Context, r *run, v evidence) *execution.WorkspaceResult {
	t := r.tree
	if t == nil {
		return nil
	}
	l := &execution.WorkspaceResult{Omitted: t.omitted, Missing: t.missing}
	kept, err := d.Workspaces.OtherWorkspacesSize(ctx, r.execution.Subject, r.execution.Options.Workspace.Name)
	if err != nil {
		d.log(r).WithError(err).Warn("measure workspaces")
	}
	switch {
	case v.neverStarted():
		l.Reason = execution.NotSavedNotRun
	case v.outcome.Stdout == nil:
		l.Reason = execution.CutLost
	case v.outcome.Stdout.StartError != "":
		l.Reason = execution.NotSavedNotRun
	case t.cut != "":
		l.Reason = t.cut
	case !t.complete || t.at < len(t.stored):
		l.Reason = execution.CutLost
	case kept+t.size > t.limits.Total:
		l.Reason = execution.NotSavedTotal
	default:
		l.Saved, l.Entries, l.Size, l.Count = true, t.entries, t.size, len(t.entries)
		return l
	}
	var blobs []execution.Blob
	for _, e := range t.stored {
		blobs = append(blobs, e.Blob)
	}
	d.Workspaces.Discard(ctx, blobs)
	t.forget()
	return l
}

// unchangedWorkspace is what becomes of the workspace of an execution that did not run; nil for one that could not change any.
func unchangedWorkspace(e execution.Execution) *execution.WorkspaceResult {
	if !e.Options.Workspace.Writes() {
		return nil
	}
	return &execution.WorkspaceResult{Reason: execution.NotSavedNotRun}
}

// both hands a journal's files to all who want some.
type both struct{ one, other journal.FileSink }

func (b both) Begin(f journal.Collected)     { b.one.Begin(f); b.other.Begin(f) }
func (b both) Write(p []byte) (int, error)   { _, _ = b.one.Write(p); return b.other.Write(p) }
func (b both) Done(whole bool)               { b.one.Done(whole); b.other.Done(whole) }
func (b both) Present(p journal.Present)     { b.one.Present(p); b.other.Present(p) }
func (b both) Omit(o journal.Omitted)        { b.one.Omit(o); b.other.Omit(o) }
func (b both) Complete(c journal.Collection) { b.one.Complete(c); b.other.Complete(c) }
