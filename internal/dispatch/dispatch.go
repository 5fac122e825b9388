// Package dispatch runs queued executions in the sandbox and writes their results. Recovery after a restart joins the
// second half of the same path.
//
// It does not know SQL, Docker and HTTP.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// Queue hands out queued executions. All methods may be called at the same time.
type Queue interface {
	// Claim returns up to n queued executions without a claim, fair between subjects and within the limits. A restart
	// voids all claims.
	Claim(ctx context.Context, n int, limits execution.ClaimLimits) ([]execution.Execution, error)
	// Release gives up a claim; the execution is queued as before.
	Release(ctx context.Context, id execution.ID) error
	// Queued is signalled when an execution became claimable.
	Queued() <-chan struct{}
}

// Ledger writes the progress of an execution, durably and in the order of the calls.
type Ledger interface {
	// Start writes that the program may run from now on. Errors: execution.ErrStale if the execution is not queued
	// any more.
	Start(ctx context.Context, id execution.ID, run execution.Run) error
	// Requeue reverts Start. It is allowed only if the journal proves that the program did not start.
	Requeue(ctx context.Context, id execution.ID) error
	// CountStartFailure counts a failure to make a container for an execution and returns the number of failures,
	// which survives a restart. Errors: execution.ErrStale if the execution has ended.
	CountStartFailure(ctx context.Context, id execution.ID) (times int, err error)
	// Finish writes the result and the pending delivery in one transaction. Errors: execution.ErrStale if the
	// execution has ended already, execution.ErrBlobGone if the result refers to a removed blob.
	Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error
}

// RunningExecutions are the executions that an earlier process started and did not finish.
type RunningExecutions interface {
	// Running lists the executions whose stored state is running.
	Running(ctx context.Context) ([]execution.Execution, error)
	// Adopt makes this process the owner of a running execution of an earlier epoch.
	Adopt(ctx context.Context, id execution.ID) error
}

// Cancels are the requests to cancel running executions.
type Cancels interface {
	// CancelRequested lists the running executions that a client has cancelled.
	CancelRequested(ctx context.Context) ([]execution.ID, error)
	// Cancelling is signalled when there is a new request.
	Cancelling() <-chan struct{}
}

// Store is the store as the dispatcher uses it.
type Store interface {
	Queue
	Ledger
	RunningExecutions
	Cancels
}

// Publisher makes the output of running programs readable for another process.
type Publisher interface {
	// Published returns the published bytes of a stream, from an offset on.
	Published(ctx context.Context, id execution.ID, stream execution.Stream, from int64) ([]byte, error)
	// Publish adds bytes at an offset. Errors: execution.ErrStale if the execution does not run.
	Publish(ctx context.Context, id execution.ID, stream execution.Stream, at int64, piece []byte) error
}

// Languages is the catalogue of languages.
type Languages interface {
	Find(name string) (language.Language, error)
}

// Unsealer decrypts the fields that admission encrypted.
type Unsealer interface {
	Unseal(id execution.ID, field string, sealed execution.Sealed) ([]byte, error)
}

// Config of the dispatcher.
type Config struct {
	// Slots is the number of executions that run at the same time, 0 to 10000; 0 derives it from the engine's CPUs
	// and memory. Reserve slots come on top.
	Slots int `yaml:"slots"`
}

// Defaults derives the number of slots from the engine.
func Defaults() Config { return Config{} }

// Validate returns an error that names the wrong key.
func (c Config) Validate() error {
	if c.Slots < 0 || c.Slots > 10_000 {
		return fmt.Errorf("slots must be between 0 and 10000, not %d", c.Slots)
	}
	return nil
}

// SlotsFor chooses the number of slots for an engine with cpus CPUs and memory bytes of memory: two per CPU, because
// programs wait as often as they compute, and no more than fit with the reserve into three quarters of the memory at
// need bytes each.
func SlotsFor(cpus int, memory, need int64) int {
	fit := int(memory / 4 * 3 / max(need, 1))
	return max(1, min(2*cpus, fit*reserveShare/(reserveShare+1)))
}

// reserveShare is the number of slots for which there is one of the reserve.
const reserveShare = 4

// ReserveFor returns the number of slots beyond the given ones for executions of subjects that have nothing running.
// However many long executions the others have, an execution of a newcomer starts; and a subject that is alone loses
// nothing, because it has all ordinary slots.
func ReserveFor(slots int) int { return (slots + reserveShare - 1) / reserveShare }

// Deps are the collaborators and settings of a dispatcher.
type Deps struct {
	Store      Store
	Sandbox    sandbox.Sandbox
	Languages  Languages
	Unsealer   Unsealer
	Blobs      Blobs
	Workspaces Workspaces
	Limits     execution.WorkspaceLimits
	Publisher  Publisher // nil if no other process reads running output
	Payload    Payload
	MaxRunning func(subject string) int // the quota of executions that run at the same time; 0 is no limit
	Node       string
	Epoch      int64
	Log        *logrus.Entry
}

// Dispatcher owns the runs of one node.
type Dispatcher struct {
	Deps
	slots      *slots
	backingOff *slots // bounds the executions that wait for their next attempt without a slot
	outage     outage

	mu   sync.Mutex // guards runs
	runs map[execution.ID]*run
	wg   sync.WaitGroup
}

// New makes a dispatcher that runs up to n executions at the same time, and beyond them those of ReserveFor(n).
func New(n int, deps Deps) *Dispatcher {
	return &Dispatcher{
		Deps: deps, slots: newSlots(n, ReserveFor(n)), backingOff: newSlots(n, 0), runs: make(map[execution.ID]*run),
	}
}

// errDetached is the cause of the context of every run when this process stops. The containers keep running.
var errDetached = errors.New("boomerang stops; executions go on")

const (
	retryPause   = time.Second      // before another call to a store or an engine that failed
	pollInterval = 10 * time.Second // the longest wait for a signal of the store, in case a signal is lost
)

// Run adopts the executions of an earlier process, then runs queued executions until ctx ends. It returns nil when
// every run is detached; the containers keep running.
func (d *Dispatcher) Run(ctx context.Context) error {
	ctx, detach := context.WithCancelCause(ctx)
	defer d.wg.Wait()
	defer detach(errDetached)

	if !d.adoptRunning(ctx) {
		return nil
	}
	d.wg.Go(func() { d.watchCancels(ctx) })
	for ctx.Err() == nil {
		if !d.startNext(ctx) {
			return nil
		}
	}
	return nil
}

// startNext starts one queued execution, or waits until there may be one and a free slot; false if ctx has ended.
func (d *Dispatcher) startNext(ctx context.Context) bool {
	reserved, ok := d.slots.acquire(true)
	if !ok {
		return wait(ctx, pollInterval, d.slots.ended)
	}
	claimed, err := d.Store.Claim(ctx, 1, execution.ClaimLimits{Newcomers: reserved, MaxRunning: d.MaxRunning})
	if err == nil && len(claimed) == 1 {
		crash.Point("after-claim")
		r := d.newRun(ctx, claimed[0])
		r.reserved = reserved
		d.register(r)
		d.wg.Go(func() {
			defer d.unregister(r)
			d.execute(ctx, r)
		})
		return true
	}
	d.slots.cancel()
	if err != nil {
		if ctx.Err() == nil {
			d.Log.WithError(err).Warn("claim execution")
		}
		return wait(ctx, retryPause, nil)
	}
	// executions may wait for the end of others: for an ordinary slot, or because their subject is at its limit
	return waitForEither(ctx, pollInterval, d.Store.Queued(), d.slots.ended)
}

// watchCancels passes requests to cancel on to the runs of this process until ctx ends.
func (d *Dispatcher) watchCancels(ctx context.Context) {
	for wait(ctx, pollInterval, d.Store.Cancelling()) {
		ids, err := d.Store.CancelRequested(ctx)
		if err != nil && ctx.Err() == nil {
			d.Log.WithError(err).Warn("read requests to cancel")
			continue
		}
		for _, id := range ids {
			if r := d.find(id); r != nil {
				r.cancel()
			}
		}
	}
}

// Live returns the bytes that a running execution has written to a stream so far, without the tail: the number of bytes
// between head and tail is known only at the end. It returns false if the execution does not run in this process.
func (d *Dispatcher) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	kept, _, ok := d.live(id, stream)
	return kept, ok
}

// Follow returns a function that reads the streams of an execution while they grow. The function returns the bytes that
// Live returns, and a channel that closes when there are more; the channel is nil if the execution does not run in this
// process or the head of the stream is full.
func (d *Dispatcher) Follow(id execution.ID) (
	read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func(),
) {
	return func(stream execution.Stream) ([]byte, <-chan struct{}) {
		kept, grown, _ := d.live(id, stream)
		return kept, grown
	}, func() {}
}

func (d *Dispatcher) live(id execution.ID, stream execution.Stream) (kept []byte, grown <-chan struct{}, ok bool) {
	r := d.find(id)
	if r == nil {
		return nil, nil, false
	}
	kept, grown = r.buffer(stream).Bytes()
	if int64(len(kept)) >= r.head {
		return kept[:r.head], nil, true // the bytes after the head may belong to the tail
	}
	return kept, grown, true
}

func (d *Dispatcher) register(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs[r.execution.ID] = r
}

func (d *Dispatcher) find(id execution.ID) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs[id]
}

// unregister removes a run and releases its slot.
func (d *Dispatcher) unregister(r *run) {
	d.mu.Lock()
	if d.runs[r.execution.ID] == r { // a requeued execution may already have its next run
		delete(d.runs, r.execution.ID)
	}
	d.mu.Unlock()
	d.slots.release()
}

// wait returns true after the pause, or earlier on a signal; false as soon as ctx ends.
func wait(ctx context.Context, pause time.Duration, signal <-chan struct{}) bool {
	return waitForEither(ctx, pause, signal, nil)
}

// waitForEither is wait with two signals.
func waitForEither(ctx context.Context, pause time.Duration, signal, other <-chan struct{}) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-signal:
	case <-other:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
