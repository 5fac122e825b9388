// Package sandbox is the contract for running one program in a fresh, hardened container: prepare a berth, assign a
// job to it, follow its journal, end it, remove it.
//
// It refuses to know Docker, and what an execution is. The package sandboxtest holds the contract's tests and a fake.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"

	"boomerang/internal/journal"
)

// The errors of a sandbox. An engine's errors are of three kinds: ErrRefused, ErrTemporary and ErrUnavailable. An error that
// is of none of these kinds is treated like ErrTemporary.
var (
	// ErrRefused: the request is at fault. The engine answers the same each time it is asked.
	ErrRefused = errors.New("refused by the container engine")
	// ErrTemporary: the engine answered that it failed. It may recover, so a bounded number of retries is worthwhile.
	ErrTemporary = errors.New("the container engine failed this time")
	// ErrUnavailable: the engine does not answer. Nothing is known and nothing is lost; wait for the engine.
	ErrUnavailable = errors.New("container engine unavailable")

	// ErrImageUnavailable: the image is not there and cannot be pulled.
	ErrImageUnavailable = errors.New("image unavailable")
	// ErrNetwork is an ErrRefused: the network that the container should be on is not proven to be closed.
	ErrNetwork = fmt.Errorf("%w: its network is not proven to be closed", ErrRefused)
	// ErrGone: there is no such berth any more.
	ErrGone = errors.New("no such berth")
)

// Sandbox makes berths and finds those that an earlier process left.
//
// All methods may be called at the same time. A context bounds the call alone: when it ends, containers go on.
type Sandbox interface {
	// Prepare makes a berth: a container that is started and whose init waits for a job. Nothing of a program has
	// run in it. Errors: ErrImageUnavailable, ErrRefused, ErrTemporary, ErrUnavailable. On an error no container is left behind.
	Prepare(ctx context.Context, spec Spec) (Berth, error)

	// Berths lists every berth of this node, whatever its state, also those of earlier processes. Errors: the three kinds.
	Berths(ctx context.Context) ([]Found, error)
}

// Found is a berth that is there, with what its labels say of it.
type Found struct {
	Berth     Berth
	Execution string // empty: it was waiting for one
	Epoch     int64
	Slot      int // as in its Spec
	Running   bool
}

// Berth is one container, used for one job and destroyed.
//
// The order is Resize, which may be left out, Assign, Follow, Remove; a berth that Berths found begins with Follow. Stop may
// be called at any time and from any goroutine.
type Berth interface {
	// ID is the engine's name of the container.
	ID() string

	// Gone is closed when a berth that waits for its job has ended, or cannot be told its job any more; nil for one that
	// Berths found.
	Gone() <-chan struct{}

	// Resize changes the memory, CPUs and PIDs of a berth that waits; the other limits are those of its Spec. After an error
	// nobody knows what holds: it is to be removed.
	Resize(ctx context.Context, l Limits) error

	// Assign sends the job to the init, which starts the program. It is called at most once. After an error the
	// program may have started or not: only the journal knows.
	Assign(ctx context.Context, job journal.Job) error

	// Follow reads the journal from its beginning and writes what the program wrote to stdout and stderr as it comes,
	// without the frames, each byte once and in order. It returns when both ends are proven, or when the container
	// has ended and its log holds no more. It may be called again, also by another process; it begins anew.
	// To files, which may be nil, it tells the files that the init collected, all in one goroutine and before it returns.
	// A write error of any of them is ignored. When ctx ends it returns context.Cause(ctx) and the container
	// goes on. Errors: ErrGone and the three kinds.
	Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.Files) (Outcome, error)

	// Stop tells the init to end the program: SIGTERM, the job's grace, SIGKILL, end frames. If the container does not
	// end soon after that it is killed. It returns when the container has ended. It is idempotent; a berth that is gone is no
	// error. Errors: the three kinds.
	Stop(ctx context.Context) error

	// Remove destroys the container, running or not. It is idempotent; a berth that is gone is no error.
	// Errors: the three kinds.
	Remove(ctx context.Context) error
}

// Outcome is what the journal proves and, where it does not, what the engine says.
type Outcome struct {
	Start  *journal.Start // nil: the journal holds no start frame
	Stdout *journal.End   // nil: the end of stdout is not proven
	Stderr *journal.End   // nil: the end of stderr is not proven

	// ExitCode and OOMKilled are the engine's words on the container; they are read only when an end is not proven.
	ExitCode  int
	OOMKilled bool
}

// Proven tells whether both streams carry the proof of their end.
func (o Outcome) Proven() bool { return o.Stdout != nil && o.Stderr != nil }
