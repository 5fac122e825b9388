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

// cellar keeps blobs in memory; it breaks as often as it is told to.
type cellar struct {
	given     []execution.Entry
	kept      int64
	begun     int
	breaks    int
	discarded []execution.Blob
}

func (c *cellar) Snapshot(context.Context, execution.ID) ([]execution.Entry, error) {
	return c.given, nil
}
func (c *cellar) ReleaseSnapshot(context.Context, execution.ID) error { return nil }
func (c *cellar) Blob(context.Context, execution.Blob) io.ReadSeeker  { return bytes.NewReader(nil) }

func (c *cellar) OtherWorkspacesSize(context.Context, string, string) (int64, error) {
	return c.kept, nil
}

func (c *cellar) Discard(_ context.Context, blobs []execution.Blob) {
	c.discarded = append(c.discarded, blobs...)
}

func (c *cellar) begin(context.Context) (BlobWriter, error) {
	c.begun++
	return &barrel{cellar: c, id: int64(c.begun)}, nil
}

type barrel struct {
	cellar *cellar
	id     int64
	bytes.Buffer
}

func (b *barrel) Close() (execution.Blob, error) {
	if b.cellar.breaks > 0 {
		b.cellar.breaks--
		return execution.Blob{}, errors.New("the disk is full")
	}
	return execution.Blob{ID: b.id, Size: int64(b.Len())}, nil
}

// keeping is a run that keeps its workspace, and the dispatcher that does.
func keeping(t *testing.T, c *cellar) (*Dispatcher, *run) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	limits := execution.WorkspaceLimits{Size: 100, Entries: 4, Total: 200}
	d := &Dispatcher{Deps: Deps{Workspaces: c, Limits: limits, Log: logrus.NewEntry(log)}}
	r := &run{tree: &tree{ctx: t.Context(), blobs: c.begin, limits: limits}}
	r.execution.Options.Workspace.Name = "w"
	if err := d.readHad(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.tree.rewind()
	return d, r
}

func (t *tree) send(path, content string) {
	t.Begin(journal.Collected{Of: language.Tree, Path: path, Size: int64(len(content)), Mode: 0o600})
	_, _ = t.Write([]byte(content))
	t.Done(true)
}

func (t *tree) tell(path, kind string, sum []byte, target string) {
	t.Present(journal.Present{Of: language.Tree, Path: path, Kind: kind, Mode: 0o700, Sum: sum, Target: target})
}

func (t *tree) end(cut string) { t.Complete(journal.Collection{Of: language.Tree, Cut: cut}) }

func TestWhatIsLeftIsAllThatIsTold(t *testing.T) {
	had := execution.Entry{Path: "old", Kind: execution.EntryFile, Blob: execution.Blob{ID: 77, Size: 5, Sum: [32]byte{1}}}
	c := &cellar{given: []execution.Entry{had, {Path: "d", Kind: execution.EntryDir}}}
	d, r := keeping(t, c)
	sum := had.Blob.Sum
	r.tree.tell("d", journal.EntryDir, nil, "")
	r.tree.send("d/new", "12345")
	r.tree.tell("l", journal.EntryLink, nil, "d/new")
	r.tree.tell("out", journal.EntryLink, nil, "../etc")
	r.tree.tell("renamed", journal.EntryFile, sum[:], "")
	r.tree.Omit(journal.Omitted{Of: language.Tree, Path: "fifo", Reason: journal.OmitNotRegular})
	r.tree.Complete(journal.Collection{Of: language.Tree, Omitted: 1})
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

func TestWhatIsNotWholeIsNotSavedAndThrownAway(t *testing.T) {
	for name, c := range map[string]struct {
		tell     func(*tree)
		evidence evidence
		kept     int64
		reason   string
	}{
		"no proof":                 {func(w *tree) { w.end("") }, evidence{}, 0, execution.CutLost},
		"no end":                   {func(*tree) {}, proven(journal.End{}), 0, execution.CutLost},
		"cut":                      {func(w *tree) { w.end(journal.CutTime) }, proven(journal.End{}), 0, journal.CutTime},
		"never started":            {func(w *tree) {}, evidence{outcome: sandbox.Outcome{Stdout: &journal.End{StartError: "x"}}}, 0, execution.NotSavedNotRun},
		"no job":                   {func(*tree) {}, evidence{outcome: sandbox.Outcome{ExitCode: journal.ExitNoJob}}, 0, execution.NotSavedNotRun},
		"too much":                 {func(w *tree) { w.send("big", string(make([]byte, 96))); w.end("") }, proven(journal.End{}), 0, journal.CutSize},
		"too many":                 {func(w *tree) { w.send("2", ""); w.send("3", ""); w.send("4", ""); w.send("5", ""); w.end("") }, proven(journal.End{}), 0, journal.CutUnreadable},
		"too much in all":          {func(w *tree) { w.end("") }, proven(journal.End{}), 196, execution.NotSavedTotal},
		"a path that leads out":    {func(w *tree) { w.send("../x", ""); w.end("") }, proven(journal.End{}), 0, journal.CutUnreadable},
		"a sum that nobody has":    {func(w *tree) { w.tell("x", journal.EntryFile, make([]byte, 32), ""); w.end("") }, proven(journal.End{}), 0, journal.CutSize},
		"a kind that nobody knows": {func(w *tree) { w.tell("x", "device", nil, ""); w.end("") }, proven(journal.End{}), 0, journal.CutUnreadable},
	} {
		shelf := &cellar{kept: c.kept}
		d, r := keeping(t, shelf)
		r.tree.send("first", "12345")
		c.tell(r.tree)
		if got := d.workspaceResult(t.Context(), r, c.evidence); got.Saved || got.Reason != c.reason || got.Entries != nil {
			t.Errorf("%s: got %+v, want it not saved because of %q", name, got, c.reason)
		}
		if len(shelf.discarded) == 0 || shelf.discarded[0].ID != 1 {
			t.Errorf("%s: %v was thrown away, want what came first", name, shelf.discarded)
		}
	}
}

func TestASecondReadingStoresNothingAgain(t *testing.T) {
	c := &cellar{breaks: 0}
	d, r := keeping(t, c)
	r.tree.send("a", "1")
	r.tree.send("b", "2")
	c.breaks = 1
	r.tree.send("c", "3")
	if r.tree.err == nil {
		t.Fatal("a store that refused went unnoticed")
	}
	r.tree.rewind()
	for _, path := range []string{"a", "b", "c"} {
		r.tree.send(path, path)
	}
	r.tree.end("")
	got := d.workspaceResult(t.Context(), r, proven(journal.End{}))
	if !got.Saved || got.Count != 3 || got.Entries[0].Blob.ID != 1 || got.Entries[1].Blob.ID != 2 || c.begun != 4 {
		t.Errorf("got %+v after %d blobs were begun", got, c.begun)
	}
}

func TestFilesOfOthersAreNotTheWorkspaces(t *testing.T) {
	d, r := keeping(t, &cellar{})
	files := both{&artifacts{ctx: t.Context(), blobs: (&cellar{}).begin}, r.tree}
	files.Begin(journal.Collected{Of: language.Artifacts, Path: "a", Size: 1})
	_, _ = files.Write([]byte("x"))
	files.Done(true)
	files.Omit(journal.Omitted{Of: language.Artifacts, Path: "b"})
	files.Complete(journal.Collection{Of: language.Artifacts, Omitted: 1, Cut: journal.CutTime})
	files.Complete(journal.Collection{Of: language.Tree})
	if got := d.workspaceResult(t.Context(), r, proven(journal.End{})); !got.Saved || got.Count != 0 || got.Missing != 0 {
		t.Errorf("got %+v, want nothing, and that saved", got)
	}
}

func TestWhatNeverRanLeavesTheWorkspaceAsItWas(t *testing.T) {
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
