// Package dispatch takes queued executions through the sandbox to their result. Recovery is the same road, entered
// where the earlier process left it.
//
// It refuses to know SQL, Docker and HTTP.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/sandbox"
)

// Queue hands out what waits. All methods may be called at the same time.
type Queue interface {
	// Claim returns up to n queued executions that nobody has claimed, fair between subjects. A claim is void after a restart.
	Claim(ctx context.Context, n int) ([]execution.Execution, error)
	// Release gives a claim back; the execution is queued as before.
	Release(ctx context.Context, id execution.ID) error
	// Queued is signalled when something became claimable.
	Queued() <-chan struct{}
}

// Ledger writes down what becomes of an execution, durably and in the order of the calls.
type Ledger interface {
	// Start writes that the program may run from now on. Errors: execution.ErrStale when it is not queued any more.
	Start(ctx context.Context, id execution.ID, run execution.Run) error
	// Requeue takes Start back; allowed only when the journal proves that nothing ran.
	Requeue(ctx context.Context, id execution.ID) error
	// CountStartFailure adds one to how often no container could be made for an execution, and returns the count, which outlives
	// a restart. Errors: execution.ErrStale when it has ended.
	CountStartFailure(ctx context.Context, id execution.ID) (times int, err error)
	// Finish writes the result and the pending delivery in one transaction. Errors: execution.ErrStale when it has ended already.
	Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error
}

// Past is what an earlier process left.
type Past interface {
	// Running lists the executions that are written down as running.
	Running(ctx context.Context) ([]execution.Execution, error)
	// Adopt makes a running execution of an earlier epoch this process's own.
	Adopt(ctx context.Context, id execution.ID) error
}

// Cancels tells which running executions somebody asked to end.
type Cancels interface {
	CancelRequested(ctx context.Context) ([]execution.ID, error)
	// Cancelling is signalled when there is a new one.
	Cancelling() <-chan struct{}
}

// Store is all of it; one store serves them.
type Store interface {
	Queue
	Ledger
	Past
	Cancels
}

// Publisher makes what running programs print readable for another process.
type Publisher interface {
	// Published returns what was published of a stream so far, from an offset on.
	Published(ctx context.Context, id execution.ID, stream execution.Stream, from int64) ([]byte, error)
	// Publish adds a piece at an offset. Errors: execution.ErrStale when the execution does not run.
	Publish(ctx context.Context, id execution.ID, stream execution.Stream, at int64, piece []byte) error
}

// Languages is the catalogue.
type Languages interface {
	Find(name string) (language.Language, error)
}

// Unsealer opens what admission sealed.
type Unsealer interface {
	Unseal(id execution.ID, field string, sealed execution.Sealed) ([]byte, error)
}

// Config of the dispatcher.
type Config struct {
	// Slots is how many executions run at the same time, ≥ 1; 0 lets the engine's CPUs and memory decide.
	Slots int `yaml:"slots"`
}

// Defaults lets the engine decide.
func Defaults() Config { return Config{} }

// Validate names the key that is wrong.
func (c Config) Validate() error {
	if c.Slots < 0 || c.Slots > 10_000 {
		return fmt.Errorf("slots must be between 0 and 10000, not %d", c.Slots)
	}
	return nil
}

// SlotsFor chooses the number of slots for an engine of so many CPUs and bytes of memory: two to a CPU, as programs
// wait as often as they compute, and no more than fit into three quarters of the memory at need bytes each.
func SlotsFor(cpus int, memory, need int64) int {
	return max(1, min(2*cpus, int(memory/4*3/max(need, 1))))
}

// Deps are the rooms and facts that the dispatcher works with.
type Deps struct {
	Store      Store
	Sandbox    sandbox.Sandbox
	Languages  Languages
	Unsealer   Unsealer
	Blobs      Blobs
	Workspaces Workspaces
	Limits     execution.WorkspaceLimits
	Publisher  Publisher // nil: nobody reads it from another process
	Payload    Payload
	Node       string
	Epoch      int64
	Log        *logrus.Entry
}

// Dispatcher owns the runs of one node.
type Dispatcher struct {
	Deps
	slots   *slots
	resting *slots // of executions that wait for their next try
	silence silence

	mu   sync.Mutex // guards runs
	runs map[execution.ID]*run
	wg   sync.WaitGroup
}

// New makes a dispatcher with so many slots.
func New(slots int, deps Deps) *Dispatcher {
	return &Dispatcher{Deps: deps, slots: newSlots(slots), resting: newSlots(slots), runs: make(map[execution.ID]*run)}
}

// errDetached is the cause of the context of every run when this process stops: the containers go on.
var errDetached = errors.New("boomerang stops; executions go on")

// breath is how long the dispatcher waits before it tries again what a sick store or engine refused.
const breath = time.Second

// idle is how long it waits for a signal before it looks by itself.
const idle = 10 * time.Second

// Run takes over what an earlier process left, then takes executions from the queue until ctx ends. It returns when
// every run is detached; the containers go on. It returns nil when ctx ended.
func (d *Dispatcher) Run(ctx context.Context) error {
	ctx, detach := context.WithCancelCause(ctx)
	defer d.wg.Wait()
	defer detach(errDetached)

	if !d.recover(ctx) {
		return nil
	}
	d.wg.Go(func() { d.watchCancels(ctx) })
	for ctx.Err() == nil {
		if !d.next(ctx) {
			return nil
		}
	}
	return nil
}

// next starts what can be started now and waits for a reason to look again; false when ctx has ended.
func (d *Dispatcher) next(ctx context.Context) bool {
	if !d.slots.take() {
		return wait(ctx, idle, d.slots.freed)
	}
	claimed, err := d.Store.Claim(ctx, 1)
	if err == nil && len(claimed) == 1 {
		r := d.newRun(ctx, claimed[0])
		d.begin(r)
		d.wg.Go(func() {
			defer d.end(r)
			d.execute(ctx, r)
		})
		return true
	}
	d.slots.free()
	if err != nil {
		if ctx.Err() == nil {
			d.Log.WithError(err).Warn("claim execution")
		}
		return wait(ctx, breath, nil)
	}
	return wait(ctx, idle, d.Store.Queued())
}

// watchCancels passes on the wish to end what runs here.
func (d *Dispatcher) watchCancels(ctx context.Context) {
	for wait(ctx, idle, d.Store.Cancelling()) {
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

// Live returns what a running execution has written to a stream so far; false when it does not run here. The tail is
// not part of it: how much is left out before the tail is known only at the end.
func (d *Dispatcher) Live(id execution.ID, stream execution.Stream) ([]byte, bool) {
	kept, _, ok := d.live(id, stream)
	return kept, ok
}

// Follow returns what reads the streams of an execution while they grow: what Live returns, and a channel that is closed
// when more has come, which is nil while it does not run here.
func (d *Dispatcher) Follow(id execution.ID) (read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func()) {
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
		return kept[:r.head], nil, true // what comes behind it is not for now
	}
	return kept, grown, true
}

func (d *Dispatcher) begin(r *run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.runs[r.execution.ID] = r
}

func (d *Dispatcher) find(id execution.ID) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs[id]
}

func (d *Dispatcher) end(r *run) {
	d.mu.Lock()
	if d.runs[r.execution.ID] == r { // what went back into the queue may have its next run already
		delete(d.runs, r.execution.ID)
	}
	d.mu.Unlock()
	d.slots.free()
}

// wait returns true after d, or earlier when there is a signal; false as soon as ctx ends.
func wait(ctx context.Context, d time.Duration, signal <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-signal:
	case <-timer.C:
	}
	return ctx.Err() == nil
}
