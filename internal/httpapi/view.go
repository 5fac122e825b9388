package httpapi

import (
	"cmp"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/wire"
)

// asked has the request of a submission and the state of its execution. No answer shows code, arguments, stdin, the
// content of files, the secret, or the values of env and of the callback's headers.
type asked struct {
	ExecutionID     execution.ID      `json:"execution_id"`
	Name            string            `json:"name"` // may be empty
	BatchID         execution.BatchID `json:"batch_id,omitempty"`
	Status          execution.State   `json:"status"`
	Subject         string            `json:"subject"`
	Language        string            `json:"language"`
	Timeout         int64             `json:"timeout"` // seconds
	WorkingDir      string            `json:"working_dir"`
	EnvNames        []string          `json:"env_names"`
	Limits          execution.Limits  `json:"limits"` // as requested
	Metadata        map[string]string `json:"metadata"`
	Network         string            `json:"network"`
	Workspace       *workspaceUse     `json:"workspace"` // null without a workspace
	CreatedAt       time.Time         `json:"created_at"`
	StartedAt       *time.Time        `json:"started_at"`   // null before the start, and if the program never ran
	Deadline        *time.Time        `json:"deadline"`     // null before the start
	CompletedAt     *time.Time        `json:"completed_at"` // null before the end
	CancelRequested bool              `json:"cancel_requested"`
}

// executionSummary is an execution in a list, without output, files and the state of the delivery.
type executionSummary struct {
	asked
	*resultView             // absent until it ended
	Callback    wire.Target `json:"callback"`
}

// workspaceUse is the workspace of an execution.
type workspaceUse struct {
	Name     string `json:"name"`
	ReadOnly bool   `json:"read_only"`
}

// resultView is the result of an execution in a list.
type resultView struct {
	Success        bool             `json:"success"`
	ExitCode       *int             `json:"exit_code"`
	ExecutionTime  wire.Seconds     `json:"execution_time"`
	Error          *string          `json:"error"`
	Reason         execution.Reason `json:"reason"`
	StdoutBytes    int64            `json:"stdout_bytes"`
	StderrBytes    int64            `json:"stderr_bytes"`
	OutputComplete bool             `json:"output_complete"`
	Usage          wire.Usage       `json:"usage"`
}

// executionView is all that is shown of one execution.
type executionView struct {
	asked
	inputView
	wire.Nested               // absent until the execution has ended
	Callback    wire.Callback `json:"callback"`
}

// final is the last event of a stream: the record without the output, which earlier events carried, and without the
// delivery.
type final struct {
	asked
	wire.WithoutOutput
	Callback wire.Target `json:"callback"`
}

// inputView has the sizes of the input of a program beside its code.
type inputView struct {
	Args  int                  `json:"args"`        // their number
	Stdin int                  `json:"stdin_bytes"` // bytes
	Files []execution.FileInfo `json:"files"`
	Globs []string             `json:"artifact_globs"` // of the artifacts
}

// executionViewOf returns the record of e, without its output.
func executionViewOf(e execution.Execution, d execution.Delivery, inline int) executionView {
	r := executionView{asked: askedOf(e), inputView: inputView{
		Args: e.Options.Args, Stdin: e.Options.Stdin, Files: append([]execution.FileInfo{}, e.Options.Files...),
		Globs: listOf(e.Options.Artifacts),
	}, Callback: wire.Callback{
		Target:        destinationViewOf(e.Callback),
		Signed:        len(d.Callback.Secret) > 0,
		State:         d.State,
		Attempts:      d.Attempts,
		NextAttemptAt: wire.TimeOrNull(d.NextAt),
		EndedAt:       wire.TimeOrNull(d.EndedAt),
	}}
	if d.Reason != "" {
		r.Callback.Reason = &d.Reason
	}
	if e.Result != nil {
		result := wire.ResultOf(e, *e.Result, inline)
		r.Nested = wire.Nested{Result: &result}
	}
	return r
}

// finalOf returns the last event of an execution that has ended.
func finalOf(e execution.Execution, inline int) final {
	result := wire.ResultOf(e, *e.Result, inline)
	return final{
		asked: askedOf(e), WithoutOutput: wire.WithoutOutput{Nested: wire.Nested{Result: &result}},
		Callback: destinationViewOf(e.Callback),
	}
}

func executionSummaryOf(e execution.Execution) executionSummary {
	s := executionSummary{asked: askedOf(e), Callback: destinationViewOf(e.Callback)}
	if e.Result != nil {
		s.resultView = resultViewOf(e)
	}
	return s
}

func askedOf(e execution.Execution) asked {
	a := asked{
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
		CreatedAt:       wire.Time(e.CreatedAt),
		CancelRequested: e.CancelRequested,
	}
	if use := e.Options.Workspace; use.Name != "" {
		a.Workspace = &workspaceUse{use.Name, use.ReadOnly}
	}
	if a.Metadata == nil {
		a.Metadata = map[string]string{} // not null
	}
	if e.Run != nil {
		a.StartedAt, a.Deadline = wire.TimeOrNull(e.Run.StartedAt), wire.TimeOrNull(e.Run.Deadline)
	}
	if z := e.Result; z != nil {
		a.StartedAt, a.CompletedAt = wire.TimeOrNull(z.StartedAt), wire.TimeOrNull(z.CompletedAt)
	}
	return a
}

func resultViewOf(e execution.Execution) *resultView {
	r := wire.ResultOf(e, *e.Result, 0)
	return &resultView{
		Success: r.Success, ExitCode: r.ExitCode, ExecutionTime: r.ExecutionTime, Error: r.Error, Reason: r.Reason,
		StdoutBytes: r.StdoutBytes, StderrBytes: r.StderrBytes, OutputComplete: r.OutputComplete, Usage: r.Usage,
	}
}

func destinationViewOf(c execution.Callback) wire.Target {
	return wire.Target{URL: c.URL, HeaderNames: listOf(c.HeaderNames)}
}

// listOf returns a list that JSON writes as [] rather than null when it is empty.
func listOf(names []string) []string { return append([]string{}, names...) }
