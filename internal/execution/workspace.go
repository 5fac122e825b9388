package execution

import "time"

// WorkspaceUse is the workspace that an execution asked for.
type WorkspaceUse struct {
	Name     string `json:"name,omitempty"` // empty: none, what is in /workspace goes with the container
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Writes tells whether what the execution leaves in /workspace is kept.
func (u WorkspaceUse) Writes() bool { return u.Name != "" && !u.ReadOnly }

// Workspace is a tree of files that outlives executions. It belongs to a subject.
type Workspace struct {
	Name      string
	CreatedAt time.Time
	UsedAt    time.Time // when it was last changed, or given to an execution
	Size      int64     // bytes of all files
	Entries   int       // files, directories and links
	Writer    ID        // the execution that runs and will change it; empty: none
	Waiting   int       // executions that are queued and will be given it
	Readers   int       // executions that run and were given it to read
}

// WorkspaceLimits bound what a subject may keep. 0 = no bound.
type WorkspaceLimits struct {
	Size    int64 // bytes of one workspace
	Entries int   // files, directories and links of one workspace
	Count   int   // workspaces of one subject
	Total   int64 // bytes of all workspaces of one subject
}

// EntryKind is what an entry of a workspace is.
type EntryKind string

// The kinds.
const (
	EntryFile EntryKind = "file"
	EntryDir  EntryKind = "directory"
	EntryLink EntryKind = "link" // a symbolic link
)

// Entry is one file, directory or link of a workspace.
type Entry struct {
	Path       string // clean, relative, UTF-8
	Kind       EntryKind
	Mode       uint32 // permissions of a file, at most 0777
	Blob       Blob   // of a file
	Target     string // of a link: relative, and within the workspace
	ModifiedAt time.Time
}

// Condition is what a change of a file depends on. The zero value is no condition.
type Condition struct {
	Sums   [][32]byte // one of these must be the file's SHA-256
	Exists bool       // there must be one, whatever it is
	Absent bool       // there must be none
}

// WorkspaceResult is what became of the workspace that an execution could change.
type WorkspaceResult struct {
	Entries []Entry `json:"-"` // all that is in it; when it is saved

	Saved   bool       `json:"saved"`
	Reason  string     `json:"reason,omitempty"`  // why it stays as it was: one of the Cut constants of package journal, or of these
	Size    int64      `json:"size"`              // bytes, when it is saved
	Count   int        `json:"count"`             // entries, when it is saved
	Omitted []Omission `json:"omitted,omitempty"` // what was left out; there may be more
	Missing int        `json:"missing,omitempty"` // how much was left out
}

// Why a workspace stays as it was, beside the causes that package journal knows.
const (
	NotSavedNotRun = "not_run" // the program was not started
	NotSavedTotal  = "total"   // the subject's workspaces would be too large together
)
