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

// pieceSize is how much of a blob is written at a time, so that no other write waits for the whole of it.
const pieceSize = 256 << 10

// BlobWriter writes one blob. It is used by one goroutine. What was written becomes durable with the next write that is:
// the one that says who holds the blob.
type BlobWriter struct {
	store *Store
	ctx   context.Context //nolint:containedctx // an io.Writer has no other way to get it; it lives as long as the call that made it
	id    int64
	size  int64 // written to the store
	sum   hash.Hash
	rest  []byte // not yet written
}

// NewBlob begins a blob. Until Close it is nobody's, and removed like all that nobody holds.
func (s *Store) NewBlob(ctx context.Context) (*BlobWriter, error) {
	w := &BlobWriter{store: s, ctx: ctx, sum: sha256.New(), rest: make([]byte, 0, pieceSize)}
	err := s.writer.do(ctx, "begin blob", volatile, func(ctx context.Context, t *tx) (events, error) {
		return events{}, t.row(ctx, `INSERT INTO blobs (made_at) VALUES (?) RETURNING id`, stamp(time.Now())).Scan(&w.id)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Write adds p to the blob. Errors: SERVICE_UNAVAILABLE; then the blob is of no use.
func (w *BlobWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		room := min(pieceSize-len(w.rest), len(p))
		w.rest, p = append(w.rest, p[:room]...), p[room:]
		if len(w.rest) == pieceSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *BlobWriter) flush() error {
	if len(w.rest) == 0 {
		return nil
	}
	err := w.store.writer.do(w.ctx, "write blob", volatile, func(ctx context.Context, t *tx) (events, error) {
		_, err := t.exec(ctx, `INSERT INTO pieces (blob, at, piece) VALUES (?, ?, ?)`, w.id, w.size, w.rest)
		return events{}, err
	})
	if err != nil {
		return err
	}
	_, _ = w.sum.Write(w.rest)
	w.size += int64(len(w.rest))
	w.rest = w.rest[:0]
	return nil
}

// Close ends the blob and says what it is. After it the blob does not change. Errors: ErrStale when it was swept away.
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

// Abandon throws away what was written, unless somebody holds it already.
func (w *BlobWriter) Abandon() { w.store.discard(w.ctx, []int64{w.id}) }

// Blob reads a blob that is whole: sequentially, or from anywhere. It is used by one goroutine, and holds one piece of the
// content at most. Errors of its reads: SERVICE_UNAVAILABLE, and EXECUTION_NOT_FOUND when the blob was removed meanwhile.
func (s *Store) Blob(ctx context.Context, b execution.Blob) io.ReadSeeker {
	return io.NewSectionReader(&blobReader{store: s, ctx: ctx, blob: b}, 0, b.Size)
}

type blobReader struct {
	store *Store
	ctx   context.Context //nolint:containedctx // an io.ReaderAt has no other way to get it
	blob  execution.Blob
	piece []byte // the one that was read last
	from  int64  // where it begins
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
	err := r.store.readers.row(r.ctx, `SELECT at, piece FROM pieces WHERE blob = ? AND at <= ? ORDER BY at DESC LIMIT 1`,
		r.blob.ID, at).Scan(&r.from, &r.piece)
	if errors.Is(err, sql.ErrNoRows) || err == nil && at >= r.from+int64(len(r.piece)) {
		r.piece = nil
		return fault.New(fault.ExecutionNotFound, "The file was removed meanwhile.").
			Because(fmt.Errorf("blob %d has nothing at %d", r.blob.ID, at))
	}
	return explain("read blob", err)
}

// unheld is the condition that nobody holds a blob.
func unheld(id string) string {
	return strings.ReplaceAll(` AND NOT EXISTS (SELECT 1 FROM entries WHERE blob = $) AND NOT EXISTS (SELECT 1 FROM snapshots WHERE blob = $)
		AND NOT EXISTS (SELECT 1 FROM artifacts WHERE blob = $)`, "$", id)
}

// A blob that is nobody's may become somebody's before it is removed, so that is asked twice. The walk over all that are
// there is a reader's: no write waits for it.
var (
	selectLoose = `SELECT id FROM blobs WHERE made_at < ?` + unheld("blobs.id") + ` LIMIT ? + 0`
	deleteLoose = `DELETE FROM blobs WHERE id IN (SELECT value FROM json_each(?))` + unheld("blobs.id")
)

// Sweep removes up to limit blobs that nobody holds and that were begun before made: what a write that broke off, a crash or
// a removal has left. It returns how many; fewer than limit means that no more are to be removed.
func (s *Store) Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error) {
	loose, err := collect(ctx, s.readers, "find loose blobs", func(r scanner) (id int64, err error) { return id, r.Scan(&id) },
		selectLoose, stamp(made), limit)
	if err != nil || len(loose) == 0 {
		return 0, err
	}
	return s.inShares(ctx, "sweep blobs", len(loose), func(ctx context.Context, t *tx, n int) (int64, error) {
		ids, _ := json.Marshal(loose[:n]) // numbers always marshal
		loose = loose[n:]
		gone, err := t.exec(ctx, deleteLoose, string(ids))
		return gone, err
	})
}
