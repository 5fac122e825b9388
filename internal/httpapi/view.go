package httpapi

import (
	"cmp"
	"time"

	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// summary is what a list shows of an execution: all but what it printed and how its callback fares. Code, the values of
// env and of the callback's headers, arguments, stdin, the content of files, and the secret are never shown.
type summary struct {
	ExecutionID     execution.ID      `json:"execution_id"`
	Name            string            `json:"name"` // empty: it has none
	BatchID         execution.BatchID `json:"batch_id,omitempty"`
	Status          execution.State   `json:"status"`
	Subject         string            `json:"subject"`
	Language        string            `json:"language"`
	Timeout         int64             `json:"timeout"` // seconds
	WorkingDir      string            `json:"working_dir"`
	EnvNames        []string          `json:"env_names"`
	Limits          execution.Limits  `json:"limits"` // what was asked for
	Metadata        map[string]string `json:"metadata"`
	Network         string            `json:"network"`
	Workspace       *inUse            `json:"workspace"` // null: none
	CreatedAt       time.Time         `json:"created_at"`
	StartedAt       *time.Time        `json:"started_at"`   // null: it has not started, or never ran
	Deadline        *time.Time        `json:"deadline"`     // null: it has not started
	CompletedAt     *time.Time        `json:"completed_at"` // null: it has not ended
	CancelRequested bool              `json:"cancel_requested"`
	*outcome                          // absent until it ended
	Callback        destination       `json:"callback"`
}

// inUse is the workspace of an execution.
type inUse struct {
	Name     string `json:"name"`
	ReadOnly bool   `json:"read_only"`
}

// outcome is how an execution ended, in the fields of the callback.
type outcome struct {
	Success        bool             `json:"success"`
	ExitCode       *int             `json:"exit_code"`
	ExecutionTime  callback.Seconds `json:"execution_time"`
	Error          *string          `json:"error"`
	Reason         execution.Reason `json:"reason"`
	StdoutBytes    int64            `json:"stdout_bytes"`
	StderrBytes    int64            `json:"stderr_bytes"`
	OutputComplete bool             `json:"output_complete"`
	Usage          callback.Usage   `json:"usage"`
}

// destination is where the result goes.
type destination struct {
	URL         string   `json:"url"`
	HeaderNames []string `json:"header_names"`
}

// record is all that is shown of one execution.
type record struct {
	summary
	given
	*printed // absent until it ended

	WorkspaceResult *callback.Workspace `json:"workspace_result,omitempty"` // absent until it ended, and without one that it could change
	Callback        obligation          `json:"callback"`
}

// given is what a program was given beside its code, by its measures.
type given struct {
	Args  int                  `json:"args"`        // how many
	Stdin int                  `json:"stdin_bytes"` // bytes
	Files []execution.FileInfo `json:"files"`
	Globs []string             `json:"artifact_globs"` // of what is wanted back
}

// printed is what an execution printed, as the callback shows it.
type printed struct {
	Stdout          string `json:"stdout"`
	Stderr          string `json:"stderr"`
	StdoutTruncated bool   `json:"stdout_truncated"`
	StderrTruncated bool   `json:"stderr_truncated"`
}

// obligation is where the result goes and how far it is on its way.
type obligation struct {
	destination
	Signed        bool                    `json:"signed"`
	State         execution.DeliveryState `json:"state"`
	Reason        *execution.DeadReason   `json:"reason"` // null unless dead
	Attempts      int                     `json:"attempts"`
	NextAttemptAt *time.Time              `json:"next_attempt_at"` // null unless pending
	EndedAt       *time.Time              `json:"ended_at"`        // null until delivered or dead
}

func recordOf(e execution.Execution, d execution.Delivery, inline int) record {
	r := record{summary: summaryOf(e), given: given{
		Args: e.Options.Args, Stdin: e.Options.Stdin, Files: append([]execution.FileInfo{}, e.Options.Files...),
		Globs: listOf(e.Options.Artifacts),
	}, Callback: obligation{
		destination:   destinationOf(e.Callback),
		Signed:        len(d.Callback.Secret) > 0,
		State:         d.State,
		Attempts:      d.Attempts,
		NextAttemptAt: instantOrNull(d.NextAt),
		EndedAt:       instantOrNull(d.EndedAt),
	}}
	if d.Reason != "" {
		r.Callback.Reason = &d.Reason
	}
	if e.Result != nil {
		stdout, stdoutCut := e.Result.Stdout.Inline(inline)
		stderr, stderrCut := e.Result.Stderr.Inline(inline)
		r.printed = &printed{
			Stdout: stdout.String(), Stderr: stderr.String(), StdoutTruncated: stdoutCut, StderrTruncated: stderrCut,
		}
	}
	return r
}

func summaryOf(e execution.Execution) summary {
	s := summary{
		ExecutionID:     e.ID,
		Name:            e.Name,
		BatchID:         e.Batch.ID,
		Status:          e.State,
		Subject:         e.Subject,
		Language:        e.Language,
		Timeout:         int64(e.Timeout / time.Second),
		WorkingDir:      e.WorkingDir,
		EnvNames:        listOf(e.EnvNames),
		Limits:          e.Options.Limits,
		Metadata:        e.Options.Metadata,
		Network:         cmp.Or(e.Options.Network, language.NoNetwork),
		CreatedAt:       onTheWire(e.CreatedAt),
		CancelRequested: e.CancelRequested,
		Callback:        destinationOf(e.Callback),
	}
	if use := e.Options.Workspace; use.Name != "" {
		s.Workspace = &inUse{use.Name, use.ReadOnly}
	}
	if s.Metadata == nil {
		s.Metadata = map[string]string{} // not null
	}
	if e.Run != nil {
		s.StartedAt, s.Deadline = instantOrNull(e.Run.StartedAt), instantOrNull(e.Run.Deadline)
	}
	if z := e.Result; z != nil {
		s.StartedAt, s.CompletedAt = instantOrNull(z.StartedAt), instantOrNull(z.CompletedAt)
		s.outcome = outcomeOf(z)
	}
	return s
}

func outcomeOf(z *execution.Result) *outcome {
	o := &outcome{
		Success:        z.State == execution.Completed,
		ExitCode:       z.ExitCode,
		ExecutionTime:  callback.Seconds(z.Duration),
		Reason:         z.Reason,
		StdoutBytes:    z.Stdout.Bytes,
		StderrBytes:    z.Stderr.Bytes,
		OutputComplete: z.OutputComplete,
		Usage:          callback.Usage{CPUTime: callback.Seconds(z.CPUTime), MaxMemory: z.MaxMemory},
	}
	if !o.Success {
		o.Error = &z.Error
	}
	return o
}

func destinationOf(c execution.Callback) destination {
	return destination{URL: c.URL, HeaderNames: listOf(c.HeaderNames)}
}

// listOf writes no names as [], not as null.
func listOf(names []string) []string { return append([]string{}, names...) }

func instantOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(onTheWire(t))
}
