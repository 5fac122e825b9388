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

// FirstID returns an ID that sorts before the IDs that NewID makes in the same millisecond or later, and after all
// earlier ones.
func FirstID(at time.Time) ID {
	return idOf(at, [10]byte{})
}

// NewID makes an ID from the milliseconds of now and 80 random bits.
func NewID(now time.Time) ID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program rather than return an error
	return idOf(now, random)
}

func idOf(at time.Time, rest [10]byte) ID {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(at.UnixMilli(), 0)))
	return ID(idPrefix + idAlphabet.EncodeToString(append(ms[2:], rest[:]...))) // 48 bits reach to the year 10889
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

// QueueLimits bound the queue. 0 sets no bound.
type QueueLimits struct {
	Total         int   // queued executions of all subjects
	PerSubject    int   // queued executions of one subject
	Size          int64 // bytes of the programs of all executions that have not ended
	SubjectSize   int64 // the part of one subject
	Stored        int64 // bytes of all results; the subjects that store more than their equal share are refused
	SubjectStored int64 // bytes of the results and workspaces of one subject
	Workspaces    int   // workspaces of one subject
}

// Stored is the size of everything that a subject stores, in bytes.
type Stored struct {
	Subject    string
	Results    int64 // ended executions with output, artifacts, and the body of the callback
	Workspaces int64
}

// ClaimLimits bound the claims of a node.
type ClaimLimits struct {
	// Newcomers allows executions only of subjects that have nothing claimed or running.
	Newcomers bool
	// MaxRunning is how many executions of a subject may be claimed or running, on all nodes together; 0 is no limit.
	// nil limits no subject.
	MaxRunning func(subject string) int
}

// ProgramSize returns the bytes that the program of the execution takes in the store until the execution has ended.
func (e Execution) ProgramSize() int64 { return int64(len(e.Code) + len(e.Env) + len(e.Input)) }

// Filter chooses executions for a list, newest first. A page may have fewer executions than match, or none, although
// more follow: its Next says so.
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

// Page is one page of a list.
type Page struct {
	Executions []Execution
	Next       ID // the Before of the next page; empty if nothing follows
}

// Stream names one of the two output streams of a program.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)
