package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// pieceSize is the number of bytes in one piece of a blob. Each piece is a write of its own, so that no other write
// waits for a whole blob.
const pieceSize = 256 << 10

// downloadPiece is the number of bytes that a reader of a blob holds.
const downloadPiece = 64 << 10

// BlobWriter writes one blob. It is used by one goroutine. The bytes become durable with the next durable write, which
// is the one that refers to the blob.
type BlobWriter struct {
	store *Store
	// an io.Writer has no other way to get it; it lives as long as the call that made the writer
	ctx    context.Context //nolint:containedctx
	id     int64
	size   int64 // bytes written to the store
	sum    hash.Hash
	buffer []byte // bytes not yet written to the store
}

// NewBlob begins a blob. A blob that no row refers to is removed by Sweep.
func (s *Store) NewBlob(ctx context.Context) (*BlobWriter, error) {
	w := &BlobWriter{store: s, ctx: ctx, sum: sha256.New(), buffer: make([]byte, 0, pieceSize)}
	err := s.writer.do(ctx, "begin blob", volatile, func(ctx context.Context, t *tx) (events, error) {
		return events{}, t.row(ctx, `INSERT INTO blobs (made_at) VALUES (?) RETURNING id`, unixNano(time.Now())).
			Scan(&w.id)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Write adds p to the blob. After a fault SERVICE_UNAVAILABLE the blob is unusable.
func (w *BlobWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := min(pieceSize-len(w.buffer), len(p))
		w.buffer, p = append(w.buffer, p[:n]...), p[n:]
		if len(w.buffer) == pieceSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (w *BlobWriter) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	err := w.store.writer.do(w.ctx, "write blob", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `INSERT INTO pieces (blob, at, piece) VALUES (?, ?, ?)`, w.id, w.size, w.buffer)
		return events{}, err
	})
	if err != nil {
		return err
	}
	_, _ = w.sum.Write(w.buffer)
	w.size += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	return nil
}

// Close completes the blob, which then never changes. It returns ErrStale if Sweep has removed the blob.
func (w *BlobWriter) Close() (execution.Blob, error) {
	if err := w.flush(); err != nil {
		return execution.Blob{}, err
	}
	b := execution.Blob{ID: w.id, Size: w.size, Sum: [sha256.Size]byte(w.sum.Sum(nil))}
	err := w.store.writer.do(w.ctx, "end blob", volatile, func(ctx context.Context, t *tx) (events, error) {
		n, err := t.exec(ctx, `UPDATE blobs SET size = ?, sum = ? WHERE id = ?`, b.Size, b.Sum[:], b.ID)
		if err == nil && n == 0 {
			err = ErrStale
		}
		return events{}, err
	})
	return b, err
}

// Abandon deletes the bytes written, unless a row refers to the blob already.
func (w *BlobWriter) Abandon() { w.store.discard(w.ctx, []int64{w.id}) }

// Blob returns a reader of a complete blob. The reader is used by one goroutine and holds at most 64 KiB of it in memory.
// Its reads return the faults SERVICE_UNAVAILABLE, and EXECUTION_NOT_FOUND if the blob was removed meanwhile.
func (s *Store) Blob(ctx context.Context, b execution.Blob) io.ReadSeeker {
	return io.NewSectionReader(&blobReader{store: s, ctx: ctx, blob: b}, 0, b.Size)
}

type blobReader struct {
	store *Store
	ctx   context.Context //nolint:containedctx // an io.ReaderAt has no other way to get it
	blob  execution.Blob
	piece []byte // the last piece read
	from  int64  // offset of its first byte
}

// ReadAt implements io.ReaderAt.
func (r *blobReader) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) && at < r.blob.Size {
		if at < r.from || at >= r.from+int64(len(r.piece)) {
			if err := r.load(at); err != nil {
				return n, err
			}
		}
		got := copy(p[n:], r.piece[at-r.from:])
		n, at = n+got, at+int64(got)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *blobReader) load(at int64) error {
	r.from = at
	err := r.store.readers.row(r.ctx, `SELECT substr(piece, ?1 - at + 1, ?3) FROM pieces WHERE blob = ?2 AND at <= ?1
		ORDER BY at DESC LIMIT 1`,
		at, r.blob.ID, downloadPiece).Scan(&r.piece)
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(r.piece) == 0 {
		r.piece = nil
		return fault.New(fault.ExecutionNotFound, "The file was removed meanwhile.").
			Because(fmt.Errorf("blob %d has nothing at %d", r.blob.ID, at))
	}
	return wrapError("read blob", err)
}

// unreferenced returns the condition that no row refers to the blob with the given id.
func unreferenced(id string) string {
	return strings.ReplaceAll(` AND NOT EXISTS (SELECT 1 FROM entries WHERE blob = $)
		AND NOT EXISTS (SELECT 1 FROM snapshots WHERE blob = $)
		AND NOT EXISTS (SELECT 1 FROM artifacts WHERE blob = $)`, "$", id)
}

// A row may come to refer to a blob between the search and the deletion, so the deletion repeats the condition. The
// search reads all blobs, but it runs on a reader, so no write waits for it.
var (
	selectUnreferenced = `SELECT id FROM blobs WHERE made_at < ?` + unreferenced("blobs.id") + ` LIMIT ? + 0`
	deleteUnreferenced = `DELETE FROM blobs WHERE id IN (SELECT value FROM json_each(?))` + unreferenced("blobs.id")
)

// Sweep implements upkeep.Store. It removes the blobs left by a broken-off write, by a crash or by Remove.
func (s *Store) Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error) {
	unreferencedIDs, err := collect(ctx, s.readers, "find unreferenced blobs",
		func(r scanner) (id int64, err error) { return id, r.Scan(&id) },
		selectUnreferenced, unixNano(made), limit)
	if err != nil || len(unreferencedIDs) == 0 {
		return 0, err
	}
	return s.removeInBatches(ctx, "sweep blobs", len(unreferencedIDs),
		func(ctx context.Context, t *tx, n int) (int64, error) {
			ids, _ := json.Marshal(unreferencedIDs[:n]) // numbers always marshal
			unreferencedIDs = unreferencedIDs[n:]
			gone, err := t.exec(ctx, deleteUnreferenced, string(ids))
			return gone, err
		})
}
