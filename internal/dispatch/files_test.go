package dispatch_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/dispatch"
	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox/sandboxtest"
)

// artifacts returns the artifacts of an execution, each as "path content", and its omissions.
func (h *harness) artifacts(id execution.ID) (files []string, omissions execution.Omissions) {
	h.t.Helper()
	a, err := h.store.Artifacts(h.t.Context(), id)
	if err != nil || a == nil {
		h.t.Fatalf("got %v, %v, want the artifacts", a, err)
	}
	for _, f := range a.Files {
		text, err := io.ReadAll(h.store.Blob(h.t.Context(), f.Blob))
		if err != nil {
			h.t.Fatal(err)
		}
		files = append(files, f.Path+" "+string(text))
	}
	return files, a.Omissions
}

func (h *harness) expectArtifacts(id execution.ID, want []string, omissions execution.Omissions) {
	h.t.Helper()
	files, got := h.artifacts(id)
	if diff := cmp.Diff(want, files) + cmp.Diff(omissions, got); diff != "" {
		h.t.Errorf("-want +got\n%s", diff)
	}
}

// removeUnusedBlobs removes all blobs that no result refers to and returns their number.
func (h *harness) removeUnusedBlobs() int {
	h.t.Helper()
	n, err := h.store.Sweep(h.t.Context(), time.Now().Add(time.Hour), 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestFilesAreStoredWithTheResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		defer h.shutdown()
		large := strings.Repeat("x", 1<<20)
		leave := []sandboxtest.Step{
			sandboxtest.Leave("b", large), sandboxtest.Leave("a", ""), sandboxtest.Leave("c", "too much"),
			sandboxtest.Leave("other", ""),
		}
		omitted := execution.Omissions{Omitted: []execution.Omission{{Path: "c", Reason: journal.OmitSize}}, Count: 1}
		for reason, last := range map[execution.Reason]sandboxtest.Step{
			execution.Exited: sandboxtest.Exit(3), execution.Signaled: sandboxtest.Die(9),
			execution.TimedOut: sandboxtest.Hang(),
		} {
			id := h.submitFor([]string{"?"}, append(leave, last)...)
			if e := h.ended(id); e.Result.Reason != reason {
				t.Errorf("got %s, want %s", e.Result.Reason, reason)
			}
			h.expectArtifacts(id, []string{"a ", "b " + large}, omitted)
		}
		if n := h.removeUnusedBlobs(); n != 0 {
			t.Errorf("%d blobs belong to no result", n)
		}
	})
}

func TestAResultWithoutArtifactsSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		script sandboxtest.Script
		globs  []string
		steps  []sandboxtest.Step
		cancel bool
		want   *execution.Artifacts
	}{
		"not requested": {steps: []sandboxtest.Step{sandboxtest.Leave("a", "x")}},
		"no file":       {globs: []string{"a"}, want: &execution.Artifacts{}},
		"lost": {
			globs: []string{"a"}, script: sandboxtest.Script{Unproven: true},
			want: &execution.Artifacts{Omissions: execution.Omissions{Cut: execution.CutLost}},
		},
		"cancelled": {
			globs: []string{"a"}, cancel: true,
			steps: []sandboxtest.Step{sandboxtest.Leave("a", "x"), sandboxtest.Hang()},
			want:  &execution.Artifacts{Omissions: execution.Omissions{Cut: journal.CutStopped}},
		},
		"never prepared": {
			globs: []string{"a"}, script: sandboxtest.Script{Images: []string{}}, want: &execution.Artifacts{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, 1, sandboxtest.New(c.script))
				h.start()
				defer h.shutdown()
				id := h.submitFor(c.globs, c.steps...)
				if c.cancel {
					synctest.Wait()
					if _, err := h.store.Cancel(t.Context(), id, time.Now(), payload.Cancelled); err != nil {
						t.Fatal(err)
					}
				}
				h.ended(id)
				got, err := h.store.Artifacts(t.Context(), id)
				if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
					t.Errorf("%v, (-want +got)\n%s", err, diff)
				}
			})
		})
	}
}

func TestACancelledQueuedExecutionHasNoArtifacts(t *testing.T) {
	e := execution.Execution{Options: execution.Options{Artifacts: []string{"a"}}}
	if r, _ := payload.Cancelled(e); r.Artifacts == nil || len(r.Artifacts.Files) > 0 {
		t.Errorf("got %+v, want an empty list", r.Artifacts)
	}
}

func TestFilesAreStoredAgainAfterAFailureOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		var asked atomic.Int32
		h.blobs = func(ctx context.Context) (dispatch.BlobWriter, error) {
			switch asked.Add(1) {
			case 2: // the second file; the first is stored
				return nil, errors.New("disk full")
			case 3:
				w, err := h.store.NewBlob(ctx)
				return failingBlob{w}, err
			}
			return h.store.NewBlob(ctx)
		}
		h.start()
		defer h.shutdown()
		id := h.submitFor([]string{"*"}, sandboxtest.Out("out"),
			sandboxtest.Leave("a", "1"), sandboxtest.Leave("b", "2"), sandboxtest.Leave("c", "3"))
		h.expect(h.ended(id), execution.Completed, execution.Exited, "out")
		h.expectArtifacts(id, []string{"a 1", "b 2", "c 3"}, execution.Omissions{})
		// a once, b three times, c once: no file is stored twice.
		if n := asked.Load(); n != 5 {
			t.Errorf("%d blobs were begun, want 5", n)
		}
	})
}

// failingBlob accepts all bytes and then fails to close.
type failingBlob struct{ dispatch.BlobWriter }

func (failingBlob) Close() (execution.Blob, error) { return execution.Blob{}, errors.New("disk full") }

// sweepingStore removes the blobs of an execution just before its first result.
type sweepingStore struct {
	dispatch.Store
	sweep func()
	done  atomic.Bool
}

func (s *sweepingStore) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	if s.done.CompareAndSwap(false, true) {
		s.sweep()
	}
	return s.Store.Finish(ctx, id, r, d)
}

func TestRemovedBlobsAreReadFromTheJournalAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.wrap = func(s dispatch.Store) dispatch.Store {
			return &sweepingStore{Store: s, sweep: func() {
				if n := h.removeUnusedBlobs(); n != 2 {
					t.Errorf("%d blobs were removed, want 2", n)
				}
			}}
		}
		h.start()
		defer h.shutdown()
		id := h.submitFor([]string{"*"}, sandboxtest.Leave("a", "1"), sandboxtest.Leave("b", "2"))
		h.expect(h.ended(id), execution.Completed, execution.Exited, "")
		h.expectArtifacts(id, []string{"a 1", "b 2"}, execution.Omissions{})
		if n := h.containers(); n != 0 {
			t.Errorf("%d containers are left", n)
		}
	})
}

func TestFilesOfAnAdoptedRunAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, 1, sandboxtest.New(sandboxtest.Script{}))
		h.start()
		id := h.submitFor([]string{"*"}, sandboxtest.Sleep(time.Minute), sandboxtest.Leave("a", "1"))
		synctest.Wait()
		h.shutdown()
		time.Sleep(time.Hour)
		h.start()
		defer h.shutdown()
		h.ended(id)
		h.expectArtifacts(id, []string{"a 1"}, execution.Omissions{})
	})
}
