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
	Size       int64               `json:"size"`   // bytes of a file; 0 for a directory or a link
	Mode       *string             `json:"mode"`   // permissions of a file, four octal digits; null for a directory or a link
	SHA256     *string             `json:"sha256"` // hexadecimal; null for a directory or a link
	Target     *string             `json:"target"` // target of a link; null for a file or a directory
	ModifiedAt time.Time           `json:"modified_at"`
}
