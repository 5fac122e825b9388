//go:build chaos

package app

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/journal"
	"boomerang/internal/sandbox"
	"boomerang/internal/sandbox/docker"
	"boomerang/internal/store"
)

// crashAt is the environment variable that names the point at which the server kills itself, "after-start", or
// "after-start:3" for the third time that it comes there.
const crashAt = "BOOMERANG_CRASH_AT"

// crashPoint is where this process dies: as by kill -9, between two steps of an execution's way.
type crashPoint struct {
	point string
	left  *atomic.Int64
}

func newCrashPoint() crashPoint {
	point, nth, _ := strings.Cut(os.Getenv(crashAt), ":")
	n, err := strconv.ParseInt(nth, 10, 64)
	if err != nil {
		n = 1
	}
	f := crashPoint{point: point, left: new(atomic.Int64)}
	f.left.Store(n)
	return f
}

// reach ends the process if this is the point. Nothing runs after the signal: no deferred call, no flush.
func (f crashPoint) reach(point string) {
	if f.point == point && f.left.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// The points are before and after the calls that the rooms make; the rooms do not know of them.
var theCrashPoint = newCrashPoint()

func crashFront(records *store.Store) crashStore { return crashStore{records, theCrashPoint} }

func crashBack(records *store.Store) crashStore { return crashStore{records, theCrashPoint} }

func crashContainers(engine *docker.Docker) crashEngine { return crashEngine{engine, theCrashPoint} }

// crashStore has the points around the durable writes.
type crashStore struct {
	*store.Store
	fate crashPoint
}

func (s crashStore) Enqueue(
	ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) (execution.Execution, bool, error) {
	stored, replayed, err := s.Store.Enqueue(ctx, e, key, limits)
	s.fate.reach("after-enqueue")
	return stored, replayed, err
}

func (s crashStore) EnqueueAll(
	ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
) ([]execution.Execution, bool, error) {
	stored, replayed, err := s.Store.EnqueueAll(ctx, all, key, limits)
	s.fate.reach("after-enqueue")
	return stored, replayed, err
}

func (s crashStore) Claim(ctx context.Context, n int) ([]execution.Execution, error) {
	claims, err := s.Store.Claim(ctx, n)
	if len(claims) > 0 {
		s.fate.reach("after-claim")
	}
	return claims, err
}

func (s crashStore) Start(ctx context.Context, id execution.ID, run execution.Run) error {
	s.fate.reach("before-start")
	err := s.Store.Start(ctx, id, run)
	s.fate.reach("after-start")
	return err
}

func (s crashStore) Adopt(ctx context.Context, id execution.ID) error {
	err := s.Store.Adopt(ctx, id)
	s.fate.reach("after-adopt")
	return err
}

func (s crashStore) Requeue(ctx context.Context, id execution.ID) error {
	s.fate.reach("before-requeue")
	err := s.Store.Requeue(ctx, id)
	s.fate.reach("after-requeue")
	return err
}

func (s crashStore) Finish(ctx context.Context, id execution.ID, r execution.Result, d *execution.Delivery) error {
	s.fate.reach("before-finish")
	err := s.Store.Finish(ctx, id, r, d)
	s.fate.reach("after-finish")
	return err
}

func (s crashStore) Cancel(
	ctx context.Context, id execution.ID, at time.Time,
	finish func(execution.Execution) (execution.Result, *execution.Delivery),
) (execution.Execution, error) {
	after, err := s.Store.Cancel(ctx, id, at, finish)
	s.fate.reach("after-cancel")
	return after, err
}

func (s crashStore) Due(
	ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string,
) ([]execution.Due, error) {
	due, err := s.Store.Due(ctx, now, each, limit, inFlight, closed)
	if len(due) > 0 {
		s.fate.reach("before-post")
	}
	return due, err
}

func (s crashStore) Record(
	ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time,
) error {
	s.fate.reach("after-post")
	err := s.Store.Record(ctx, a, state, reason, nextAt)
	s.fate.reach("after-record")
	return err
}

// crashEngine has the points around what is done to containers.
type crashEngine struct {
	*docker.Docker
	fate crashPoint
}

func (d crashEngine) Prepare(ctx context.Context, spec sandbox.Spec) (sandbox.Container, error) {
	container, err := d.Docker.Prepare(ctx, spec)
	d.fate.reach("after-prepare")
	if err != nil {
		return nil, err
	}
	return crashContainer{container, d.fate}, nil
}

func (d crashEngine) Containers(ctx context.Context) ([]sandbox.Found, error) {
	found, err := d.Docker.Containers(ctx)
	for i := range found {
		found[i].Container = crashContainer{found[i].Container, d.fate}
	}
	return found, err
}

type crashContainer struct {
	sandbox.Container
	fate crashPoint
}

func (b crashContainer) Resize(ctx context.Context, l sandbox.Limits) error {
	err := b.Container.Resize(ctx, l)
	b.fate.reach("after-resize")
	return err
}

func (b crashContainer) Assign(ctx context.Context, job journal.Job) error {
	err := b.Container.Assign(ctx, job)
	b.fate.reach("after-assign")
	return err
}

func (b crashContainer) Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.FileSink) (sandbox.Outcome, error) {
	if files != nil {
		files = crashFiles{files, b.fate}
	}
	outcome, err := b.Container.Follow(ctx, nonce, stdout, stderr, files)
	if err == nil {
		b.fate.reach("after-follow")
	}
	return outcome, err
}

// crashFiles has the points around a file that is collected.
type crashFiles struct {
	journal.FileSink
	fate crashPoint
}

func (f crashFiles) Write(p []byte) (int, error) {
	n, err := f.FileSink.Write(p)
	f.fate.reach("in-file")
	return n, err
}

func (f crashFiles) Done(whole bool) {
	f.FileSink.Done(whole)
	f.fate.reach("after-file")
}

func (b crashContainer) Stop(ctx context.Context) error {
	err := b.Container.Stop(ctx)
	b.fate.reach("after-stop")
	return err
}

func (b crashContainer) Remove(ctx context.Context) error {
	err := b.Container.Remove(ctx)
	b.fate.reach("after-remove")
	return err
}
