package wire

import (
	"time"

	"boomerang/internal/execution"
)

// Workspace is one workspace in a list of workspaces.
type Workspace struct {
	Name      string        `json:"name"`
	Size      int64         `json:"size"`    // bytes
	Entries   int           `json:"entries"` // files, directories and links
	CreatedAt time.Time     `json:"created_at"`
	UsedAt    time.Time     `json:"used_at"`
	Writer    *execution.ID `json:"writer"`  // the execution that may change the workspace; null if there is none
	Queued    int           `json:"queued"`  // executions that wait for the workspace
	Readers   int           `json:"readers"` // running executions that read the workspace
}

// WorkspaceFile is a file, a directory or a link of a workspace.
type WorkspaceFile struct {
	Path       string              `json:"path"`
	Type       execution.EntryKind `json:"type"`
	Size       int64               `json:"size"`   // bytes of a file; otherwise 0
	Mode       *string             `json:"mode"`   // permissions of a file, four octal digits; otherwise null
	SHA256     *string             `json:"sha256"` // checksum of a file, hexadecimal; otherwise null
	Target     *string             `json:"target"` // target of a link; otherwise null
	ModifiedAt time.Time           `json:"modified_at"`
}
