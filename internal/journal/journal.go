// Package journal is the language between boomerang and the init of a container: the job that goes down the init's
// stdin, and the frames that the init writes into the container's log.
//
// The log of a container is the complete, bounded record of one execution. On stderr it begins with a start frame;
// each of the two streams ends with an end frame after which nothing can follow. Between them stands what the program
// wrote, with its newlines escaped: what a program prints decides neither where a line of the log ends nor what is a
// frame. Frames also carry a nonce that the program cannot know. Behind what the program wrote to stdout stand the files
// that were asked for (Collect).
//
// The package refuses to know Docker; the init is built from it, so it imports the standard library alone.
package journal

import (
	"iter"
	"time"
)

// Threads is how many threads the init takes at most. They count against a container's limit of PIDs, which must
// therefore be the program's own plus these. Measured: 14, on 1 to 100 processors.
const Threads = 16

// Job is all that the init needs to run one program. It travels as JSON behind its length, so a sender that dies
// half way has sent nothing.
type Job struct {
	Nonce   string            `json:"nonce"`             // 32 hexadecimal digits
	Code    string            `json:"code"`              //
	File    string            `json:"file"`              // the code's file name, without a path; put into Dir
	Argv    []string          `json:"argv"`              // the program; never empty
	Env     map[string]string `json:"env"`               // over the image's own environment
	Dir     string            `json:"dir"`               // absolute; made if it is missing
	Stdin   []byte            `json:"stdin,omitempty"`   // what the program reads on its stdin
	Files   []File            `json:"files,omitempty"`   // put below Dir before the program starts
	Timeout time.Duration     `json:"timeout"`           // from the program's start to its end by the init; > 0
	Grace   time.Duration     `json:"grace"`             // between SIGTERM and SIGKILL; >= 0
	Head    int64             `json:"head"`              // bytes of each stream that are passed on as they come
	Tail    int64             `json:"tail"`              // bytes of each stream that are kept beyond the head; <= 16 MiB
	Limit   int64             `json:"limit,omitempty"`   // bytes of a stream above which the program is killed; 0 = never
	Collect []Collect         `json:"collect,omitempty"` // files that are wanted in the end, one collection after the other

	Workspace         string                           `json:"workspace,omitempty"` // absolute: where Given is laid before Files and the code; empty: nothing is given
	WorkspaceSnapshot iter.Seq2[WorkspaceEntry, error] `json:"-"`                   // sent behind the JSON
}

// File is one that the program finds when it starts.
type File struct {
	Path    string `json:"path"` // relative to Dir, and within it; the directories above it are made
	Mode    uint32 `json:"mode"` // permissions, at most 0777
	Content []byte `json:"content"`
}

// Start is the frame that stands at the beginning of stderr: the program is about to be started. A complete journal
// without it proves that the program never started.
type Start struct {
	At time.Time `json:"at"`
}

// End is the frame that ends a stream. Both streams carry one; they differ in Bytes, LeftOut and Tail alone.
// At most one of TimedOut and Stopped is set: what came first.
type End struct {
	ExitCode   int           `json:"exit_code"`             // the program's own; 0 when it was ended by a signal
	Signal     int           `json:"signal,omitempty"`      // the signal that ended it
	TimedOut   bool          `json:"timed_out,omitempty"`   // the init ended it at its deadline
	Stopped    bool          `json:"stopped,omitempty"`     // the init was told to end it (SIGTERM) before it had ended
	OverLimit  bool          `json:"over_limit,omitempty"`  // the init killed it for what it printed
	OutOfMem   bool          `json:"out_of_mem,omitempty"`  // the kernel killed something in the container for its memory
	StartError string        `json:"start_error,omitempty"` // for a person, why the program could not be started; then nothing ran
	StartedAt  time.Time     `json:"started_at"`
	EndedAt    time.Time     `json:"ended_at"`
	Elapsed    time.Duration `json:"elapsed"`    // monotonic
	CPUTime    time.Duration `json:"cpu_time"`   // user and system, of the whole container
	MaxMemory  int64         `json:"max_memory"` // bytes, the container's peak, a rehearsal's included; with files in tmpfs where the kernel counts them

	Bytes   int64 `json:"bytes"`    // what the program wrote to this stream
	LeftOut int64 `json:"left_out"` // of these, the bytes between head and tail that were discarded
	Tail    int64 `json:"tail"`     // of the payload before this frame, the bytes that stood behind those; 0 when none were left out
}

// ExitNoJob is the init's exit code when it leaves without having received a job: nothing of a program has run.
// Where the init wrote its end frames it exits with 0. (75 is EX_TEMPFAIL of sysexits.h.)
const ExitNoJob = 75
