package wire

import (
	"encoding/hex"
	"fmt"
	"time"

	"boomerang/internal/execution"
)

// Result is the result of an execution: first the nine fields of HopX's callback, in the order of HopX's page, then
// the additional fields. The callback, POST /execute, GET /executions/{id}, the event "end" and the frame "result"
// contain it.
type Result struct {
	ExecutionID   execution.ID    `json:"execution_id"`
	Status        execution.State `json:"status"`
	Success       bool            `json:"success"` // status is completed
	Stdout        string          `json:"stdout"`
	Stderr        string          `json:"stderr"`
	ExitCode      *int            `json:"exit_code"` // null if the program never ran, or its end is unknown
	ExecutionTime Seconds         `json:"execution_time"`
	StartedAt     *time.Time      `json:"started_at"` // null if the program never ran
	CompletedAt   time.Time       `json:"completed_at"`

	Timestamp       time.Time        `json:"timestamp"` // equals CompletedAt
	Error           *string          `json:"error"`     // null when completed
	Reason          execution.Reason `json:"reason"`
	Language        string           `json:"language"`
	StdoutTruncated bool             `json:"stdout_truncated"`
	StderrTruncated bool             `json:"stderr_truncated"`
	StdoutBytes     int64            `json:"stdout_bytes"`
	StderrBytes     int64            `json:"stderr_bytes"`
	OutputComplete  bool             `json:"output_complete"`
	Usage           Usage            `json:"usage"`

	Name          string            `json:"name,omitempty"`
	BatchID       execution.BatchID `json:"batch_id,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	*ArtifactList                   // absent unless the submission asked for artifacts

	// absent unless the execution could change a workspace
	WorkspaceResult *WorkspaceResult `json:"workspace_result,omitempty"`
}

// Nested is a Result beside other fields. It lies one level deeper than those: where both have a field of the same
// name, JSON shows the other one.
type Nested struct{ *Result }

// WithoutOutput is a Nested result without its output, for a stream that has carried the output already.
type WithoutOutput struct {
	Nested
	hiddenOutput
}

// hiddenOutput hides the fields of a Result that lie one level deeper.
type hiddenOutput struct {
	Stdout *string `json:"stdout,omitempty"` // always nil
	Stderr *string `json:"stderr,omitempty"` // always nil
}

// Usage is the resource usage of the program.
type Usage struct {
	CPUTime   Seconds `json:"cpu_time"`
	MaxMemory int64   `json:"max_memory"` // bytes
}

// ArtifactList lists the files that the submission asked to keep.
type ArtifactList struct {
	Artifacts    []Artifact           `json:"artifacts"`
	Omitted      []execution.Omission `json:"artifacts_omitted"`       // the first files that were not kept
	OmittedCount int                  `json:"artifacts_omitted_count"` // number of all files that were not kept
	Cut          *string              `json:"artifacts_cut"`           // why the search stopped early; may be null
}

// Artifact is a stored file. The program chose its path, which may be harmful on another machine.
type Artifact struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
	Mode   string `json:"mode"`   // permissions, three octal digits
}

// WorkspaceResult is the outcome of saving the workspace that the program could change.
type WorkspaceResult struct {
	Name         string               `json:"name"`
	Saved        bool                 `json:"saved"`
	Reason       *string              `json:"reason"`  // why the workspace is unchanged; null if it was saved
	Size         int64                `json:"size"`    // bytes, if it was saved
	Entries      int                  `json:"entries"` // if it was saved
	Omitted      []execution.Omission `json:"omitted"` // the first entries that were left out
	OmittedCount int                  `json:"omitted_count"`
}

// ResultOf returns the Result of an ended execution, without the texts of Stdout and Stderr, which EncodeWithOutput
// adds. At most inline bytes of each are shown.
func ResultOf(e execution.Execution, z execution.Result, inline int) Result {
	r := Result{
		ExecutionID:     e.ID,
		Status:          z.State,
		Success:         z.State == execution.Completed,
		ExitCode:        z.ExitCode,
		ExecutionTime:   Seconds(z.Duration),
		StartedAt:       TimeOrNull(z.StartedAt),
		CompletedAt:     Time(z.CompletedAt),
		Timestamp:       Time(z.CompletedAt),
		Reason:          z.Reason,
		Language:        e.Language,
		StdoutTruncated: z.Stdout.Shortened(inline),
		StderrTruncated: z.Stderr.Shortened(inline),
		StdoutBytes:     z.Stdout.Bytes,
		StderrBytes:     z.Stderr.Bytes,
		OutputComplete:  z.OutputComplete,
		Usage:           Usage{CPUTime: Seconds(z.CPUTime), MaxMemory: z.MaxMemory},
		Name:            e.Name,
		BatchID:         e.Batch.ID,
		Metadata:        e.Options.Metadata,
		ArtifactList:    ArtifactsOf(z.Artifacts),
		WorkspaceResult: workspaceResultOf(e, z.Workspace),
	}
	if !r.Success {
		r.Error = &z.Error
	}
	return r
}

// ArtifactsOf converts the artifacts of an execution. It returns nil for nil.
func ArtifactsOf(a *execution.Artifacts) *ArtifactList {
	if a == nil {
		return nil
	}
	l := &ArtifactList{
		Artifacts: []Artifact{}, Omitted: append([]execution.Omission{}, a.Omitted...), OmittedCount: a.Count,
	}
	for _, f := range a.Files {
		l.Artifacts = append(l.Artifacts, Artifact{
			Path: f.Path, Size: f.Blob.Size, SHA256: hex.EncodeToString(f.Blob.Sum[:]),
			Mode: fmt.Sprintf("%03o", f.Mode),
		})
	}
	if a.Cut != "" {
		l.Cut = &a.Cut
	}
	return l
}

// workspaceResultOf converts the outcome of saving a workspace. It returns nil for nil.
func workspaceResultOf(e execution.Execution, l *execution.WorkspaceResult) *WorkspaceResult {
	if l == nil {
		return nil
	}
	w := &WorkspaceResult{
		Name: e.Options.Workspace.Name, Saved: l.Saved, Size: l.Size, Entries: l.Count,
		Omitted: append([]execution.Omission{}, l.Omitted...), OmittedCount: l.Missing,
	}
	if !l.Saved {
		w.Reason = &l.Reason
	}
	return w
}
