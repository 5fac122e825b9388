// Package execution knows one execution: what was asked, the states it goes through, how it ended, and the
// delivery of its result with every attempt.
//
// It refuses to know everything else: no SQL, no Docker, no HTTP, the standard library alone.
package execution

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// ID names an execution: "exec_" and 26 lower-case characters that sort by the time they were made.
type ID string

const idPrefix = "exec_"

// idAlphabet is base32hex in lower case: its characters sort as the bits they stand for.
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

// Valid tells whether the ID has the form that NewID gives. It says nothing about whether it exists.
func (id ID) Valid() bool {
	rest, ok := strings.CutPrefix(string(id), idPrefix)
	if !ok || len(rest) != 26 {
		return false
	}
	return strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'v') }) < 0
}

// Sealed is a field that only the holder of the data directory's key can read. Empty means that nothing was given.
type Sealed []byte

// The names of the sealed fields; they are bound into the seal, so one cannot be moved to another's place.
const (
	FieldCode            = "code"
	FieldEnv             = "env"
	FieldInput           = "input"
	FieldCallbackHeaders = "callback_headers"
	FieldCallbackSecret  = "callback_signature_secret"
	FieldEnvironment     = "environment" // bound to a subject, which stands in for the execution
)

// Execution is one piece of code that was accepted, from its submission to its result.
type Execution struct {
	ID         ID
	Name       string // what its owner calls it; may be empty
	Subject    string // who owns it: the "sub" of the token
	Language   string // canonical name
	WorkingDir string
	Timeout    time.Duration // whole seconds, > 0
	Code       Sealed
	Env        Sealed   // JSON object of strings
	EnvNames   []string // sorted; values are sealed
	Input      Sealed   // JSON of an Input
	Options    Options
	Batch      Batch
	Callback   Callback // without a URL: the result is kept and not posted
	CreatedAt  time.Time
	State      State

	CancelRequested bool    // a running execution that was told to end
	Run             *Run    // nil until it runs
	Result          *Result // nil until it ended
}

// Callback is where and how the result is to be posted.
type Callback struct {
	URL         string
	Headers     Sealed   // JSON object of strings
	HeaderNames []string // sorted; values are sealed
	Secret      Sealed   // JSON array of 1 to 3 strings, newest first
	Depth       int      // how many callbacks of ours led to this submission; 0 for a client's own
}

// Run is what is known of a program from the moment it may have started.
type Run struct {
	Node      string // the node that holds the container
	Epoch     int64  // the node's epoch when the run was written
	Container string // the sandbox's name of the container
	Nonce     string // marks the journal's frames
	StartedAt time.Time
	Deadline  time.Time // when the init ends the program
}

// Result is how an execution ended.
type Result struct {
	State          State // a terminal one
	Reason         Reason
	ExitCode       *int      // nil: the program never ran, or how it ended is not known
	Error          string    // one sentence for a person; empty when completed
	StartedAt      time.Time // zero: the program never ran
	CompletedAt    time.Time
	Duration       time.Duration // monotonic where the init measured it
	Stdout         Output
	Stderr         Output
	OutputComplete bool // false: the end of a stream could not be proven
	CPUTime        time.Duration
	MaxMemory      int64            // bytes, the container's peak
	Artifacts      *Artifacts       // nil: no files were asked for; of what is read from the store, always
	Workspace      *WorkspaceResult // what becomes of its workspace; nil: that stays as it is. Of what is read from the store always nil
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

// Idempotency is a caller's promise that two requests with one key are one request.
type Idempotency struct {
	Key         string // 1–255 visible ASCII; scoped to the subject
	Fingerprint string // of the request's body; another body under the same key is a conflict
}

// QueueLimits bound how many executions may be queued. 0 = no bound.
type QueueLimits struct {
	Total      int
	PerSubject int
	Workspaces int // of one subject
}

// Filter chooses executions for a list, newest first.
type Filter struct {
	Subject  string // empty = everybody's
	States   []State
	Language string
	Batch    BatchID   // empty = all
	Since    time.Time // created at or after; zero = no bound
	Until    time.Time // created before; zero = no bound
	Before   ID        // older than this one: the cursor; empty = from the newest
	Limit    int       // 1–200
}

// Stream names one of the two streams of a program.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)
