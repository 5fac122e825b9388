package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/store"
)

// noise is n bytes in which no two places look alike.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func keep(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir(), store.Defaults(), silent())
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

func TestABlobIsReadAsItWasWritten(t *testing.T) {
	s := keep(t)
	for _, size := range []int{0, 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, 1<<20 + 12345} {
		content := noise(size)
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

func TestABlobIsReadFromAnywhere(t *testing.T) {
	s := keep(t)
	content := noise(1 << 20)
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

func TestWhatNobodyHoldsIsSweptAway(t *testing.T) {
	s := keep(t)
	whole := writeBlob(t, s, noise(600_000), 1<<20)
	half, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := half.Write(noise(600_000)); err != nil {
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
	if _, err := half.Write(noise(600_000)); err == nil {
		t.Error("what was removed was written to")
	}
	if _, err := half.Close(); err == nil {
		t.Error("what was removed was ended")
	}
}
