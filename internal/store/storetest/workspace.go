package storetest

import (
	"io"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// blob stores a blob.
func (h *harness) blob(text string) execution.Blob {
	h.t.Helper()
	w, err := h.NewBlob(h.ctx())
	h.ok(err)
	_, err = w.Write([]byte(text))
	h.ok(err)
	b, err := w.Close()
	h.ok(err)
	return b
}

func (h *harness) file(path, text string) execution.Entry {
	h.t.Helper()
	return execution.Entry{Path: path, Kind: execution.EntryFile, Mode: 0o640, Blob: h.blob(text), ModifiedAt: h.now}
}

var (
	always    execution.Condition
	unlimited execution.WorkspaceLimits
)

// putFiles puts files into the workspace w of "ann". The content of each file is its path.
func (h *harness) putFiles(paths ...string) {
	h.t.Helper()
	for _, path := range paths {
		_, err := h.Put(h.ctx(), "ann", "w", h.file(path, path), always, unlimited)
		h.ok(err)
	}
}

// tree returns the entries of a workspace by path: the content of a file, "/" for a directory, "-> " and the target for
// a link.
func (h *harness) tree(subject, name string) map[string]string {
	h.t.Helper()
	entries, err := h.Entries(h.ctx(), subject, name, "", "", 1000)
	h.ok(err)
	return h.contents(entries)
}

func (h *harness) contents(entries []execution.Entry) map[string]string {
	h.t.Helper()
	tree := map[string]string{}
	for _, e := range entries {
		switch e.Kind {
		case execution.EntryFile:
			text, err := io.ReadAll(h.Blob(h.ctx(), e.Blob))
			h.ok(err)
			tree[e.Path] = string(text)
		case execution.EntryDir:
			tree[e.Path] = "/"
		case execution.EntryLink:
			tree[e.Path] = "-> " + e.Target
		}
	}
	return tree
}

// enqueueUsing stores an execution of "ann" that uses the workspace w.
func (h *harness) enqueueUsing(readOnly bool) execution.ID {
	h.t.Helper()
	e := h.execution("ann")
	e.Options.Workspace = execution.WorkspaceUse{Name: "w", ReadOnly: readOnly}
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.ok(err)
	return e.ID
}

// start claims and starts the next execution, which must be id.
func (h *harness) start(id execution.ID) {
	h.t.Helper()
	h.equal(h.claim(), id)
	h.ok(h.Start(h.ctx(), id, h.run()))
}

// finish ends a running execution with the files that it left.
func (h *harness) finish(id execution.ID, left *execution.WorkspaceResult) {
	h.t.Helper()
	r := h.result(execution.Failed, execution.Exited)
	r.Workspace = left
	h.ok(h.Finish(h.ctx(), id, r, h.delivery()))
}

func testPutStoresAFile(h *harness) {
	e := h.file("a/b\nc/ü", "content")
	replaced, err := h.Put(h.ctx(), "ann", "w", e, always, unlimited)
	h.ok(err)
	h.equal(replaced, false)
	got, err := h.Entry(h.ctx(), "ann", "w", e.Path)
	h.ok(err)
	h.equal(got, e)
	h.restart()
	h.equal(h.tree("ann", "w"), map[string]string{"a": "/", "a/b\nc": "/", "a/b\nc/ü": "content"})
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal(w, execution.Workspace{Name: "w", CreatedAt: h.now, UsedAt: h.now, Size: 7, Entries: 3})
	_, err = h.Entry(h.ctx(), "ann", "w", "a/c")
	h.wantFault(err, fault.FileNotFound)
	_, err = h.Entry(h.ctx(), "ann", "v", "a")
	h.wantFault(err, fault.WorkspaceNotFound)
	_, err = h.Entries(h.ctx(), "ann", "v", "", "", 9)
	h.wantFault(err, fault.WorkspaceNotFound)
	page, err := h.Entries(h.ctx(), "ann", "w", "a/", "a/b\nc", 9)
	h.ok(err)
	h.equal(len(page), 1)
}

func testPutCreatesParentDirectories(h *harness) {
	h.putFiles("f", "d/e/g")
	_, err := h.Put(h.ctx(), "ann", "w", h.file("f/below", "x"), always, unlimited)
	h.wantFault(err, fault.Conflict)
	_, err = h.Put(h.ctx(), "ann", "w", h.file("d/e", "x"), always, unlimited)
	h.wantFault(err, fault.Conflict)
	replaced, err := h.Put(h.ctx(), "ann", "w",
		execution.Entry{Path: "d/e", Kind: execution.EntryDir, ModifiedAt: h.now}, always, unlimited)
	h.ok(err)
	h.equal(replaced, true)
	h.equal(h.tree("ann", "w"), map[string]string{"f": "f", "d": "/", "d/e": "/", "d/e/g": "d/e/g"})
}

func testPutRefusesAboveTheLimits(h *harness) {
	limits := execution.WorkspaceLimits{Size: 10, Entries: 3, Count: 2, Total: 15}
	put := func(name, path, text string) error {
		_, err := h.Put(h.ctx(), "ann", name, h.file(path, text), always, limits)
		return err
	}
	h.ok(put("w", "a", "0123456789"))
	h.wantFault(put("w", "b", "x"), fault.PayloadTooLarge)
	h.ok(put("w", "a", "01234567")) // less than before
	h.ok(put("w", "d/b", "x"))
	h.wantFault(put("w", "c", ""), fault.PayloadTooLarge)
	h.ok(put("v", "a", "123456"))
	h.wantFault(put("v", "b", "x"), fault.PayloadTooLarge)
	h.wantFault(put("u", "b", "x"), fault.Conflict)
	h.equal(h.tree("ann", "w"), map[string]string{"a": "01234567", "d": "/", "d/b": "x"})
	h.equal(h.tree("ann", "v"), map[string]string{"a": "123456"})
	size, err := h.OtherWorkspacesSize(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal(size, int64(6))
}

func testPutAndDeleteCheckTheCondition(h *harness) {
	h.putFiles("a")
	put := func(path string, only execution.Condition) error {
		_, err := h.Put(h.ctx(), "ann", "w", h.file(path, path), only, unlimited)
		return err
	}
	sum := h.blob("a").Sum
	h.wantFault(put("a", execution.Condition{Absent: true}), fault.PreconditionFailed)
	h.wantFault(put("b", execution.Condition{Exists: true}), fault.PreconditionFailed)
	h.wantFault(put("b", execution.Condition{Sums: [][32]byte{sum}}), fault.PreconditionFailed)
	h.wantFault(put("a", execution.Condition{Sums: [][32]byte{{1}}}), fault.PreconditionFailed)
	h.wantFault(h.Delete(h.ctx(), "ann", "w", "a", execution.Condition{Sums: [][32]byte{{1}}}, h.now),
		fault.PreconditionFailed)
	h.ok(put("a", execution.Condition{Sums: [][32]byte{{1}, sum}}))
	h.ok(put("a", execution.Condition{Exists: true}))
	h.ok(put("b", execution.Condition{Absent: true}))
}

func testDeleteRemovesADirectoryWithItsContent(h *harness) {
	h.putFiles("a", "d/b", "d/e/c", "d0", "d-")
	h.ok(h.Delete(h.ctx(), "ann", "w", "d", always, h.now))
	h.equal(h.tree("ann", "w"), map[string]string{"a": "a", "d0": "d0", "d-": "d-"})
	h.wantFault(h.Delete(h.ctx(), "ann", "w", "d", always, h.now), fault.FileNotFound)
	h.wantFault(h.Delete(h.ctx(), "ann", "v", "d", always, h.now), fault.WorkspaceNotFound)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal([]int64{w.Size, int64(w.Entries)}, []int64{5, 3})
}

// unreadable reports whether a blob was removed.
func (h *harness) unreadable(b execution.Blob) bool {
	_, err := io.ReadAll(h.Blob(h.ctx(), b))
	return fault.Of(err).Code == fault.ExecutionNotFound
}

func testReplacedAndDeletedBlobsAreRemoved(h *harness) {
	h.putFiles("a", "d/b")
	a, err := h.Entry(h.ctx(), "ann", "w", "a")
	h.ok(err)
	b, err := h.Entry(h.ctx(), "ann", "w", "d/b")
	h.ok(err)
	h.putFiles("a")
	h.equal(h.unreadable(a.Blob), true)
	h.ok(h.Delete(h.ctx(), "ann", "w", "d", always, h.now))
	h.equal(h.unreadable(b.Blob), true)
	a, err = h.Entry(h.ctx(), "ann", "w", "a")
	h.ok(err)
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.equal(h.unreadable(a.Blob), false)
	h.ok(h.RemoveWorkspace(h.ctx(), "ann", "w"))
	h.equal(h.unreadable(a.Blob), true)
	h.wantFault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.WorkspaceNotFound)
}

func testWorkspacesAreScopedToTheirSubject(h *harness) {
	h.putFiles("a")
	_, err := h.Put(h.ctx(), "bob", "w", h.file("b", "bob's"), always, unlimited)
	h.ok(err)
	_, err = h.Put(h.ctx(), "ann", "v", h.file("b", "b"), always, unlimited)
	h.ok(err)
	h.equal(h.tree("bob", "w"), map[string]string{"b": "bob's"})
	_, err = h.Workspace(h.ctx(), "bob", "v")
	h.wantFault(err, fault.WorkspaceNotFound)
	var names []string
	for _, after := range []string{"", "v"} {
		list, err := h.Workspaces(h.ctx(), "ann", after, 1)
		h.ok(err)
		names = append(names, list[0].Name)
	}
	h.equal(names, []string{"v", "w"})
}

func testOneExecutionAtATimeChangesAWorkspace(h *harness) {
	first, second := h.enqueueUsing(false), h.enqueueUsing(false)
	other := h.enqueue("ann")
	h.start(first)
	h.start(other) // it was stored after second, which is held back
	h.equal(h.claim(), execution.ID(""))
	h.wantStale(h.Start(h.ctx(), second, h.run()))
	h.wantStale(h.Release(h.ctx(), second))
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal(w.Writer, first)
	h.equal(w.Waiting, 1)
	h.finish(first, nil)
	h.start(second)
}

func testTheEndOfAWriterReleasesTheNext(h *harness) {
	gone := func(execution.Execution) (execution.Result, *execution.Delivery) {
		return h.result(execution.Cancelled, execution.WasCancelled), h.delivery()
	}
	first, second, third, fourth := h.enqueueUsing(false), h.enqueueUsing(false), h.enqueueUsing(false),
		h.enqueueUsing(false)
	_, err := h.Cancel(h.ctx(), second, h.now, gone) // held back, so no other execution is released for it
	h.ok(err)
	h.equal(h.claim(), first)
	h.equal(h.claim(), execution.ID(""))
	_, err = h.Cancel(h.ctx(), first, h.now, gone) // claimed
	h.ok(err)
	h.clearSignals()
	h.equal(h.claim(), third)
	h.ok(h.Finish(h.ctx(), third, h.result(execution.Failed, execution.StartFailed), h.delivery())) // it never ran
	select {
	case <-h.Queued():
	default:
		h.t.Error("Queued is not signalled, although the next execution can be claimed")
	}
	h.start(fourth)
	h.finish(fourth, nil)
	h.start(h.enqueueUsing(false)) // no execution has the workspace any more
}

func testRequeueAndReleaseKeepTheTurn(h *harness) {
	first, second := h.enqueueUsing(false), h.enqueueUsing(false)
	h.start(first)
	h.ok(h.Requeue(h.ctx(), first))
	h.equal(h.claim(), first)
	h.equal(h.claim(), execution.ID(""))
	h.ok(h.Release(h.ctx(), first))
	h.start(first)
	h.finish(first, nil)
	h.start(second)
}

func testTheTurnSurvivesARestart(h *harness) {
	first, second := h.enqueueUsing(false), h.enqueueUsing(false)
	h.equal(h.claim(), first)
	h.restart()
	h.start(first)
	h.restart()
	h.equal(h.claim(), execution.ID(""))
	h.ok(h.Adopt(h.ctx(), first))
	h.finish(first, nil)
	h.start(second)
}

func testHeldBackExecutionsCountAsQueued(h *harness) {
	h.enqueueUsing(false)
	h.enqueueUsing(false)
	for range 2 {
		_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{Total: 2})
		h.wantFault(err, fault.QueueFull)
		_, _, err = h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{PerSubject: 2})
		h.wantFault(err, fault.QueueFull)
		h.restart()
	}
}

func testAReaderRunsAtOnceAndKeepsItsSnapshot(h *harness) {
	h.putFiles("a", "b")
	writer, reader := h.enqueueUsing(false), h.enqueueUsing(true)
	late := h.enqueueUsing(true)
	h.start(writer)
	h.start(reader)
	h.finish(writer, &execution.WorkspaceResult{Saved: true, Entries: []execution.Entry{h.file("a", "new")}})
	h.start(late)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal(w.Readers, 2)
	given, err := h.Snapshot(h.ctx(), late)
	h.ok(err)
	h.equal(h.contents(given), map[string]string{"a": "new"})
	before := h.blob("b") // the content of b in another blob
	h.putFiles("a")
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.equal(h.unreadable(before), true)    // nothing refers to it
	h.equal(h.contents(given)["a"], "new") // the snapshot of late holds it, although the file was replaced
	h.ok(h.ReleaseSnapshot(h.ctx(), late))
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.equal(h.unreadable(given[0].Blob), true)
}

func testFinishReplacesTheContentOfTheWorkspace(h *harness) {
	h.putFiles("same", "changed", "gone", "becomes/dir")
	id := h.enqueueUsing(false)
	h.start(id)
	before, err := h.Snapshot(h.ctx(), id)
	h.ok(err)
	same := before[len(before)-1]
	h.equal(same.Path, "same")
	left := &execution.WorkspaceResult{Saved: true, Entries: []execution.Entry{
		same, h.file("changed", "other"), h.file("becomes", "a file"), h.file("new", "new"),
		{Path: "moved", Kind: execution.EntryFile, Mode: 0o700, Blob: same.Blob, ModifiedAt: h.now},
		{Path: "d", Kind: execution.EntryDir, ModifiedAt: h.now},
		{Path: "l", Kind: execution.EntryLink, Target: "d/x", ModifiedAt: h.now},
	}}
	h.finish(id, left)
	want := map[string]string{
		"same": "same", "changed": "other", "becomes": "a file", "new": "new", "moved": "same",
		"d": "/", "l": "-> d/x",
	}
	h.equal(h.tree("ann", "w"), want)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.equal([]int64{w.Size, int64(w.Entries)}, []int64{4 + 5 + 6 + 3 + 4, 7})
	for _, e := range before {
		if e.Kind == execution.EntryFile {
			h.equal(h.unreadable(e.Blob), e.Path != "same")
		}
	}
	lost := h.enqueueUsing(false)
	h.start(lost)
	h.finish(lost, nil)
	h.equal(h.tree("ann", "w"), want)
	last := h.enqueueUsing(false)
	h.start(last)
	h.finish(last, &execution.WorkspaceResult{Saved: true})
	h.equal(h.tree("ann", "w"), map[string]string{})
}

func testFinishOfAReaderCannotChangeTheWorkspace(h *harness) {
	h.putFiles("a")
	reader := h.enqueueUsing(true)
	h.start(reader)
	r := h.result(execution.Completed, execution.Exited)
	r.Workspace = &execution.WorkspaceResult{Saved: true}
	if err := h.Finish(h.ctx(), reader, r, h.delivery()); err == nil {
		h.t.Error("Finish of a reader emptied the workspace")
	}
	h.equal(h.get(reader).State, execution.Running)
	h.equal(h.tree("ann", "w"), map[string]string{"a": "a"})
}

func testPutAndDeleteAreRefusedWhileAWriterRuns(h *harness) {
	h.putFiles("a")
	id := h.enqueueUsing(false)
	h.equal(h.claim(), id)
	h.putFiles("b") // allowed before it runs
	h.ok(h.Start(h.ctx(), id, h.run()))
	_, err := h.Put(h.ctx(), "ann", "w", h.file("c", "c"), always, unlimited)
	h.wantFault(err, fault.Conflict)
	h.equal(fault.Of(err).Details["execution_id"], any(id))
	h.wantFault(h.Delete(h.ctx(), "ann", "w", "a", always, h.now), fault.Conflict)
	h.equal(h.tree("ann", "w"), map[string]string{"a": "a", "b": "b"})
	h.finish(id, nil)
	h.putFiles("c")
}

func testAWorkspaceInUseIsNotRemoved(h *harness) {
	h.putFiles("a")
	for _, readOnly := range []bool{true, false} {
		id := h.enqueueUsing(readOnly)
		h.wantFault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.Conflict)
		h.start(id)
		h.wantFault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.Conflict)
		removed, err := h.RemoveIdle(h.ctx(), h.now.Add(time.Hour), 10)
		h.ok(err)
		h.equal(removed, 0)
		h.finish(id, nil)
	}
	h.ok(h.RemoveWorkspace(h.ctx(), "ann", "w"))
}

func testIdleWorkspacesAreRemoved(h *harness) {
	h.putFiles("a")
	used := h.now
	h.now = h.now.Add(time.Hour)
	_, err := h.Put(h.ctx(), "ann", "young", h.file("a", "a"), always, unlimited)
	h.ok(err)
	removed, err := h.RemoveIdle(h.ctx(), used, 10)
	h.ok(err)
	h.equal(removed, 0)
	removed, err = h.RemoveIdle(h.ctx(), used.Add(time.Minute), 10)
	h.ok(err)
	h.equal(removed, 1)
	_, err = h.Workspace(h.ctx(), "ann", "w")
	h.wantFault(err, fault.WorkspaceNotFound)
	_, err = h.Workspace(h.ctx(), "ann", "young")
	h.ok(err)
}

func testAMissingWorkspaceIsCreatedForAWriterOnly(h *harness) {
	e := h.execution("ann")
	e.Options.Workspace = execution.WorkspaceUse{Name: "w", ReadOnly: true}
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.wantFault(err, fault.InvalidRequest)
	e.Options.Workspace.ReadOnly = false
	_, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{Workspaces: 1})
	h.ok(err)
	h.equal(h.tree("ann", "w"), map[string]string{})
	h.equal(h.get(e.ID).Options.Workspace, e.Options.Workspace)
	e = h.execution("ann")
	e.Options.Workspace.Name = "v"
	_, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{Workspaces: 1})
	h.wantFault(err, fault.Conflict)
}

func testAReplayDoesNotQueueForAWorkspace(h *harness) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	var ids []execution.ID
	for range 2 {
		e := h.execution("ann")
		e.Options.Workspace.Name = "w"
		stored, _, err := h.Enqueue(h.ctx(), e, key, execution.QueueLimits{})
		h.ok(err)
		ids = append(ids, stored.ID)
	}
	h.equal(ids[0], ids[1])
	h.start(ids[0])
	h.finish(ids[0], nil)
	h.equal(h.claim(), execution.ID(""))
}
