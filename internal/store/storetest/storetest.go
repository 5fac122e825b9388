// Package storetest is the contract of a store as tests, so that every database keeps the same promises.
//
// Each test of the contract is a function, which Run runs as a subtest of the same name without "test".
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Store has the methods that every database offers. The interfaces of their users document them: admission.Store,
// dispatch.Store, callback.Store, upkeep.Store, and those of packages gateway, httpapi, hopx and follow.
type Store interface {
	Close() error
	Node() string
	Epoch() int64
	Writable(ctx context.Context) error

	Enqueue(
		ctx context.Context, e execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
	) (stored execution.Execution, replayed bool, err error)
	EnqueueAll(
		ctx context.Context, all []execution.Execution, key *execution.Idempotency, limits execution.QueueLimits,
	) (stored []execution.Execution, replayed bool, err error)
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
	Output(ctx context.Context, id execution.ID, stream execution.Stream) (execution.Printed, error)
	Cancel(ctx context.Context, id execution.ID, at time.Time,
		finish func(execution.Execution) (execution.Result, *execution.Delivery)) (execution.Execution, error)
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)
	Attempts(ctx context.Context, id execution.ID) ([]execution.Attempt, error)
	Ended(id execution.ID) (ch <-chan struct{}, release func())
	Moves(id execution.ID) (ch <-chan struct{}, release func())
	Ahead(ctx context.Context, id execution.ID) (int, error)

	Due(
		ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string,
	) ([]execution.Due, error)
	Breakers(ctx context.Context) ([]execution.Breaker, error)
	KeepBreaker(ctx context.Context, b execution.Breaker) error
	NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error)
	Record(
		ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason,
		nextAt time.Time,
	) error
	Pending() <-chan struct{}
	Deliveries(ctx context.Context, f execution.DeliveryFilter) ([]execution.Delivery, error)
	Redeliver(ctx context.Context, id execution.ID, now time.Time) error
	Recover(ctx context.Context, r execution.Recovery, now time.Time) (recovered int, err error)

	Earlier(
		ctx context.Context, subject string, key execution.Idempotency, at time.Time,
	) (stored execution.Execution, found bool, err error)
	Environment(ctx context.Context, subject string) (execution.Sealed, error)
	Environments(ctx context.Context) ([]string, error)
	ChangeEnvironment(ctx context.Context, subject string,
		change func(execution.Sealed) (execution.Sealed, error)) error
	Share(ctx context.Context, subject string) (execution.Share, error)

	Remove(ctx context.Context, ended, dead time.Time, limit int) (removed int, err error)
	Size(ctx context.Context) (int64, error)

	NewBlob(ctx context.Context) (BlobWriter, error)
	Blob(ctx context.Context, b execution.Blob) io.ReadSeeker
	Sweep(ctx context.Context, made time.Time, limit int) (removed int, err error)

	Workspaces(ctx context.Context, subject, after string, limit int) ([]execution.Workspace, error)
	Workspace(ctx context.Context, subject, name string) (execution.Workspace, error)
	RemoveWorkspace(ctx context.Context, subject, name string) error
	RemoveIdle(ctx context.Context, used time.Time, limit int) (removed int, err error)
	OtherWorkspacesSize(ctx context.Context, subject, but string) (size int64, err error)
	Entries(ctx context.Context, subject, name, prefix, after string, limit int) ([]execution.Entry, error)
	Entry(ctx context.Context, subject, name, path string) (execution.Entry, error)
	Put(
		ctx context.Context, subject, name string, e execution.Entry, only execution.Condition,
		limits execution.WorkspaceLimits,
	) (replaced bool, err error)
	Delete(ctx context.Context, subject, name, path string, only execution.Condition, at time.Time) error
	Snapshot(ctx context.Context, id execution.ID) ([]execution.Entry, error)
	ReleaseSnapshot(ctx context.Context, id execution.ID) error
}

// BlobWriter writes one blob; dispatch.BlobWriter documents it.
type BlobWriter interface {
	io.Writer
	Close() (execution.Blob, error)
}

// Database makes an empty database. Each call of open opens it as the next process would. The Store of the call before
// must be closed; Database closes the last one at the end of the test.
type Database func(t *testing.T) (open func() Store)

// tests are the tests of the contract, in the order of their files.
var tests = []func(*harness){
	// The queue: queue.go.
	testEnqueueStoresEveryField,
	testEnqueueStoresAMinimalExecution,
	testEnqueueRefusesADuplicateID,
	testAKeyReplaysTheFirstExecution,
	testAKeyWithAnotherFingerprintIsAConflict,
	testAKeyExpiresAfter24Hours,
	testKeysAreScopedToTheirSubject,
	testAFullQueueRefusesAndNamesTheLimit,
	testAClaimedExecutionCountsAsQueued,
	testAFullQueueStillReplays,
	testLimitsHoldAfterARestart,
	testClaimTakesTheOldestFirst,
	testClaimPrefersTheSubjectWithFewestActiveExecutions,
	testClaimPrefersTheSubjectServedLongestAgo,
	testClaimReturnsEachExecutionOnce,
	testClaimOfAnEmptyQueueReturnsNothing,
	testReleaseKeepsThePlaceInTheOrder,
	testReleaseRefusesAnExecutionWithoutAClaim,
	testClaimsAreVoidAfterARestart,
	testConcurrentEnqueueAndClaimLoseNothing,
	testAnEndedExecutionMakesRoomInTheQueue,

	// Batches: batch.go.
	testABatchIsStoredInItsOrder,
	testABatchIsStoredCompletelyOrNotAtAll,
	testABatchIsReplayedCompletely,
	testTheLastExecutionOfABatchGetsTheDelivery,
	testRemoveKeepsABatchUntilItsSummary,
	testABatchWithoutASummaryHasADeliveryForEach,

	// The life of an execution: run.go.
	testEveryWriteIsConditionalOnTheState,
	testFinishFollowsTheTableOfTransitions,
	testStartStoresTheRunUnderThisEpoch,
	testRequeueDeletesTheRunAndKeepsThePlace,
	testStartFailuresAreCountedAcrossRestarts,
	testFinishStoresEveryFieldOfTheResult,
	testFinishStoresAMinimalResult,
	testFinishMakesTheDeliveryPending,
	testFinishNeedsADeliveryIffThereIsACallback,
	testARunOfAnEarlierEpochMustBeAdopted,
	testRunningListsTheRunningExecutions,
	testARestartBeginsTheNextEpochOfTheSameNode,
	testCancelEndsAQueuedExecution,
	testCancelRequestsTheEndOfARunningExecution,
	testCancelDoesNotChangeAnEndedExecution,
	testCancelOfAnUnknownExecutionIsNotFound,
	testARequestToEndSurvivesARequeue,
	testWritableSucceeds,

	// Reading executions: record.go.
	testListShowsTheNewestFirst,
	testListAppliesTheFilter,
	testListPagesWithoutGapsOrRepeats,
	testListReturnsCountsWithoutOutput,
	testUnknownExecutionsAreNotFound,
	testOutputIsEmptyUntilTheEnd,
	testAheadCountsTheSubjectsOwnExecutions,

	// Deliveries: delivery.go.
	testDueListsTheLongestDueFirst,
	testDueBoundsEachDestination,
	testDeliveryReturnsEverythingThatAnAttemptNeeds,
	testBreakersSurviveARestart,
	testDueExcludesExecutionsInFlightAndClosedDestinations,
	testDueDeliveriesSurviveARestart,
	testNextDueReturnsTheEarliest,
	testRecordStoresTheAttemptAndSchedulesTheNext,
	testRecordEndsTheDelivery,
	testRecordRefusesAnAttemptOutOfOrder,
	testRecordRefusesTheStateNone,
	testAnEndedDeliveryKeepsItsCallbackAndBody,
	testRecordDoesNotChangeTheExecution,
	testADeliveryBeginsWithoutAttempts,
	testRemoveDeletesOldEndedExecutions,

	// Redeliveries: redelivery.go.
	testRedeliverResumesAnEndedDeliveryAndKeepsItsAttempts,
	testRedeliverMakesAPendingDeliveryDueAndKeepsItsSchedule,
	testRedeliverRefusesAnExecutionWithoutADelivery,
	testAFailedAttemptInFlightDoesNotUndoARedelivery,
	testTheLastAttemptInFlightDoesNotUndoARedelivery,
	testASuccessfulAttemptInFlightIsTheRedelivery,
	testConcurrentRedeliveriesNeitherLoseNorCountAttempts,
	testARedeliverySurvivesARestart,
	testRemoveKeepsAnExecutionWithARedelivery,
	testRedeliverAndRecoverSignalPending,
	testRecoverAppliesTheFilter,
	testRecoverResumesEachOfManyDeliveriesOnce,
	testRecoverSkipsDeliveriesThatDieLater,
	testDeliveriesAreListedNewestFirst,
	testDeliveriesApplyTheFilter,
	testDeliveriesPageWithoutGapsOrRepeats,
	testEveryDeliveryWriteFollowsTheTableOfTransitions,

	// Signals: signals.go.
	testOpenSetsEverySignal,
	testAClaimableExecutionSignalsQueued,
	testARefusedExecutionDoesNotSignalQueued,
	testARequestToEndSignalsCancelling,
	testADeliverySignalsPending,
	testEndedIsClosedForEveryReceiver,
	testEndedStaysOpenUntilTheEnd,
	testReleaseOfOneReceiverKeepsTheOthers,
	testCancelOfAQueuedExecutionClosesEnded,
	testAReceiverOfEndedReadsTheNewState,
	testEveryTransitionSignalsMoves,

	// Environments and shares: environment.go.
	testEnvironmentsAreScopedAndSurviveARestart,
	testAFailedChangeKeepsTheEnvironment,
	testConcurrentChangesOfAnEnvironmentAreSerialised,
	testShareCountsOneSubject,

	// Workspaces: workspace.go.
	testPutStoresAFile,
	testPutCreatesParentDirectories,
	testPutRefusesAboveTheLimits,
	testPutAndDeleteCheckTheCondition,
	testDeleteRemovesADirectoryWithItsContent,
	testReplacedAndDeletedBlobsAreRemoved,
	testWorkspacesAreScopedToTheirSubject,
	testOneExecutionAtATimeChangesAWorkspace,
	testTheEndOfAWriterReleasesTheNext,
	testRequeueAndReleaseKeepTheTurn,
	testTheTurnSurvivesARestart,
	testHeldBackExecutionsCountAsQueued,
	testAReaderRunsAtOnceAndKeepsItsSnapshot,
	testFinishReplacesTheContentOfTheWorkspace,
	testFinishOfAReaderCannotChangeTheWorkspace,
	testPutAndDeleteAreRefusedWhileAWriterRuns,
	testAWorkspaceInUseIsNotRemoved,
	testIdleWorkspacesAreRemoved,
	testAMissingWorkspaceIsCreatedForAWriterOnly,
	testAReplayDoesNotQueueForAWorkspace,
}

// Run runs all tests of the contract.
func Run(t *testing.T, db Database) {
	t.Helper()
	for _, test := range tests {
		t.Run(name(test), func(t *testing.T) {
			t.Parallel()
			test(newHarness(t, db))
		})
	}
}

// name returns the name of a test function without the package and without "test".
func name(test func(*harness)) string {
	_, short, _ := strings.Cut(runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name(), ".test")
	return short
}

// harness is one store under test, with a clock that only the test moves.
type harness struct {
	Store
	t    *testing.T
	open func() Store
	now  time.Time
}

func newHarness(t *testing.T, db Database) *harness {
	t.Helper()
	open := db(t)
	return &harness{Store: open(), t: t, open: open, now: time.Date(2025, 1, 28, 0, 0, 0, 123456789, time.UTC)}
}

// restart closes the store and opens it as the next process would.
func (h *harness) restart() {
	h.t.Helper()
	h.ok(h.Close())
	h.Store = h.open()
}

func (h *harness) ctx() context.Context { return h.t.Context() }

func (h *harness) ok(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("unexpected error: %v", err)
	}
}

func (h *harness) wantStale(err error) {
	h.t.Helper()
	if !errors.Is(err, execution.ErrStale) {
		h.t.Fatalf("got error %v, want ErrStale", err)
	}
}

func (h *harness) wantFault(err error, code fault.Code) {
	h.t.Helper()
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != code {
		h.t.Fatalf("got error %v, want the fault %s", err, code)
	}
}

func (h *harness) equal(got, want any) {
	h.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		h.t.Fatalf("-want +got:\n%s", diff)
	}
}

// execution returns an execution that is not stored yet. Each is created a millisecond after the last one.
func (h *harness) execution(subject string) execution.Execution {
	h.now = h.now.Add(time.Millisecond)
	return execution.Execution{
		ID: execution.NewID(h.now), Name: "nightly", Subject: subject, Language: "python", WorkingDir: "/workspace/a",
		Timeout: 90 * time.Second,
		Code:    execution.Sealed("sealed code"), Env: execution.Sealed("sealed env"), EnvNames: []string{"A", "B"},
		Input: execution.Sealed("sealed input"), Options: execution.Options{
			Args: 2, Stdin: 3, Files: []execution.FileInfo{{
				Path: "a/b",
				Size: 4,
			}}, Metadata: map[string]string{"a": "<ü>"}, Network: "none",
			Limits: execution.Limits{Memory: 1 << 30, CPUs: 0.1, PIDs: 5, Output: 6, Workspace: 7},
		},
		Callback: execution.Callback{
			URL: "https://receiver.example/hook", Headers: execution.Sealed("sealed headers"),
			HeaderNames: []string{"X-One"},
			Secret:      execution.Sealed("sealed secret"), Depth: 2,
		},
		CreatedAt: h.now, State: execution.Queued,
	}
}

// enqueue stores an execution of the subject without limits.
func (h *harness) enqueue(subject string) execution.ID {
	h.t.Helper()
	e, _, err := h.Enqueue(h.ctx(), h.execution(subject), nil, execution.QueueLimits{})
	h.ok(err)
	return e.ID
}

// claim claims one execution and returns its ID, which is empty if there is none.
func (h *harness) claim() execution.ID {
	h.t.Helper()
	claims, err := h.Claim(h.ctx(), 1)
	h.ok(err)
	if len(claims) == 0 {
		return ""
	}
	return claims[0].ID
}

func (h *harness) run() execution.Run {
	return execution.Run{
		Node: h.Node(), Epoch: h.Epoch(), Container: "c0ffee", Nonce: "0123456789abcdef0123456789abcdef",
		StartedAt: h.now.Add(time.Second), Deadline: h.now.Add(91 * time.Second),
	}
}

// running stores an execution and starts it.
func (h *harness) running(subject string) execution.ID {
	h.t.Helper()
	id := h.enqueue(subject)
	h.ok(h.Start(h.ctx(), id, h.run()))
	return id
}

func (h *harness) result(state execution.State, reason execution.Reason) execution.Result {
	return execution.Result{
		State: state, Reason: reason, ExitCode: new(3), Error: "It ended so.",
		StartedAt: h.now.Add(time.Second), CompletedAt: h.now.Add(3*time.Second + 5*time.Nanosecond),
		Duration:       2*time.Second + 7,
		Stdout:         execution.Output{Head: []byte("head\xff\x00"), Tail: []byte("tail"), Bytes: 1 << 33},
		Stderr:         execution.Output{Head: []byte("oops"), Bytes: 4},
		OutputComplete: true, CPUTime: 1500 * time.Microsecond, MaxMemory: 77 << 20,
	}
}

func (h *harness) delivery() *execution.Delivery {
	return &execution.Delivery{
		Body: []byte(`{"status":"failed"}`), NextAt: h.now.Add(4 * time.Second),
		CreatedAt: h.now.Add(4 * time.Second),
	}
}

// ended stores, starts and finishes an execution, whose delivery is then pending.
func (h *harness) ended(subject string) execution.ID {
	h.t.Helper()
	id := h.running(subject)
	h.ok(h.Finish(h.ctx(), id, h.result(execution.Failed, execution.Exited), h.delivery()))
	return id
}

func (h *harness) get(id execution.ID) execution.Execution {
	h.t.Helper()
	e, err := h.Get(h.ctx(), id)
	h.ok(err)
	return e
}

// bare returns e without its sealed fields, as every method but Claim returns it.
func bare(e execution.Execution) execution.Execution {
	e.Code, e.Env, e.Input, e.Callback.Headers, e.Callback.Secret = nil, nil, nil, nil, nil
	return e
}

// signalled reports whether a signal is set, and clears it.
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
