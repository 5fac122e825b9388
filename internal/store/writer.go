package store

import (
	"context"
	"database/sql"
)

// maxBatch bounds how many operations share one commit, and with it how long the first of them waits.
const maxBatch = 256

// durability says whether an operation must be on the disk before it is answered.
type durability string

const (
	durable  durability = "durable"  // survives the loss of power
	volatile durability = "volatile" // void after a restart, so it is not worth an fsync
)

// operation is one write that waits for its turn.
type operation struct {
	durability durability
	run        func(context.Context, *tx) (events, error)
	news       events
	err        error
	answered   chan struct{} // closed when news and err are final
}

// writer owns the only connection that writes. It takes all operations that wait, runs them in one transaction, each
// inside a savepoint when there are several, commits once, and answers each: an operation that fails is undone alone, a commit that fails undoes and
// answers all. It runs in one goroutine until stop.
type writer struct {
	tx         *tx
	wakes      *signals
	operations chan *operation // unbuffered: what was handed over is run, what was not is not
	stopping   chan struct{}
	stopped    chan struct{}
}

func newWriter(ctx context.Context, t *tx, wakes *signals) *writer {
	w := &writer{
		tx: t, wakes: wakes,
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

// stops tells whether stop was called.
func (w *writer) stops() bool {
	select {
	case <-w.stopping:
		return true
	default:
		return false
	}
}

// do runs one operation and returns after its commit. The context bounds the wait for the turn alone: an operation that
// was begun may be committed, and then nobody may say that it was not.
func (w *writer) do(ctx context.Context, act string, d durability, run func(context.Context, *tx) (events, error)) error {
	o := &operation{durability: d, run: run, answered: make(chan struct{})}
	select {
	case w.operations <- o:
		<-o.answered
		return explain(act, o.err)
	case <-w.stopping:
		return unavailable(act, errClosed)
	case <-ctx.Done():
		return unavailable(act, context.Cause(ctx))
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

// gather takes whoever else waits at this moment. While a batch is committed the next one lines up, so batches grow
// with the load and nobody ever waits for company.
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
			w.wakes.send(o.news)
		}
		close(o.answered)
	}
}

// tx is the writer's connection while a transaction runs on it.
type tx struct {
	*statements

	conn    *sql.Conn
	relaxed bool  // the connection commits without fsync
	queued  int   // executions in state queued, of all subjects
	shared  bool  // another process writes, too
	served  int64 // claims since the start
}

// transact runs the batch in one transaction. An error means that nothing of it was stored.
func (t *tx) transact(ctx context.Context, batch []*operation) (err error) {
	if err := t.relax(ctx, batch); err != nil {
		return err
	}
	if err := t.control(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	before := t.queued
	defer func() {
		if err != nil {
			t.queued = before
			_ = t.control(ctx, `ROLLBACK`) // SQLite may have done it already; the error that counts is err
		}
	}()
	if t.shared {
		if err := t.row(ctx, `SELECT coalesce(max(queued), 0) FROM node`).Scan(&t.queued); err != nil {
			return err
		}
		before = t.queued
	}
	if len(batch) == 1 { // the transaction is its savepoint
		if batch[0].news, err = batch[0].run(ctx, t); err != nil {
			return err
		}
	} else {
		for _, o := range batch {
			if err := t.attempt(ctx, o); err != nil {
				return err
			}
		}
	}
	if t.shared && t.queued != before {
		if _, err := t.exec(ctx, `UPDATE node SET queued = ?`, t.queued); err != nil {
			return err
		}
	}
	return t.control(ctx, `COMMIT`)
}

// attempt runs one operation and undoes it if it fails. An error means that the whole transaction is lost: on a full
// disk SQLite gives it up, savepoints and all.
func (t *tx) attempt(ctx context.Context, o *operation) error {
	if err := t.control(ctx, `SAVEPOINT operation`); err != nil {
		return err
	}
	queued := t.queued
	if o.news, o.err = o.run(ctx, t); o.err != nil {
		t.queued = queued
		if err := t.control(ctx, `ROLLBACK TO operation`); err != nil {
			if outage(o.err) {
				return o.err // the reason why there is nothing left to roll back
			}
			return err
		}
	}
	return t.control(ctx, `RELEASE operation`)
}

// relax commits without fsync when nothing in the batch asks for it. In WAL mode a later commit with fsync makes the
// earlier ones durable too, and whatever is lost in between is lost from the end (sqlite.org/pragma.html#pragma_synchronous).
func (t *tx) relax(ctx context.Context, batch []*operation) error {
	relaxed := true
	for _, o := range batch {
		relaxed = relaxed && o.durability == volatile
	}
	if relaxed == t.relaxed {
		return nil
	}
	pragma := `PRAGMA synchronous = FULL`
	if relaxed {
		pragma = `PRAGMA synchronous = NORMAL`
	}
	// Not prepared: this pragma takes effect when it is compiled.
	if _, err := t.conn.ExecContext(ctx, pragma); err != nil {
		return err
	}
	t.relaxed = relaxed
	return nil
}
