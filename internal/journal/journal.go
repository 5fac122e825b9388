// Package journal is the protocol between boomerang and the init of a container: the job that goes down the init's
// stdin, and the frames that the init writes into the container's log.
//
// The log of a container is the complete, bounded record of one execution. On stderr it begins with a start frame. Each
// of the two streams ends with an end frame, and bytes after it are ignored. The output of the program stands between
// them, with its newlines escaped, so a program can neither decide where a line of the log ends nor forge a frame.
// Frames also carry a nonce that the program cannot know. The requested files (Collect) follow the output on stdout.
//
// The package knows nothing of Docker. The init is built from it, so it imports only the standard library.
package journal

import (
	"iter"
	"time"
)

// Threads is the maximum number of threads of the init. They count against a container's limit of PIDs, which must
// therefore be the program's own limit plus Threads. Measured: 14, on 1 to 100 processors.
const Threads = 16

// Job is all that the init needs to run one program. It is sent as JSON after its length, so the init ignores a job of
// a sender that dies half way.
type Job struct {
	Nonce   string            `json:"nonce"` // 32 hexadecimal digits
	Code    string            `json:"code"`
	File    string            `json:"file"`              // name of the file in Dir that gets the code; not a path
	Argv    []string          `json:"argv"`              // command line; never empty
	Env     map[string]string `json:"env"`               // added to the environment of the image
	Dir     string            `json:"dir"`               // working directory; absolute, created if missing
	Stdin   []byte            `json:"stdin,omitempty"`   // standard input of the program
	Files   []File            `json:"files,omitempty"`   // created below Dir before the program starts
	Timeout time.Duration     `json:"timeout"`           // from the start of the program until the init ends it; > 0
	Grace   time.Duration     `json:"grace"`             // between SIGTERM and SIGKILL; >= 0
	Head    int64             `json:"head"`              // bytes of each stream that are passed on as they come
	Tail    int64             `json:"tail"`              // last bytes of each stream kept beyond the head; <= 16 MiB
	Limit   int64             `json:"limit,omitempty"`   // bytes of a stream that get the program killed; 0: no limit
	Collect []Collect         `json:"collect,omitempty"` // files to collect after the end, in this order

	// Workspace is the absolute directory where WorkspaceSnapshot is created before Files and the code; empty without a
	// workspace.
	Workspace         string                           `json:"workspace,omitempty"`
	WorkspaceSnapshot iter.Seq2[WorkspaceEntry, error] `json:"-"` // sent after the JSON
}

// File is a file that the init creates before the program starts.
type File struct {
	Path    string `json:"path"` // relative to Dir and within it; missing parent directories are created
	Mode    uint32 `json:"mode"` // permissions, at most 0777
	Content []byte `json:"content"`
}

// Start is the frame at the beginning of stderr, written right before the program is started. A complete journal
// without it proves that the program never started.
type Start struct {
	At time.Time `json:"at"`
}

// End is the frame that ends a stream. The end frames of the two streams differ only in Bytes, LeftOut and Tail. At
// most one of TimedOut and Stopped is set: the one that came first.
type End struct {
	ExitCode   int           `json:"exit_code"`             // exit code of the program; 0 if a signal ended it
	Signal     int           `json:"signal,omitempty"`      // signal that ended the program
	TimedOut   bool          `json:"timed_out,omitempty"`   // the init ended the program at its deadline
	Stopped    bool          `json:"stopped,omitempty"`     // the init was told (SIGTERM) to end the running program
	OverLimit  bool          `json:"over_limit,omitempty"`  // the init killed the program because of its output
	OutOfMem   bool          `json:"out_of_mem,omitempty"`  // the kernel killed a process for its memory
	StartError string        `json:"start_error,omitempty"` // for people, if nothing ran: why the start failed
	StartedAt  time.Time     `json:"started_at"`
	EndedAt    time.Time     `json:"ended_at"`
	Elapsed    time.Duration `json:"elapsed"`  // monotonic
	CPUTime    time.Duration `json:"cpu_time"` // user and system, of the whole container
	// MaxMemory is the peak of the container in bytes, including that of a rehearsal, and the files in tmpfs where the
	// kernel counts them.
	MaxMemory int64 `json:"max_memory"`

	Bytes   int64 `json:"bytes"`    // bytes that the program wrote to this stream
	LeftOut int64 `json:"left_out"` // bytes of these that were discarded between head and tail
	Tail    int64 `json:"tail"`     // bytes of the payload that follow the discarded ones; 0 if none were discarded
}

// ExitNoJob is the exit code of an init that leaves without having received a job: the program has not run. An init
// that wrote its end frames exits with 0. (75 is EX_TEMPFAIL of sysexits.h.)
const ExitNoJob = 75
