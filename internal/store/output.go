package store

import (
	"context"
	"fmt"
	"io"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const (
	// shortOutput is the size up to which an output is read at once, in bytes.
	shortOutput = 32 << 10
	// maxOutputReads is the number of reads of a long output, at most, because SQLite reads all of it for each of them.
	maxOutputReads = 64
)

// selectOutput reads the sizes of an output, and the output itself if it is short.
const selectOutput = `SELECT coalesce(o.bytes, 0), coalesce(length(o.head), 0), coalesce(length(o.tail), 0),
		CASE WHEN coalesce(length(o.head), 0) + coalesce(length(o.tail), 0) <= ? THEN o.head END,
		CASE WHEN coalesce(length(o.head), 0) + coalesce(length(o.tail), 0) <= ? THEN o.tail END
	FROM executions e LEFT JOIN outputs o ON o.execution = e.seq AND o.stream = ? WHERE e.id = ?`

// Output implements follow.Records. The output of an execution that has not ended is empty. The reader is used by one
// goroutine and holds at most 32 KiB, or a 64th of an output of more than 2 MiB. Its reads return the faults
// SERVICE_UNAVAILABLE, and EXECUTION_NOT_FOUND if the execution was removed meanwhile.
func (s *Store) Output(ctx context.Context, id execution.ID, stream execution.Stream) (p execution.Printed, err error) {
	var head, tail []byte
	err = s.readers.row(ctx, selectOutput, shortOutput, shortOutput, stream, id).
		Scan(&p.Bytes, &p.Head, &p.Tail, &head, &tail)
	if err != nil {
		return execution.Printed{}, wrapError("get output", notFound(err))
	}
	r := &outputReader{
		store: s, ctx: ctx, id: id, stream: stream, sizes: p.Sizes,
		piece: append(head, tail...),
	}
	p.ReaderAt = r
	return p, nil
}

type outputReader struct {
	store  *Store
	ctx    context.Context //nolint:containedctx // an io.ReaderAt has no other way to get it
	id     execution.ID
	stream execution.Stream
	sizes  execution.Sizes
	piece  []byte // bytes that were read and not asked for yet
	from   int64  // offset of its first byte
}

// ReadAt implements io.ReaderAt.
func (r *outputReader) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) && at < r.sizes.Head+r.sizes.Tail {
		if at < r.from || at >= r.from+int64(len(r.piece)) {
			if err := r.load(at, len(p)-n); err != nil {
				return n, err
			}
		}
		got := copy(p[n:], r.piece[at-r.from:])
		n, at = n+got, at+int64(got)
	}
	if r.sizes.Head+r.sizes.Tail > shortOutput && at == r.from+int64(len(r.piece)) {
		r.piece = nil // the reader may be slow
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// The offsets of substr count from 1.
const (
	selectHeadPiece = `SELECT substr(o.head, ? + 1, ?) FROM executions e
		JOIN outputs o ON o.execution = e.seq AND o.stream = ? WHERE e.id = ?`
	selectTailPiece = `SELECT substr(o.tail, ? + 1, ?) FROM executions e
		JOIN outputs o ON o.execution = e.seq AND o.stream = ? WHERE e.id = ?`
)

// load reads a piece of at least n bytes, as far as there are so many in its part, from an offset on.
func (r *outputReader) load(at int64, n int) error {
	query, offset := selectHeadPiece, at
	if at >= r.sizes.Head {
		query, offset = selectTailPiece, at-r.sizes.Head
	}
	r.from, r.piece = at, nil
	most := max(int64(n), (r.sizes.Head+r.sizes.Tail)/maxOutputReads)
	err := r.store.readers.row(r.ctx, query, offset, most, r.stream, r.id).Scan(&r.piece)
	if err == nil && len(r.piece) == 0 {
		return fault.New(fault.ExecutionNotFound, "The output was removed meanwhile.").
			Because(fmt.Errorf("%s of %s has nothing at %d", r.stream, r.id, at))
	}
	return wrapError("read output", notFound(err))
}
