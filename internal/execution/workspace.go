package execution

import "time"

// WorkspaceUse says which workspace an execution uses, and how.
type WorkspaceUse struct {
	Name     string `json:"name,omitempty"` // empty if the files in /workspace are removed with the container
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Writes reports whether the files that the execution leaves in /workspace are kept.
func (u WorkspaceUse) Writes() bool { return u.Name != "" && !u.ReadOnly }

// Workspace is a tree of files that outlives executions. It belongs to a subject.
type Workspace struct {
	Name      string
	CreatedAt time.Time
	UsedAt    time.Time // time of the last change or of the last start with it
	Size      int64     // bytes of all files
	Entries   int       // files, directories and links
	Writer    ID        // the running execution that changes it; empty if none does
	Waiting   int       // number of queued executions that will use it
	Readers   int       // number of running executions that read it
}

// WorkspaceLimits bound the workspaces of a subject. 0 sets no bound.
type WorkspaceLimits struct {
	Size    int64 // bytes of one workspace
	Entries int   // files, directories and links of one workspace
	Count   int   // workspaces of one subject
	Total   int64 // bytes of all workspaces of one subject
}

// EntryKind is the kind of an entry in a workspace.
type EntryKind string

// The kinds of entries.
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
	Blob       Blob   // content of a file
	Target     string // target of a link: relative and within the workspace
	ModifiedAt time.Time
}

// Condition is a precondition of changing a file. The zero value is always met.
type Condition struct {
	Sums   [][32]byte // the SHA-256 of the file must be one of these
	Exists bool       // the file must exist
	Absent bool       // the file must not exist
}

// WorkspaceResult says whether the files that an execution left became the content of its workspace.
type WorkspaceResult struct {
	Entries []Entry `json:"-"` // the new content, if Saved

	Saved bool `json:"saved"`
	// why the workspace is unchanged: a Cut constant of package journal or a NotSaved constant
	Reason  string     `json:"reason,omitempty"`
	Size    int64      `json:"size"`              // bytes, if Saved
	Count   int        `json:"count"`             // number of entries, if Saved
	Omitted []Omission `json:"omitted,omitempty"` // entries that were left out; Missing may be larger
	Missing int        `json:"missing,omitempty"` // number of entries left out
}

// The reasons why a workspace is unchanged, beside the Cut constants of package journal.
const (
	NotSavedNotRun = "not_run" // the program was not started
	NotSavedTotal  = "total"   // the workspaces of the subject would be too large together
)
