package store

import (
	"context"
	"database/sql"
)

// maxBatch bounds the number of operations in one commit, and so the time that the first of them waits.
const maxBatch = 256

// durability says whether an operation must be on the disk before its caller gets an answer.
type durability string

const (
	durable  durability = "durable"  // survives a power failure
	volatile durability = "volatile" // void after a restart, so not worth an fsync
)

// operation is one write that waits for the writer.
type operation struct {
	durability durability
	run        func(context.Context, *tx) (events, error)
	events     events
	err        error
	answered   chan struct{} // closed when events and err are final
}

// writer owns the only connection that writes. It takes all waiting operations, runs them in one transaction, commits
// once and answers each. Several operations run in a savepoint each, so that an operation that fails is undone alone. A
// commit that fails undoes all operations and answers each with the error. The writer runs in one goroutine until stop.
type writer struct {
	tx         *tx
	signals    *signals
	operations chan *operation // unbuffered: an operation is either received and run, or not received
	stopping   chan struct{}
	stopped    chan struct{}
}

func newWriter(ctx context.Context, t *tx, s *signals) *writer {
	w := &writer{
		tx: t, signals: s,
		operations: make(chan *operation), stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	go w.loop(context.WithoutCancel(ctx))
	return w
}

// stop ends the loop and waits for it. It is called once.
func (w *writer) stop() error {
	close(w.stopping)
	<-w.stopped
	return nil
}

// isStopping reports whether stop was called.
func (w *writer) isStopping() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// do runs one operation and returns after its commit. The context bounds only the wait for the writer: an operation
// that the writer has begun may be committed, so its caller must wait for the outcome.
func (w *writer) do(
	ctx context.Context, act string, d durability, run func(context.Context, *tx) (events, error),
) error {
	o := &operation{durability: d, run: run, answered: make(chan struct{})}
	select {
	case w.operations <- o:
		<-o.answered
		return wrapError(act, o.err)
	case <-w.stopping:
		return unavailableFault(act, errClosed)
	case <-ctx.Done():
		return unavailableFault(act, context.Cause(ctx))
	}
}

func (w *writer) loop(ctx context.Context) {
	defer close(w.stopped)
	for {
		select {
		case o := <-w.operations:
			w.commit(ctx, w.gather(o))
		case <-w.stopping:
			return
		}
	}
}

// gather adds to an operation all others that wait at this moment. While a batch is committed the next operations queue
// up, so batches grow with the load and no operation waits for others to come.
func (w *writer) gather(first *operation) []*operation {
	batch := []*operation{first}
	for len(batch) < maxBatch {
		select {
		case o := <-w.operations:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) commit(ctx context.Context, batch []*operation) {
	err := w.tx.transact(ctx, batch)
	for _, o := range batch {
		if err != nil {
			o.err = err
		}
		if o.err == nil {
			w.signals.send(o.events)
		}
		close(o.answered)
	}
}

// tx is the connection of the writer while a transaction runs on it.
type tx struct {
	*statements

	conn        *sql.Conn
	withoutSync bool  // the connection commits without fsync
	queued      int   // executions in state queued, of all subjects
	shared      bool  // another process writes, too
	served      int64 // claims since the start
	revision    int64 // number of the last change that made deliveries pending
}

// transact runs the batch in one transaction. After an error no operation of the batch is stored.
func (t *tx) transact(ctx context.Context, batch []*operation) (err error) {
	if err := t.setSynchronous(ctx, batch); err != nil {
		return err
	}
	if err := t.execNoArgs(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	before, revision := t.queued, t.revision
	defer func() {
		if err != nil {
			t.queued, t.revision = before, revision
			_ = t.execNoArgs(ctx, `ROLLBACK`) // SQLite may have rolled back already; err is the error that counts
		}
	}()
	if t.shared {
		if err := t.row(ctx, `SELECT coalesce(max(queued), 0), coalesce(max(revision), 0) FROM node`).
			Scan(&t.queued, &t.revision); err != nil {
			return err
		}
		before, revision = t.queued, t.revision
	}
	if len(batch) == 1 { // the transaction serves as its savepoint
		if batch[0].events, err = batch[0].run(ctx, t); err != nil {
			return err
		}
	} else {
		for _, o := range batch {
			if err := t.runInSavepoint(ctx, o); err != nil {
				return err
			}
		}
	}
	if t.shared && (t.queued != before || t.revision != revision) {
		if _, err := t.exec(ctx, `UPDATE node SET queued = ?, revision = ?`, t.queued, t.revision); err != nil {
			return err
		}
	}
	return t.execNoArgs(ctx, `COMMIT`)
}

// runInSavepoint runs one operation and undoes it if it fails. An error means that the whole transaction is lost: on a
// full disk SQLite rolls back the transaction with its savepoints.
func (t *tx) runInSavepoint(ctx context.Context, o *operation) error {
	if err := t.execNoArgs(ctx, `SAVEPOINT operation`); err != nil {
		return err
	}
	queued := t.queued
	if o.events, o.err = o.run(ctx, t); o.err != nil {
		t.queued = queued
		if err := t.execNoArgs(ctx, `ROLLBACK TO operation`); err != nil {
			if isOutage(o.err) {
				return o.err // the reason why the savepoint is gone
			}
			return err
		}
	}
	return t.execNoArgs(ctx, `RELEASE operation`)
}

// setSynchronous lets the connection commit without fsync if all operations of the batch are volatile. In WAL mode a
// later commit with fsync makes the earlier ones durable, too, and a power failure loses only the latest commits
// (sqlite.org/pragma.html#pragma_synchronous).
func (t *tx) setSynchronous(ctx context.Context, batch []*operation) error {
	relaxed := true
	for _, o := range batch {
		relaxed = relaxed && o.durability == volatile
	}
	if relaxed == t.withoutSync {
		return nil
	}
	pragma := `PRAGMA synchronous = FULL`
	if relaxed {
		pragma = `PRAGMA synchronous = NORMAL`
	}
	// The statement is not prepared, because this pragma takes effect when it is compiled.
	if _, err := t.conn.ExecContext(ctx, pragma); err != nil {
		return err
	}
	t.withoutSync = relaxed
	return nil
}
