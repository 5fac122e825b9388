package dispatch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// fakeWorkspaces keeps blobs in memory.
type fakeWorkspaces struct {
	snapshot   []execution.Entry
	otherSize  int64
	begun      int // blobs
	failCloses int // number of blobs whose Close fails
	discarded  []execution.Blob
}

func (w *fakeWorkspaces) Snapshot(context.Context, execution.ID) ([]execution.Entry, error) {
	return w.snapshot, nil
}
func (w *fakeWorkspaces) ReleaseSnapshot(context.Context, execution.ID) error { return nil }
func (w *fakeWorkspaces) Blob(context.Context, execution.Blob) io.ReadSeeker {
	return bytes.NewReader(nil)
}

func (w *fakeWorkspaces) OtherWorkspacesSize(context.Context, string, string) (int64, error) {
	return w.otherSize, nil
}

func (w *fakeWorkspaces) Discard(_ context.Context, blobs []execution.Blob) {
	w.discarded = append(w.discarded, blobs...)
}

func (w *fakeWorkspaces) begin(context.Context) (BlobWriter, error) {
	w.begun++
	return &fakeBlob{workspaces: w, id: int64(w.begun)}, nil
}

type fakeBlob struct {
	workspaces *fakeWorkspaces
	id         int64
	bytes.Buffer
}

func (b *fakeBlob) Close() (execution.Blob, error) {
	if b.workspaces.failCloses > 0 {
		b.workspaces.failCloses--
		return execution.Blob{}, errors.New("the disk is full")
	}
	return execution.Blob{ID: b.id, Size: int64(b.Len())}, nil
}

// newWorkspaceRun makes a run that writes to its workspace, and its dispatcher.
func newWorkspaceRun(t *testing.T, w *fakeWorkspaces) (*Dispatcher, *run) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	limits := execution.WorkspaceLimits{Size: 100, Entries: 4, Total: 200}
	d := &Dispatcher{Deps: Deps{Workspaces: w, Limits: limits, Log: logrus.NewEntry(log)}}
	rules := &workspaceRules{limits: limits}
	r := &run{workspace: rules, files: &fileCollector{
		ctx: t.Context(), blobs: w.begin,
		artifacts: &collection{rules: artifactRules{}}, workspace: &collection{rules: rules},
	}}
	r.execution.Options.Workspace.Name = "w"
	if err := d.readExisting(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.files.rewind()
	return d, r
}

func (f *fileCollector) addFile(path, content string) {
	f.Begin(journal.Collected{Of: language.Tree, Path: path, Size: int64(len(content)), Mode: 0o600})
	_, _ = f.Write([]byte(content))
	f.Done(true)
}

func (f *fileCollector) addEntry(path, kind string, sum []byte, target string) {
	f.Present(journal.Present{Of: language.Tree, Path: path, Kind: kind, Mode: 0o700, Sum: sum, Target: target})
}

func (f *fileCollector) complete(cut string) {
	f.Complete(journal.Collection{Of: language.Tree, Cut: cut})
}

func TestTheSavedWorkspaceIsTheOneInTheJournal(t *testing.T) {
	had := execution.Entry{
		Path: "old", Kind: execution.EntryFile,
		Blob: execution.Blob{ID: 77, Size: 5, Sum: [32]byte{1}},
	}
	w := &fakeWorkspaces{snapshot: []execution.Entry{had, {Path: "d", Kind: execution.EntryDir}}}
	d, r := newWorkspaceRun(t, w)
	sum := had.Blob.Sum
	r.files.addEntry("d", journal.EntryDir, nil, "")
	r.files.addFile("d/new", "12345")
	r.files.addEntry("l", journal.EntryLink, nil, "d/new")
	r.files.addEntry("out", journal.EntryLink, nil, "../etc")
	r.files.addEntry("renamed", journal.EntryFile, sum[:], "")
	r.files.Omit(journal.Omitted{Of: language.Tree, Path: "fifo", Reason: journal.OmitNotRegular})
	r.files.Complete(journal.Collection{Of: language.Tree, Omitted: 1})
	want := &execution.WorkspaceResult{
		Saved: true, Size: 10, Count: 4, Missing: 2, Omitted: []execution.Omission{
			{Path: "out", Reason: journal.OmitSymlink}, {Path: "fifo", Reason: journal.OmitNotRegular},
		},
		Entries: []execution.Entry{
			{Path: "d", Kind: execution.EntryDir, Mode: 0o700},
			{Path: "d/new", Kind: execution.EntryFile, Mode: 0o600, Blob: execution.Blob{ID: 1, Size: 5}},
			{Path: "l", Kind: execution.EntryLink, Mode: 0o700, Target: "d/new"},
			{Path: "renamed", Kind: execution.EntryFile, Mode: 0o700, Blob: had.Blob},
		},
	}
	if diff := cmp.Diff(want, d.workspaceResult(t.Context(), r, proven(journal.End{}))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAnIncompleteWorkspaceIsNotSavedAndItsBlobsAreDiscarded(t *testing.T) {
	for name, c := range map[string]struct {
		fill     func(*fileCollector)
		evidence evidence
		others   int64 // bytes in other workspaces
		reason   string
	}{
		"no proof": {func(f *fileCollector) { f.complete("") }, evidence{}, 0, execution.CutLost},
		"no end":   {func(*fileCollector) {}, proven(journal.End{}), 0, execution.CutLost},
		"cut": {
			func(f *fileCollector) { f.complete(journal.CutTime) },
			proven(journal.End{}), 0, journal.CutTime,
		},
		"never started": {
			func(f *fileCollector) {},
			evidence{outcome: sandbox.Outcome{Stdout: &journal.End{StartError: "x"}}},
			0, execution.NotSavedNotRun,
		},
		"no job": {
			func(*fileCollector) {},
			evidence{outcome: sandbox.Outcome{ExitCode: journal.ExitNoJob}},
			0, execution.NotSavedNotRun,
		},
		"too much": {
			func(f *fileCollector) { f.addFile("big", string(make([]byte, 96))); f.complete("") },
			proven(journal.End{}), 0, journal.CutSize,
		},
		"too many": {func(f *fileCollector) {
			f.addFile("2", "")
			f.addFile("3", "")
			f.addFile("4", "")
			f.addFile("5", "")
			f.complete("")
		}, proven(journal.End{}), 0, journal.CutUnreadable},
		"too much in all": {
			func(f *fileCollector) { f.complete("") },
			proven(journal.End{}), 196, execution.NotSavedTotal,
		},
		"a path that leads out": {
			func(f *fileCollector) { f.addFile("../x", ""); f.complete("") },
			proven(journal.End{}), 0, journal.CutUnreadable,
		},
		"an unknown sum": {func(f *fileCollector) {
			f.addEntry("x", journal.EntryFile, make([]byte, 32),
				"")
			f.complete("")
		}, proven(journal.End{}), 0, journal.CutSize},
		"an unknown kind": {
			func(f *fileCollector) { f.addEntry("x", "device", nil, ""); f.complete("") },
			proven(journal.End{}), 0, journal.CutUnreadable,
		},
	} {
		w := &fakeWorkspaces{otherSize: c.others}
		d, r := newWorkspaceRun(t, w)
		r.files.addFile("first", "12345")
		c.fill(r.files)
		if got := d.workspaceResult(t.Context(), r, c.evidence); got.Saved ||
			got.Reason != c.reason || got.Entries != nil {
			t.Errorf("%s: got %+v, want an unsaved workspace and the reason %q", name, got, c.reason)
		}
		if len(w.discarded) == 0 || w.discarded[0].ID != 1 {
			t.Errorf("%s: discarded %v, want blob 1 among them", name, w.discarded)
		}
	}
}

func TestASecondPassStoresNoFileAgain(t *testing.T) {
	w := &fakeWorkspaces{}
	d, r := newWorkspaceRun(t, w)
	r.files.addFile("a", "1")
	r.files.addFile("b", "2")
	w.failCloses = 1
	r.files.addFile("c", "3")
	if r.files.err == nil {
		t.Fatal("the collector has no error although the store failed")
	}
	r.files.rewind()
	for _, path := range []string{"a", "b", "c"} {
		r.files.addFile(path, path)
	}
	r.files.complete("")
	got := d.workspaceResult(t.Context(), r, proven(journal.End{}))
	if !got.Saved || got.Count != 3 || got.Entries[0].Blob.ID != 1 || got.Entries[1].Blob.ID != 2 || w.begun != 4 {
		t.Errorf("got %+v after %d blobs were begun", got, w.begun)
	}
}

func TestArtifactsAreNotPartOfTheWorkspace(t *testing.T) {
	d, r := newWorkspaceRun(t, &fakeWorkspaces{})
	files := r.files
	files.Begin(journal.Collected{Of: language.Artifacts, Path: "a", Size: 1})
	_, _ = files.Write([]byte("x"))
	files.Done(true)
	files.Omit(journal.Omitted{Of: language.Artifacts, Path: "b"})
	files.Complete(journal.Collection{Of: language.Artifacts, Omitted: 1, Cut: journal.CutTime})
	files.Complete(journal.Collection{Of: language.Tree})
	if got := d.workspaceResult(t.Context(), r, proven(journal.End{})); !got.Saved ||
		got.Count != 0 || got.Missing != 0 {
		t.Errorf("got %+v, want an empty workspace that is saved", got)
	}
}

func TestACancelledQueuedExecutionDoesNotChangeItsWorkspace(t *testing.T) {
	var p Payload
	for use, want := range map[execution.WorkspaceUse]*execution.WorkspaceResult{
		{}: nil, {Name: "w", ReadOnly: true}: nil, {Name: "w"}: {Reason: execution.NotSavedNotRun},
	} {
		res, _ := p.Cancelled(execution.Execution{Options: execution.Options{Workspace: use}})
		if diff := cmp.Diff(want, res.Workspace); diff != "" {
			t.Errorf("%+v: -want +got:\n%s", use, diff)
		}
	}
}
