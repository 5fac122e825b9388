package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/store"
)

// randomBytes returns n bytes without repetitions.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func writeBlob(t *testing.T, s *store.Store, content []byte, chunk int) execution.Blob {
	t.Helper()
	w, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for rest := content; len(rest) > 0; {
		n := min(chunk, len(rest))
		if wrote, err := w.Write(rest[:n]); wrote != n || err != nil {
			t.Fatalf("wrote %d of %d: %v", wrote, n, err)
		}
		rest = rest[n:]
	}
	b, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABlobReadsBackAsWritten(t *testing.T) {
	s := openStore(t)
	for _, size := range []int{0, 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 + 12345} {
		content := randomBytes(size)
		for _, chunk := range []int{4096, 100_000, 1 << 20} {
			b := writeBlob(t, s, content, chunk)
			if b.Size != int64(size) || b.Sum != sha256.Sum256(content) {
				t.Errorf("%d bytes in chunks of %d: got %+v", size, chunk, b)
			}
			if got, err := io.ReadAll(s.Blob(t.Context(), b)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes in chunks of %d: read %d, %v", size, chunk, len(got), err)
			}
		}
	}
}

func TestABlobIsReadFromAnyOffset(t *testing.T) {
	s := openStore(t)
	content := randomBytes(1 << 20)
	r := s.Blob(t.Context(), writeBlob(t, s, content, 1<<20))
	for _, at := range []int64{1 << 19, 0, 256<<10 - 1, 1<<20 - 1} {
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, min(1000, 1<<20-at))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, content[at:at+int64(len(got))]) {
			t.Errorf("from %d: %v, or the bytes differ", at, err)
		}
	}
}

func TestSweepRemovesUnreferencedBlobs(t *testing.T) {
	s := openStore(t)
	whole := writeBlob(t, s, randomBytes(600_000), 1<<20)
	half, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Write(randomBytes(600_000)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), 10); n != 0 || err != nil {
		t.Errorf("swept %d that are young, %v", n, err)
	}
	if n, err := s.Sweep(t.Context(), time.Now(), 1); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want as many as asked for", n, err)
	}
	if n, err := s.Sweep(t.Context(), time.Now(), 10); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want the other", n, err)
	}
	var f *fault.Error
	if _, err := io.ReadAll(s.Blob(t.Context(), whole)); !errors.As(err, &f) || f.Code != fault.ExecutionNotFound {
		t.Errorf("reading what was removed: %v", err)
	}
	if _, err := half.Write(randomBytes(600_000)); err == nil {
		t.Error("what was removed was written to")
	}
	if _, err := half.Close(); err == nil {
		t.Error("what was removed was ended")
	}
}

// storeEnded stores an ended execution with artifacts.
func storeEnded(t *testing.T, s *store.Store, at time.Time, a *execution.Artifacts) execution.ID {
	t.Helper()
	e := execution.Execution{
		ID: execution.NewID(at), Subject: "ann", Language: "play", Timeout: time.Hour,
		CreatedAt: at, State: execution.Queued,
	}
	if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	r := execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: at, Artifacts: a}
	if err := s.Finish(t.Context(), e.ID, r, nil); err != nil {
		t.Fatal(err)
	}
	return e.ID
}

func TestArtifactsAreKeptAsLongAsTheirExecution(t *testing.T) {
	s := openStore(t)
	at := time.Now().UTC()
	content := randomBytes(300_000)
	want := &execution.Artifacts{
		Files: []execution.Artifact{
			{Path: "a\nb", Mode: 0o644, Blob: writeBlob(t, s, content, 1<<20)},
			{Path: "b/c", Mode: 0o755, Blob: writeBlob(t, s, nil, 1)},
		},
		Omissions: execution.Omissions{
			Omitted: []execution.Omission{{Path: "x", Reason: "size"}}, Count: 7,
			Cut: "time",
		},
	}
	id := storeEnded(t, s, at, want)
	stray := writeBlob(t, s, content, 1<<20)
	if n, err := s.Sweep(t.Context(), time.Now(), 10); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want the stray alone", n, err)
	}
	if _, err := io.ReadAll(s.Blob(t.Context(), stray)); err == nil {
		t.Error("the stray is there")
	}
	got, err := s.Artifacts(t.Context(), id)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
	one, found, err := s.Artifact(t.Context(), id, "a\nb")
	if diff := cmp.Diff(want.Files[0], one); diff != "" || !found || err != nil {
		t.Errorf("%v, %v, (-want +got)\n%s", found, err, diff)
	}
	if text, err := io.ReadAll(s.Blob(t.Context(), one.Blob)); err != nil || !bytes.Equal(text, content) {
		t.Errorf("read %d bytes, %v, want the file", len(text), err)
	}
	if _, found, err := s.Artifact(t.Context(), id, "a"); found || err != nil {
		t.Errorf("another path: %v, %v, want none", found, err)
	}
	if n, err := s.Remove(t.Context(), at.Add(time.Second), at, 10); n != 1 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
	if n, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), 10); n != 2 || err != nil {
		t.Errorf("swept %d, %v, want both at once, young as they are", n, err)
	}
	if _, err := s.Artifacts(t.Context(), id); fault.Of(err).Code != fault.ExecutionNotFound {
		t.Errorf("got %v, want %s", err, fault.ExecutionNotFound)
	}
}

func TestArtifactsDistinguishNoneRequestedFromNoneLeft(t *testing.T) {
	s := openStore(t)
	for _, want := range []*execution.Artifacts{nil, {}} {
		got, err := s.Artifacts(t.Context(), storeEnded(t, s, time.Now(), want))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v, (-want +got)\n%s", err, diff)
		}
	}
}

func TestFinishRefusesARemovedBlob(t *testing.T) {
	s := openStore(t)
	gone := writeBlob(t, s, randomBytes(10), 10)
	if _, err := s.Sweep(t.Context(), time.Now(), 10); err != nil {
		t.Fatal(err)
	}
	half, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Write(randomBytes(300_000)); err != nil {
		t.Fatal(err)
	}
	e := execution.Execution{
		ID: execution.NewID(time.Now()), Subject: "ann", Language: "play", Timeout: time.Hour,
		CreatedAt: time.Now(), State: execution.Queued,
	}
	if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []int64{gone.ID, gone.ID + 1} {
		r := execution.Result{
			State: execution.Failed, Reason: execution.StartFailed, CompletedAt: time.Now(),
			Artifacts: &execution.Artifacts{
				Files: []execution.Artifact{{Path: "a", Blob: execution.Blob{ID: id}}},
			},
		}
		if err := s.Finish(t.Context(), e.ID, r, nil); !errors.Is(err, execution.ErrBlobGone) {
			t.Errorf("blob %d: got %v, want %v", id, err, execution.ErrBlobGone)
		}
	}
	if after, err := s.Get(t.Context(), e.ID); err != nil || after.State != execution.Queued {
		t.Errorf("got %s, %v, want it as it was", after.State, err)
	}
}
