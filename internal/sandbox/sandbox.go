// Package sandbox is the contract for running one program in a fresh, hardened container: prepare a container, assign a
// job to it, follow its journal, stop it, remove it.
//
// The package does not know Docker, or any part of an execution but its limits. Package sandboxtest holds the tests of
// the contract and a fake.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"

	"boomerang/internal/journal"
)

// The errors of a sandbox. An engine's errors are of three kinds: ErrRefused, ErrTemporary and ErrUnavailable. Callers
// treat an error of no kind like ErrTemporary.
var (
	// ErrRefused means that the request is at fault. The engine gives the same answer to every retry.
	ErrRefused = errors.New("refused by the container engine")
	// ErrTemporary means that the engine answered with a failure. The engine may recover, so a bounded number of
	// retries is worthwhile.
	ErrTemporary = errors.New("the container engine failed this time")
	// ErrUnavailable means that the engine does not answer. The state of its containers is unknown, and nothing is
	// lost; wait for the engine.
	ErrUnavailable = errors.New("container engine unavailable")

	// ErrImageUnavailable means that the image is missing and cannot be pulled.
	ErrImageUnavailable = errors.New("image unavailable")
	// ErrNetwork is an ErrRefused: the container's network is not proven to be closed.
	ErrNetwork = fmt.Errorf("%w: its network is not proven to be closed", ErrRefused)
	// ErrGone means that the container does not exist any more.
	ErrGone = errors.New("no such container")
)

// Sandbox makes containers and finds the containers of earlier processes.
//
// All methods may be called at the same time. The context bounds the call, not the container: containers outlive it.
type Sandbox interface {
	// Prepare starts a container whose init waits for a job. No code of a program has run in the container. After an
	// error no container is left behind. Errors: ErrImageUnavailable, ErrRefused, ErrTemporary, ErrUnavailable.
	Prepare(ctx context.Context, spec Spec) (Container, error)

	// Containers lists all containers of this node in any state, including those of earlier processes. Errors: the
	// three kinds.
	Containers(ctx context.Context) ([]Found, error)
}

// Found is an existing container and the contents of its labels.
type Found struct {
	Container Container
	Execution string // empty if the container was waiting for an execution
	Epoch     int64
	Slot      int // the Slot of the container's Spec
	Running   bool
}

// Container is one container, which runs one job and is then destroyed.
//
// The order of calls is Resize (optional), Assign, Follow, Remove. For a container that Containers returned, the first
// call is Follow. Stop may be called at any time and from any goroutine.
type Container interface {
	// ID returns the engine's name of the container.
	ID() string

	// Gone returns a channel that is closed when a waiting container has ended or cannot receive a job any more. The
	// channel is nil for a container that Containers returned.
	Gone() <-chan struct{}

	// Resize changes the memory, CPUs and PIDs of a waiting container; the other limits stay. After an error the
	// container's limits are unknown, and the caller must remove the container.
	Resize(ctx context.Context, l Limits) error

	// Assign sends the job to the init, which starts the program. Assign may be called once. After an error only the
	// journal tells whether the program started.
	Assign(ctx context.Context, job journal.Job) error

	// Follow reads the journal from its beginning and writes the program's output to stdout and stderr as it arrives:
	// without frames, each byte once and in order. Follow returns when the ends of both streams are proven, or when the
	// container has ended and its log is read. A second call, also in another process, starts at the beginning again.
	//
	// Follow passes the files that the init collected to files, which may be nil, from one goroutine and before it
	// returns. Follow ignores write errors of stdout, stderr and files. When ctx ends, Follow returns
	// context.Cause(ctx), and the container continues to run. Errors: ErrGone and the three kinds.
	Follow(ctx context.Context, nonce string, stdout, stderr io.Writer, files journal.FileSink) (Outcome, error)

	// Stop tells the init to end the program: SIGTERM, the job's grace period, SIGKILL, end frames. If the container
	// does not end soon after that, the engine kills it. Stop returns when the container has ended. Stop is idempotent,
	// and a missing container is no error. Errors: the three kinds.
	Stop(ctx context.Context) error

	// Remove destroys the container, running or not. Remove is idempotent, and a missing container is no error. Errors:
	// the three kinds.
	Remove(ctx context.Context) error
}

// Outcome is the proof in the journal or, without a proof, the engine's view of the container.
type Outcome struct {
	Start  *journal.Start // nil if the journal holds no start frame
	Stdout *journal.End   // nil if the end of stdout is not proven
	Stderr *journal.End   // nil if the end of stderr is not proven

	// ExitCode and OOMKilled come from the engine. They are set only if an end is not proven.
	ExitCode  int
	OOMKilled bool
}

// Proven reports whether the journal proves the ends of both streams.
func (o Outcome) Proven() bool { return o.Stdout != nil && o.Stderr != nil }
