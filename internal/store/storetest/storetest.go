// Package storetest holds the contract of a store as tests, so that every engine keeps the same promises.
//
// It knows the words of executions; it refuses to know SQL.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
	"boomerang/internal/store"
)

// Store is what every engine offers; package store documents it.
type Store interface {
	Close() error
	Node() string
	Epoch() int64
	Writable(ctx context.Context) error

	Enqueue(ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits) (
		stored execution.Execution, replayed bool, err error)
	EnqueueAll(ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits) (
		stored []execution.Execution, replayed bool, err error)
	Claim(ctx context.Context, n int) ([]execution.Execution, error)
	Release(ctx context.Context, id execution.ID) error
	CountStartFailure(ctx context.Context, id execution.ID) (times int, err error)
	Start(ctx context.Context, id execution.ID, run execution.Run) error
	Adopt(ctx context.Context, id execution.ID) error
	Requeue(ctx context.Context, id execution.ID) error
	Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error
	Running(ctx context.Context) ([]execution.Execution, error)
	CancelRequested(ctx context.Context) ([]execution.ID, error)
	Queued() <-chan struct{}
	Cancelling() <-chan struct{}

	Get(ctx context.Context, id execution.ID) (execution.Execution, error)
	List(ctx context.Context, f execution.Filter) ([]execution.Execution, error)
	Output(ctx context.Context, id execution.ID, stream execution.Stream) (execution.Output, error)
	Cancel(ctx context.Context, id execution.ID, at time.Time,
		finish func(execution.Execution) (execution.Result, *execution.Delivery)) (execution.Execution, error)
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)
	Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error)
	Ended(id execution.ID) (ch <-chan struct{}, release func())
	Moves(id execution.ID) (ch <-chan struct{}, release func())
	Ahead(ctx context.Context, id execution.ID) (int, error)

	Due(ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string) ([]execution.Due, error)
	Breakers(ctx context.Context) ([]execution.Breaker, error)
	KeepBreaker(ctx context.Context, b execution.Breaker) error
	NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error)
	Record(ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time) error
	Pending() <-chan struct{}
	Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error)
	Redeliver(ctx context.Context, id execution.ID, now time.Time) error
	Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error)

	Earlier(ctx context.Context, subject string, key execution.Idempotency, at time.Time) (stored execution.Execution, found bool, err error)
	Environment(ctx context.Context, subject string) (execution.Sealed, error)
	Environments(ctx context.Context) ([]string, error)
	ChangeEnvironment(ctx context.Context, subject string, change func(execution.Sealed) (execution.Sealed, error)) error
	Share(ctx context.Context, subject string) (execution.Share, error)

	Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error)
	Size(ctx context.Context) (int64, error)

	NewBlob(ctx context.Context) (*store.BlobWriter, error)
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
	Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error)

	Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error)
	Workspace(ctx context.Context, subject, name string) (execution.Workspace, error)
	RemoveWorkspace(ctx context.Context, subject, name string) error
	RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error)
	Kept(ctx context.Context, subject, but string) (size int64, err error)
	Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error)
	Entry(ctx context.Context, subject, name, path string) (execution.Entry, error)
	Put(ctx context.Context, subject, name string, e execution.Entry, only execution.Condition, limits execution.WorkspaceLimits) (
		replaced bool, err error)
	Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error
	Given(ctx context.Context, id execution.ID) ([]execution.Entry, error)
	Sent(ctx context.Context, id execution.ID) error
}

// Engine makes an empty place for data. Each call of open opens it as the next process would; the one before must be
// closed, and the engine closes the last.
type Engine func(t *testing.T) (open func() Store)

// Run holds an engine to the contract.
func Run(t *testing.T, engine Engine) {
	t.Helper()
	for _, group := range []struct {
		name  string
		tests map[string]func(*house)
	}{
		{"Queue", queueTests()},
		{"Batch", batchTests()},
		{"Run", runTests()},
		{"Record", recordTests()},
		{"Delivery", deliveryTests()},
		{"Redelivery", redeliveryTests()},
		{"Wake", wakeTests()},
		{"Environment", environmentTests()},
		{"Workspace", workspaceTests()},
	} {
		for name, test := range group.tests {
			t.Run(group.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				open := engine(t)
				test(&house{Store: open(), t: t, open: open, now: time.Date(2025, 1, 28, 0, 0, 0, 123456789, time.UTC)})
			})
		}
	}
}

// house is one store under test, with a clock that the test winds.
type house struct {
	Store
	t    *testing.T
	open func() Store
	now  time.Time
}

// restart closes the store and opens it as the next process would.
func (h *house) restart() {
	h.t.Helper()
	h.ok(h.Close())
	h.Store = h.open()
}

func (h *house) ctx() context.Context { return h.t.Context() }

func (h *house) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("unexpected error: %v", err)
	}
}

func (h *house) stale(err error) {
	h.t.Helper()
	if !errors.Is(err, store.ErrStale) {
		h.t.Fatalf("got error %v, want ErrStale", err)
	}
}

func (h *house) fault(err error, code fault.Code) {
	h.t.Helper()
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != code {
		h.t.Fatalf("got error %v, want the fault %s", err, code)
	}
}

func (h *house) same(got, want any) {
	h.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		h.t.Fatalf("-want +got:\n%s", diff)
	}
}

// execution makes one that is not stored yet, a moment younger than the one before.
func (h *house) execution(subject string) execution.Execution {
	h.now = h.now.Add(time.Millisecond)
	return execution.Execution{
		ID: execution.NewID(h.now), Name: "nightly", Subject: subject, Language: "python", WorkingDir: "/workspace/a", Timeout: 90 * time.Second,
		Code: execution.Sealed("sealed code"), Env: execution.Sealed("sealed env"), EnvNames: []string{"A", "B"},
		Input: execution.Sealed("sealed input"), Options: execution.Options{
			Args: 2, Stdin: 3, Files: []execution.FileInfo{{Path: "a/b", Size: 4}}, Metadata: map[string]string{"a": "<ü>"}, Network: "none",
			Limits: execution.Limits{Memory: 1 << 30, CPUs: 0.1, PIDs: 5, Output: 6, Workspace: 7},
		},
		Callback: execution.Callback{
			URL: "https://receiver.example/hook", Headers: execution.Sealed("sealed headers"), HeaderNames: []string{"X-One"},
			Secret: execution.Sealed("sealed secret"), Depth: 2,
		},
		CreatedAt: h.now, State: execution.Queued,
	}
}

// enqueue stores one execution of the subject without limits.
func (h *house) enqueue(subject string) execution.ID {
	h.t.Helper()
	e, _, err := h.Enqueue(h.ctx(), h.execution(subject), nil, execution.QueueLimits{})
	h.ok(err)
	return e.ID
}

// claim claims one and returns its id; empty when there is none.
func (h *house) claim() execution.ID {
	h.t.Helper()
	claims, err := h.Claim(h.ctx(), 1)
	h.ok(err)
	if len(claims) == 0 {
		return ""
	}
	return claims[0].ID
}

func (h *house) run() execution.Run {
	return execution.Run{
		Node: h.Node(), Epoch: h.Epoch(), Berth: "c0ffee", Nonce: "0123456789abcdef0123456789abcdef",
		StartedAt: h.now.Add(time.Second), Deadline: h.now.Add(91 * time.Second),
	}
}

// running stores one and takes it to running.
func (h *house) running(subject string) execution.ID {
	h.t.Helper()
	id := h.enqueue(subject)
	h.ok(h.Start(h.ctx(), id, h.run()))
	return id
}

func (h *house) result(state execution.State, reason execution.Reason) execution.Result {
	return execution.Result{
		State: state, Reason: reason, ExitCode: new(3), Error: "It ended so.",
		StartedAt: h.now.Add(time.Second), CompletedAt: h.now.Add(3*time.Second + 5*time.Nanosecond), Duration: 2*time.Second + 7,
		Stdout:         execution.Output{Head: []byte("head\xff\x00"), Tail: []byte("tail"), Bytes: 1 << 33},
		Stderr:         execution.Output{Head: []byte("oops"), Bytes: 4},
		OutputComplete: true, CPUTime: 1500 * time.Microsecond, MaxMemory: 77 << 20,
	}
}

func (h *house) delivery() *execution.Delivery {
	return &execution.Delivery{Body: []byte(`{"status":"failed"}`), NextAt: h.now.Add(4 * time.Second), CreatedAt: h.now.Add(4 * time.Second)}
}

// ended stores one and takes it to its end, with a pending delivery.
func (h *house) ended(subject string) execution.ID {
	h.t.Helper()
	id := h.running(subject)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Exited), h.delivery()))
	return id
}

func (h *house) get(id execution.ID) execution.Execution {
	h.t.Helper()
	e, err := h.Get(h.ctx(), id)
	h.ok(err)
	return e
}

// bare is what every reader but Claim shows of e: nothing that is sealed.
func bare(e execution.Execution) execution.Execution {
	e.Code, e.Env, e.Input, e.Callback.Headers, e.Callback.Secret = nil, nil, nil, nil, nil
	return e
}

// signalled tells whether a signal was set, and takes it.
func signalled(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func subjects(list []execution.Execution) (names []string) {
	for _, e := range list {
		names = append(names, e.Subject)
	}
	return names
}

func ids(list []execution.Execution) (ids []execution.ID) {
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

func numbered(prefix string, n int) string { return fmt.Sprint(prefix, n) }
