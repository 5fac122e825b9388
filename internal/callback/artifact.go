package callback

import (
	"encoding/hex"
	"fmt"

	"boomerang/internal/execution"
)

// Left is what became of the files that an execution was to leave, as the wire shows it.
type Left struct {
	Artifacts []Artifact           `json:"artifacts"`
	Omitted   []execution.Omission `json:"artifacts_omitted"`       // the first ones
	Count     int                  `json:"artifacts_omitted_count"` // all
	Cut       *string              `json:"artifacts_cut"`           // null: everything was looked at
}

// Artifact is a file that was collected.
type Artifact struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hexadecimal
	Mode   string `json:"mode"`   // three octal digits
}

// LeftBy makes nil of nil.
func LeftBy(a *execution.Artifacts) *Left {
	if a == nil {
		return nil
	}
	l := &Left{Artifacts: []Artifact{}, Omitted: append([]execution.Omission{}, a.Omitted...), Count: a.Count}
	for _, f := range a.Files {
		l.Artifacts = append(l.Artifacts, Artifact{
			Path: f.Path, Size: f.Blob.Size, SHA256: hex.EncodeToString(f.Blob.Sum[:]), Mode: fmt.Sprintf("%03o", f.Mode),
		})
	}
	if a.Cut != "" {
		l.Cut = &a.Cut
	}
	return l
}
