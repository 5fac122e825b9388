// Package execution defines an execution: the submission, its states, its result, and the delivery of the result with
// every attempt.
//
// It imports only the standard library and knows nothing of SQL, Docker and HTTP.
package execution

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// ID names an execution: "exec_" and 26 lower-case characters. IDs sort by the time at which they were made.
type ID string

const idPrefix = "exec_"

// idAlphabet is base32hex in lower case, whose characters sort as the bits that they encode.
var idAlphabet = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID makes an ID from the milliseconds of now and 80 random bits.
func NewID(now time.Time) ID {
	var b [16]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(now.UnixMilli(), 0)))
	copy(b[:6], ms[2:])     // 48 bits reach to the year 10889
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand ends the program rather than return an error
	return ID(idPrefix + idAlphabet.EncodeToString(b[:]))
}

// Valid reports whether the ID has the form that NewID makes. The execution need not exist.
func (id ID) Valid() bool {
	rest, ok := strings.CutPrefix(string(id), idPrefix)
	if !ok || len(rest) != 26 {
		return false
	}
	return strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'v') }) < 0
}

// Sealed is an encrypted field that only a holder of the data directory's key can read. It is empty if the field has no
// value.
type Sealed []byte

// The names of the sealed fields. A name is bound into the seal, so one field cannot be passed off as another.
const (
	FieldCode            = "code"
	FieldEnv             = "env"
	FieldInput           = "input"
	FieldCallbackHeaders = "callback_headers"
	FieldCallbackSecret  = "callback_signature_secret"
	FieldEnvironment     = "environment" // bound to a subject instead of an execution
)

// Execution is one accepted submission, from its acceptance to its result.
type Execution struct {
	ID         ID
	Name       string // chosen by the owner; may be empty
	Subject    string // owner: the "sub" of the token
	Language   string // canonical name
	WorkingDir string
	Timeout    time.Duration // whole seconds, > 0
	Code       Sealed
	Env        Sealed   // JSON object of strings
	EnvNames   []string // sorted names; the values are sealed
	Input      Sealed   // JSON of an Input
	Options    Options
	Batch      Batch
	Callback   Callback // without a URL the result is kept and not posted
	CreatedAt  time.Time
	State      State

	CancelRequested bool    // the end of the running execution was requested
	Run             *Run    // nil before the execution runs
	Result          *Result // nil before the execution ends
}

// Callback says where and how the result is posted.
type Callback struct {
	URL         string
	Headers     Sealed   // JSON object of strings
	HeaderNames []string // sorted names; the values are sealed
	Secret      Sealed   // JSON array of 1 to 3 strings, newest first
	Depth       int      // number of callbacks by boomerang that led to this submission; 0 for a client's own
}

// Run describes a program from the moment at which it may have started.
type Run struct {
	Node      string // node that holds the container
	Epoch     int64  // epoch of the node when the run was stored
	Container string // name of the container in the sandbox
	Nonce     string // marks the frames of the journal
	StartedAt time.Time
	Deadline  time.Time // when the init ends the program
}

// Result says how an execution ended.
type Result struct {
	State          State // a terminal state
	Reason         Reason
	ExitCode       *int      // nil if the program did not run, or its exit code is unknown
	Error          string    // one sentence for people; empty if the state is completed
	StartedAt      time.Time // zero if the program did not run
	CompletedAt    time.Time
	Duration       time.Duration // monotonic if the init measured it
	Stdout         Output
	Stderr         Output
	OutputComplete bool // false if the end of a stream could not be proven
	CPUTime        time.Duration
	MaxMemory      int64      // peak of the container in bytes
	Artifacts      *Artifacts // nil if no files were requested, and in results read from the store
	// new content of the workspace; nil leaves it unchanged, and in results read from the store
	Workspace *WorkspaceResult
}

// Output returns the output to a stream.
func (r Result) Output(stream Stream) Output {
	if stream == Stderr {
		return r.Stderr
	}
	return r.Stdout
}

// Reason is the exact cause of a result.
type Reason string

// The reasons.
const (
	Exited           Reason = "exited"
	Signaled         Reason = "signaled"
	OutOfMemory      Reason = "out_of_memory"
	OutputLimit      Reason = "output_limit"
	ImageUnavailable Reason = "image_unavailable"
	StartFailed      Reason = "start_failed"
	Lost             Reason = "lost"
	TimedOut         Reason = "timeout"
	WasCancelled     Reason = "cancelled"
)

// Idempotency is the promise of a caller that all requests with one key are one request.
type Idempotency struct {
	Key         string // 1–255 visible ASCII; scoped to the subject
	Fingerprint string // hash of the request's body; a different body under the same key is a conflict
}

// QueueLimits bound the number of queued executions. 0 sets no bound.
type QueueLimits struct {
	Total      int
	PerSubject int
	Workspaces int // workspaces of one subject
}

// Filter chooses executions for a list, newest first.
type Filter struct {
	Subject  string // owner; empty chooses all subjects
	States   []State
	Language string
	Batch    BatchID   // empty chooses all
	Since    time.Time // created at or after; zero sets no bound
	Until    time.Time // created before; zero sets no bound
	Before   ID        // cursor: the list continues with older executions; empty starts with the newest
	Limit    int       // 1–200
}

// Stream names one of the two output streams of a program.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)
