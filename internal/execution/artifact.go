package execution

import "errors"

// ErrBlobGone says that a write refers to a blob that was removed meanwhile, because no row referred to it for too
// long.
var ErrBlobGone = errors.New("a blob was removed meanwhile")

// Artifact is a requested file that a program left.
type Artifact struct {
	Path string // clean, relative to the working directory and within it; valid UTF-8 without NUL
	Mode uint32 // permissions, at most 0777
	Blob Blob
}

// Artifacts are the requested files that were collected, and those that were not.
type Artifacts struct {
	Files []Artifact // sorted by path
	Omissions
}

// Omissions are the requested files that were not collected. They are stored as JSON.
type Omissions struct {
	Omitted []Omission `json:"omitted,omitempty"` // the first ones; Count may be larger
	Count   int        `json:"count,omitempty"`   // number of files that matched a glob and were refused
	Cut     string     `json:"cut,omitempty"`     // why the collection ended early; empty if it was complete
}

// Omission is a requested file that was refused.
type Omission struct {
	Path   string `json:"path"`
	Reason string `json:"reason"` // one of the Omit constants of package journal
}

// CutLost is the cause when nothing was collected because the container ended without a proof. The other causes are the
// Cut constants of package journal.
const CutLost = "lost"

// CutEvicted is the cause when the artifacts were removed after the end, because their subject stored more than its
// quota and the callback of the execution was still pending.
const CutEvicted = "evicted"
