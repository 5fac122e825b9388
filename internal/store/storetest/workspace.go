package storetest

import (
	"io"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func workspaceTests() map[string]func(*house) {
	return map[string]func(*house){
		"AFileIsReadAsItWasPut":                           aFileIsReadAsItWasPut,
		"PutMakesWhatIsAbove":                             putMakesWhatIsAbove,
		"PutKeepsToTheLimits":                             putKeepsToTheLimits,
		"APutMayHaveACondition":                           aPutMayHaveACondition,
		"DeleteTakesAllThatIsBelow":                       deleteTakesAll,
		"WhatIsReplacedIsGone":                            whatIsReplacedIsGone,
		"WorkspacesBelongToTheirSubject":                  workspacesBelong,
		"OneExecutionAtATimeChangesAWorkspace":            oneAtATime,
		"WhoeverEndsLetsTheNextGo":                        whoeverEndsLetsTheNextGo,
		"ARequeueKeepsTheTurn":                            aRequeueKeepsTheTurn,
		"TheTurnOutlivesARestart":                         theTurnOutlivesARestart,
		"WhoIsHeldBackCountsAsQueued":                     whoIsHeldBackCounts,
		"AReaderIsNeverHeldBackAndKeepsWhatItWasGiven":    aReaderKeeps,
		"WhatAProgramLeavesIsKeptWithItsEnd":              whatAProgramLeaves,
		"OnlyWhoChangesAWorkspaceLeavesSomethingInIt":     onlyWhoChanges,
		"NobodyElseChangesAWorkspaceThatIsBeingChanged":   nobodyElseChanges,
		"AWorkspaceThatIsUsedStays":                       aWorkspaceThatIsUsedStays,
		"IdleWorkspacesGo":                                idleWorkspacesGo,
		"AWorkspaceThatIsNotThereIsMadeOrCannotBeRead":    aWorkspaceThatIsNotThere,
		"AnIdempotentRepetitionDoesNotQueueForAWorkspace": anIdempotentRepetition,
	}
}

// blob keeps text.
func (h *house) blob(text string) execution.Blob {
	h.t.Helper()
	w, err := h.NewBlob(h.ctx())
	h.ok(err)
	_, err = w.Write([]byte(text))
	h.ok(err)
	b, err := w.Close()
	h.ok(err)
	return b
}

func (h *house) file(path, text string) execution.Entry {
	h.t.Helper()
	return execution.Entry{Path: path, Kind: execution.EntryFile, Mode: 0o640, Blob: h.blob(text), ModifiedAt: h.now}
}

var (
	always    execution.Condition
	unlimited execution.WorkspaceLimits
)

// put lays files with their path as content into ann's workspace w.
func (h *house) put(paths ...string) {
	h.t.Helper()
	for _, path := range paths {
		_, err := h.Put(h.ctx(), "ann", "w", h.file(path, path), always, unlimited)
		h.ok(err)
	}
}

// tree reads all of a workspace: the content of files, "/" for a directory.
func (h *house) tree(subject, name string) map[string]string {
	h.t.Helper()
	entries, err := h.Entries(h.ctx(), subject, name, "", "", 1000)
	h.ok(err)
	return h.contents(entries)
}

func (h *house) contents(entries []execution.Entry) map[string]string {
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

// using stores an execution of ann's that uses workspace w.
func (h *house) using(readOnly bool) execution.ID {
	h.t.Helper()
	e := h.execution("ann")
	e.Options.Workspace = execution.WorkspaceUse{Name: "w", ReadOnly: readOnly}
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.ok(err)
	return e.ID
}

// start claims the next execution, which is to be id, and starts it.
func (h *house) start(id execution.ID) {
	h.t.Helper()
	h.same(h.claim(), id)
	h.ok(h.Start(h.ctx(), id, h.run()))
}

// end ends a running execution, with what it left.
func (h *house) end(id execution.ID, left *execution.WorkspaceResult) {
	h.t.Helper()
	r := h.result(execution.Failed, execution.Exited)
	r.Workspace = left
	h.ok(h.Finish(h.ctx(), id, r, h.delivery()))
}

func aFileIsReadAsItWasPut(h *house) {
	e := h.file("a/b\nc/ü", "content")
	replaced, err := h.Put(h.ctx(), "ann", "w", e, always, unlimited)
	h.ok(err)
	h.same(replaced, false)
	got, err := h.Entry(h.ctx(), "ann", "w", e.Path)
	h.ok(err)
	h.same(got, e)
	h.restart()
	h.same(h.tree("ann", "w"), map[string]string{"a": "/", "a/b\nc": "/", "a/b\nc/ü": "content"})
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.same(w, execution.Workspace{Name: "w", CreatedAt: h.now, UsedAt: h.now, Size: 7, Entries: 3})
	_, err = h.Entry(h.ctx(), "ann", "w", "a/c")
	h.fault(err, fault.FileNotFound)
	_, err = h.Entry(h.ctx(), "ann", "v", "a")
	h.fault(err, fault.WorkspaceNotFound)
	_, err = h.Entries(h.ctx(), "ann", "v", "", "", 9)
	h.fault(err, fault.WorkspaceNotFound)
	page, err := h.Entries(h.ctx(), "ann", "w", "a/", "a/b\nc", 9)
	h.ok(err)
	h.same(len(page), 1)
}

func putMakesWhatIsAbove(h *house) {
	h.put("f", "d/e/g")
	_, err := h.Put(h.ctx(), "ann", "w", h.file("f/below", "x"), always, unlimited)
	h.fault(err, fault.Conflict)
	_, err = h.Put(h.ctx(), "ann", "w", h.file("d/e", "x"), always, unlimited)
	h.fault(err, fault.Conflict)
	replaced, err := h.Put(h.ctx(), "ann", "w", execution.Entry{Path: "d/e", Kind: execution.EntryDir, ModifiedAt: h.now}, always, unlimited)
	h.ok(err)
	h.same(replaced, true)
	h.same(h.tree("ann", "w"), map[string]string{"f": "f", "d": "/", "d/e": "/", "d/e/g": "d/e/g"})
}

func putKeepsToTheLimits(h *house) {
	limits := execution.WorkspaceLimits{Size: 10, Entries: 3, Count: 2, Total: 15}
	put := func(name, path, text string) error {
		_, err := h.Put(h.ctx(), "ann", name, h.file(path, text), always, limits)
		return err
	}
	h.ok(put("w", "a", "0123456789"))
	h.fault(put("w", "b", "x"), fault.PayloadTooLarge)
	h.ok(put("w", "a", "01234567")) // less than before
	h.ok(put("w", "d/b", "x"))
	h.fault(put("w", "c", ""), fault.PayloadTooLarge)
	h.ok(put("v", "a", "123456"))
	h.fault(put("v", "b", "x"), fault.PayloadTooLarge)
	h.fault(put("u", "b", "x"), fault.Conflict)
	h.same(h.tree("ann", "w"), map[string]string{"a": "01234567", "d": "/", "d/b": "x"})
	h.same(h.tree("ann", "v"), map[string]string{"a": "123456"})
	size, err := h.OtherWorkspacesSize(h.ctx(), "ann", "w")
	h.ok(err)
	h.same(size, int64(6))
}

func aPutMayHaveACondition(h *house) {
	h.put("a")
	put := func(path string, only execution.Condition) error {
		_, err := h.Put(h.ctx(), "ann", "w", h.file(path, path), only, unlimited)
		return err
	}
	sum := h.blob("a").Sum
	h.fault(put("a", execution.Condition{Absent: true}), fault.PreconditionFailed)
	h.fault(put("b", execution.Condition{Exists: true}), fault.PreconditionFailed)
	h.fault(put("b", execution.Condition{Sums: [][32]byte{sum}}), fault.PreconditionFailed)
	h.fault(put("a", execution.Condition{Sums: [][32]byte{{1}}}), fault.PreconditionFailed)
	h.fault(h.Delete(h.ctx(), "ann", "w", "a", execution.Condition{Sums: [][32]byte{{1}}}, h.now), fault.PreconditionFailed)
	h.ok(put("a", execution.Condition{Sums: [][32]byte{{1}, sum}}))
	h.ok(put("a", execution.Condition{Exists: true}))
	h.ok(put("b", execution.Condition{Absent: true}))
}

func deleteTakesAll(h *house) {
	h.put("a", "d/b", "d/e/c", "d0", "d-")
	h.ok(h.Delete(h.ctx(), "ann", "w", "d", always, h.now))
	h.same(h.tree("ann", "w"), map[string]string{"a": "a", "d0": "d0", "d-": "d-"})
	h.fault(h.Delete(h.ctx(), "ann", "w", "d", always, h.now), fault.FileNotFound)
	h.fault(h.Delete(h.ctx(), "ann", "v", "d", always, h.now), fault.WorkspaceNotFound)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.same([]int64{w.Size, int64(w.Entries)}, []int64{5, 3})
}

// unreadable tells whether nothing is left of a blob.
func (h *house) unreadable(b execution.Blob) bool {
	_, err := io.ReadAll(h.Blob(h.ctx(), b))
	return fault.Of(err).Code == fault.ExecutionNotFound
}

func whatIsReplacedIsGone(h *house) {
	h.put("a", "d/b")
	a, err := h.Entry(h.ctx(), "ann", "w", "a")
	h.ok(err)
	b, err := h.Entry(h.ctx(), "ann", "w", "d/b")
	h.ok(err)
	h.put("a")
	h.same(h.unreadable(a.Blob), true)
	h.ok(h.Delete(h.ctx(), "ann", "w", "d", always, h.now))
	h.same(h.unreadable(b.Blob), true)
	a, err = h.Entry(h.ctx(), "ann", "w", "a")
	h.ok(err)
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.same(h.unreadable(a.Blob), false)
	h.ok(h.RemoveWorkspace(h.ctx(), "ann", "w"))
	h.same(h.unreadable(a.Blob), true)
	h.fault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.WorkspaceNotFound)
}

func workspacesBelong(h *house) {
	h.put("a")
	_, err := h.Put(h.ctx(), "bob", "w", h.file("b", "bob's"), always, unlimited)
	h.ok(err)
	_, err = h.Put(h.ctx(), "ann", "v", h.file("b", "b"), always, unlimited)
	h.ok(err)
	h.same(h.tree("bob", "w"), map[string]string{"b": "bob's"})
	_, err = h.Workspace(h.ctx(), "bob", "v")
	h.fault(err, fault.WorkspaceNotFound)
	var names []string
	for _, after := range []string{"", "v"} {
		list, err := h.Workspaces(h.ctx(), "ann", after, 1)
		h.ok(err)
		names = append(names, list[0].Name)
	}
	h.same(names, []string{"v", "w"})
}

func oneAtATime(h *house) {
	first, second := h.using(false), h.using(false)
	other := h.enqueue("ann")
	h.start(first)
	h.start(other) // behind the second in line, which is held back
	h.same(h.claim(), execution.ID(""))
	h.stale(h.Start(h.ctx(), second, h.run()))
	h.stale(h.Release(h.ctx(), second))
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.same(w.Writer, first)
	h.same(w.Waiting, 1)
	h.end(first, nil)
	h.start(second)
}

func whoeverEndsLetsTheNextGo(h *house) {
	gone := func(execution.Execution) (execution.Result, *execution.Delivery) {
		return h.result(execution.Cancelled, execution.WasCancelled), h.delivery()
	}
	first, second, third, fourth := h.using(false), h.using(false), h.using(false), h.using(false)
	_, err := h.Cancel(h.ctx(), second, h.now, gone) // held back: nobody else may go for it
	h.ok(err)
	h.same(h.claim(), first)
	h.same(h.claim(), execution.ID(""))
	_, err = h.Cancel(h.ctx(), first, h.now, gone) // claimed
	h.ok(err)
	h.quieten()
	h.same(h.claim(), third)
	h.ok(h.Finish(h.ctx(), third, h.result(execution.Failed, execution.StartFailed), h.delivery())) // it never ran
	select {
	case <-h.Queued():
	default:
		h.t.Error("nobody was told that the next one can go")
	}
	h.start(fourth)
	h.end(fourth, nil)
	h.start(h.using(false)) // nobody is left that could have it
}

func aRequeueKeepsTheTurn(h *house) {
	first, second := h.using(false), h.using(false)
	h.start(first)
	h.ok(h.Requeue(h.ctx(), first))
	h.same(h.claim(), first)
	h.same(h.claim(), execution.ID(""))
	h.ok(h.Release(h.ctx(), first))
	h.start(first)
	h.end(first, nil)
	h.start(second)
}

func theTurnOutlivesARestart(h *house) {
	first, second := h.using(false), h.using(false)
	h.same(h.claim(), first)
	h.restart()
	h.start(first)
	h.restart()
	h.same(h.claim(), execution.ID(""))
	h.ok(h.Adopt(h.ctx(), first))
	h.end(first, nil)
	h.start(second)
}

func whoIsHeldBackCounts(h *house) {
	h.using(false)
	h.using(false)
	for range 2 {
		_, _, err := h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{Total: 2})
		h.fault(err, fault.QueueFull)
		_, _, err = h.Enqueue(h.ctx(), h.execution("ann"), nil, execution.QueueLimits{PerSubject: 2})
		h.fault(err, fault.QueueFull)
		h.restart()
	}
}

func aReaderKeeps(h *house) {
	h.put("a", "b")
	writer, reader := h.using(false), h.using(true)
	late := h.using(true)
	h.start(writer)
	h.start(reader)
	h.end(writer, &execution.WorkspaceResult{Saved: true, Entries: []execution.Entry{h.file("a", "new")}})
	h.start(late)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.same(w.Readers, 2)
	given, err := h.Snapshot(h.ctx(), late)
	h.ok(err)
	h.same(h.contents(given), map[string]string{"a": "new"})
	before := h.blob("b") // the same content in another blob
	h.put("a")
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.same(h.unreadable(before), true)    // nobody held it
	h.same(h.contents(given)["a"], "new") // held by the late one, though it was replaced
	h.ok(h.ReleaseSnapshot(h.ctx(), late))
	_, err = h.Sweep(h.ctx(), time.Now().Add(time.Hour), 1000)
	h.ok(err)
	h.same(h.unreadable(given[0].Blob), true)
}

func whatAProgramLeaves(h *house) {
	h.put("same", "changed", "gone", "becomes/dir")
	id := h.using(false)
	h.start(id)
	before, err := h.Snapshot(h.ctx(), id)
	h.ok(err)
	same := before[len(before)-1]
	h.same(same.Path, "same")
	left := &execution.WorkspaceResult{Saved: true, Entries: []execution.Entry{
		same, h.file("changed", "other"), h.file("becomes", "a file"), h.file("new", "new"),
		{Path: "moved", Kind: execution.EntryFile, Mode: 0o700, Blob: same.Blob, ModifiedAt: h.now},
		{Path: "d", Kind: execution.EntryDir, ModifiedAt: h.now},
		{Path: "l", Kind: execution.EntryLink, Target: "d/x", ModifiedAt: h.now},
	}}
	h.end(id, left)
	want := map[string]string{"same": "same", "changed": "other", "becomes": "a file", "new": "new", "moved": "same", "d": "/", "l": "-> d/x"}
	h.same(h.tree("ann", "w"), want)
	w, err := h.Workspace(h.ctx(), "ann", "w")
	h.ok(err)
	h.same([]int64{w.Size, int64(w.Entries)}, []int64{4 + 5 + 6 + 3 + 4, 7})
	for _, e := range before {
		if e.Kind == execution.EntryFile {
			h.same(h.unreadable(e.Blob), e.Path != "same")
		}
	}
	lost := h.using(false)
	h.start(lost)
	h.end(lost, nil)
	h.same(h.tree("ann", "w"), want)
	last := h.using(false)
	h.start(last)
	h.end(last, &execution.WorkspaceResult{Saved: true})
	h.same(h.tree("ann", "w"), map[string]string{})
}

func onlyWhoChanges(h *house) {
	h.put("a")
	reader := h.using(true)
	h.start(reader)
	r := h.result(execution.Completed, execution.Exited)
	r.Workspace = &execution.WorkspaceResult{Saved: true}
	if err := h.Finish(h.ctx(), reader, r, h.delivery()); err == nil {
		h.t.Error("a reader emptied the workspace")
	}
	h.same(h.get(reader).State, execution.Running)
	h.same(h.tree("ann", "w"), map[string]string{"a": "a"})
}

func nobodyElseChanges(h *house) {
	h.put("a")
	id := h.using(false)
	h.same(h.claim(), id)
	h.put("b") // not before it runs
	h.ok(h.Start(h.ctx(), id, h.run()))
	_, err := h.Put(h.ctx(), "ann", "w", h.file("c", "c"), always, unlimited)
	h.fault(err, fault.Conflict)
	h.same(fault.Of(err).Details["execution_id"], any(id))
	h.fault(h.Delete(h.ctx(), "ann", "w", "a", always, h.now), fault.Conflict)
	h.same(h.tree("ann", "w"), map[string]string{"a": "a", "b": "b"})
	h.end(id, nil)
	h.put("c")
}

func aWorkspaceThatIsUsedStays(h *house) {
	h.put("a")
	for _, readOnly := range []bool{true, false} {
		id := h.using(readOnly)
		h.fault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.Conflict)
		h.start(id)
		h.fault(h.RemoveWorkspace(h.ctx(), "ann", "w"), fault.Conflict)
		removed, err := h.RemoveIdle(h.ctx(), h.now.Add(time.Hour), 10)
		h.ok(err)
		h.same(removed, 0)
		h.end(id, nil)
	}
	h.ok(h.RemoveWorkspace(h.ctx(), "ann", "w"))
}

func idleWorkspacesGo(h *house) {
	h.put("a")
	used := h.now
	h.now = h.now.Add(time.Hour)
	_, err := h.Put(h.ctx(), "ann", "young", h.file("a", "a"), always, unlimited)
	h.ok(err)
	removed, err := h.RemoveIdle(h.ctx(), used, 10)
	h.ok(err)
	h.same(removed, 0)
	removed, err = h.RemoveIdle(h.ctx(), used.Add(time.Minute), 10)
	h.ok(err)
	h.same(removed, 1)
	_, err = h.Workspace(h.ctx(), "ann", "w")
	h.fault(err, fault.WorkspaceNotFound)
	_, err = h.Workspace(h.ctx(), "ann", "young")
	h.ok(err)
}

func aWorkspaceThatIsNotThere(h *house) {
	e := h.execution("ann")
	e.Options.Workspace = execution.WorkspaceUse{Name: "w", ReadOnly: true}
	_, _, err := h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{})
	h.fault(err, fault.InvalidRequest)
	e.Options.Workspace.ReadOnly = false
	_, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{Workspaces: 1})
	h.ok(err)
	h.same(h.tree("ann", "w"), map[string]string{})
	h.same(h.get(e.ID).Options.Workspace, e.Options.Workspace)
	e = h.execution("ann")
	e.Options.Workspace.Name = "v"
	_, _, err = h.Enqueue(h.ctx(), e, nil, execution.QueueLimits{Workspaces: 1})
	h.fault(err, fault.Conflict)
}

func anIdempotentRepetition(h *house) {
	key := &execution.Idempotency{Key: "k", Fingerprint: "f"}
	var ids []execution.ID
	for range 2 {
		e := h.execution("ann")
		e.Options.Workspace.Name = "w"
		stored, _, err := h.Enqueue(h.ctx(), e, key, execution.QueueLimits{})
		h.ok(err)
		ids = append(ids, stored.ID)
	}
	h.same(ids[0], ids[1])
	h.start(ids[0])
	h.end(ids[0], nil)
	h.same(h.claim(), execution.ID(""))
}
