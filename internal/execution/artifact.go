package execution

import "errors"

// ErrBlobGone says that a blob which a write refers to was removed meanwhile, because nobody held it for long.
var ErrBlobGone = errors.New("a blob was removed meanwhile")

// Artifact is a file that a program left and that was asked for.
type Artifact struct {
	Path string // clean, relative to the working directory, and within it; valid UTF-8 that may hold anything but NUL
	Mode uint32 // permissions, at most 0777
	Blob Blob
}

// Artifacts is what became of the files that were asked for.
type Artifacts struct {
	Files []Artifact // sorted by path
	Omissions
}

// Omissions tell what was not collected. They are stored as JSON.
type Omissions struct {
	Omitted []Omission `json:"omitted,omitempty"` // the first ones; there may be more
	Count   int        `json:"count,omitempty"`   // of all that were chosen and refused
	Cut     string     `json:"cut,omitempty"`     // why not everything was looked at; empty: it was
}

// Omission is a file that was asked for and refused.
type Omission struct {
	Path   string `json:"path"`
	Reason string `json:"reason"` // one of the Omit constants of package journal
}

// CutLost is why nothing was looked at when the container ended without a proof. The other causes are the Cut constants of
// package journal.
const CutLost = "lost"
