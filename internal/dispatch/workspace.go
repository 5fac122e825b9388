package dispatch

import (
	"context"
	"fmt"
	"io"
	"iter"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/workspace"
)

// Workspaces keeps files that outlive executions.
type Workspaces interface {
	// Snapshot returns all entries of the workspace that a running execution uses. The snapshot of an execution that
	// writes to its workspace is valid until Finish, that of an execution that reads it until ReleaseSnapshot.
	Snapshot(ctx context.Context, id execution.ID) ([]execution.Entry, error)
	// ReleaseSnapshot ends the use of a workspace that the execution only reads.
	ReleaseSnapshot(ctx context.Context, id execution.ID) error
	// Blob returns a reader of a blob's content.
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
	// OtherWorkspacesSize returns how many bytes the workspaces of a subject hold, without the workspace named but.
	OtherWorkspacesSize(ctx context.Context, subject, but string) (size int64, err error)
	// Discard removes blobs that no result refers to.
	Discard(ctx context.Context, blobs []execution.Blob)
}

// addWorkspace adds the entries of the execution's workspace to its job.
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

func (d *Dispatcher) snapshotEntries(
	ctx context.Context, entries []execution.Entry,
) iter.Seq2[journal.WorkspaceEntry, error] {
	kinds := map[execution.EntryKind]string{
		execution.EntryFile: journal.EntryFile,
		execution.EntryDir:  journal.EntryDir,
		execution.EntryLink: journal.EntryLink,
	}
	return func(yield func(journal.WorkspaceEntry, error) bool) {
		for _, e := range entries {
			entry := journal.WorkspaceEntry{
				Path: e.Path, Kind: kinds[e.Kind], Mode: e.Mode, Size: e.Blob.Size, Target: e.Target,
			}
			if e.Kind == execution.EntryFile {
				entry.Sum = e.Blob.Sum[:]
				entry.Content = func() io.Reader { return d.Workspaces.Blob(ctx, e.Blob) }
			}
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// workspaceRules are the rules for the workspace that an execution leaves.
type workspaceRules struct {
	limits   execution.WorkspaceLimits
	existing map[[32]byte]execution.Blob // blobs in the workspace before the run, by SHA-256; nil if not read yet
}

func (w *workspaceRules) accept(c *collection, path string, size int64) bool {
	if !w.acceptPath(c, path) {
		return false
	}
	if c.size += size; c.size > w.limits.Size {
		c.cut = journal.CutSize
		return false
	}
	return true
}

func (w *workspaceRules) acceptPath(c *collection, path string) bool {
	if len(c.entries) >= w.limits.Entries || workspace.CheckPath("path", path) != nil {
		c.cut = journal.CutUnreadable
		return false
	}
	return true
}

// addPresent adds a directory, a symbolic link, or a file whose content was in the workspace before the run.
func (w *workspaceRules) addPresent(c *collection, p journal.Present) {
	if !w.acceptPath(c, p.Path) {
		return
	}
	e := execution.Entry{Path: p.Path, Mode: p.Mode}
	switch p.Kind {
	case journal.EntryDir:
		e.Kind = execution.EntryDir
	case journal.EntryLink:
		if !workspace.Within(p.Path, p.Target) {
			c.missing++
			c.addOmission(p.Path, journal.OmitSymlink)
			return
		}
		e.Kind, e.Target = execution.EntryLink, p.Target
	case journal.EntryFile:
		e.Kind = execution.EntryFile
		if len(p.Sum) == 32 {
			e.Blob = w.existing[[32]byte(p.Sum)]
		}
		if c.size += e.Blob.Size; e.Blob.ID == 0 || c.size > w.limits.Size {
			c.cut = journal.CutSize
			return
		}
	default:
		c.cut = journal.CutUnreadable
		return
	}
	c.entries = append(c.entries, e)
}

// readExisting reads which files the workspace had before the run. The init does not send their content again.
func (d *Dispatcher) readExisting(ctx context.Context, r *run) error {
	if r.workspace == nil || r.workspace.existing != nil {
		return nil
	}
	entries, err := d.Workspaces.Snapshot(ctx, r.execution.ID)
	if err != nil {
		return fmt.Errorf("read workspace: %w", err)
	}
	r.workspace.existing = make(map[[32]byte]execution.Blob, len(entries))
	for _, e := range entries {
		if e.Kind == execution.EntryFile {
			r.workspace.existing[e.Blob.Sum] = e.Blob
		}
	}
	return nil
}

// workspaceResult tells whether the workspace is saved and, if it is not, why. Without the end frame of stdout the
// journal proves nothing about the files. The files of a workspace that is not saved are removed at once.
func (d *Dispatcher) workspaceResult(ctx context.Context, r *run, v evidence) *execution.WorkspaceResult {
	if r.workspace == nil {
		return nil
	}
	c := r.files.workspace
	res := &execution.WorkspaceResult{Omitted: c.omitted, Missing: c.missing}
	others, err := d.Workspaces.OtherWorkspacesSize(ctx, r.execution.Subject, r.execution.Options.Workspace.Name)
	if err != nil {
		d.log(r).WithError(err).Warn("measure workspaces")
	}
	switch {
	case v.neverStarted():
		res.Reason = execution.NotSavedNotRun
	case v.outcome.Stdout == nil:
		res.Reason = execution.CutLost
	case v.outcome.Stdout.StartError != "":
		res.Reason = execution.NotSavedNotRun
	case c.cut != "":
		res.Reason = c.cut
	case !c.complete || c.files < len(c.stored):
		res.Reason = execution.CutLost
	case others+c.size > r.workspace.limits.Total:
		res.Reason = execution.NotSavedTotal
	default:
		res.Saved, res.Entries, res.Size, res.Count = true, c.entries, c.size, len(c.entries)
		return res
	}
	var blobs []execution.Blob
	for _, e := range c.stored {
		blobs = append(blobs, e.Blob)
	}
	d.Workspaces.Discard(ctx, blobs)
	c.stored = nil
	return res
}

// unchangedWorkspace returns the result for the workspace of an execution that did not run; nil if the execution writes
// to no workspace.
func unchangedWorkspace(e execution.Execution) *execution.WorkspaceResult {
	if !e.Options.Workspace.Writes() {
		return nil
	}
	return &execution.WorkspaceResult{Reason: execution.NotSavedNotRun}
}
