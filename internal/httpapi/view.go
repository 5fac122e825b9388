package httpapi

import (
	"cmp"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/wire"
)

// asked is what a submission asked for and where the execution stands. Code, the values of env and of the callback's headers,
// arguments, stdin, the content of files, and the secret are never shown.
type asked struct {
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
	Workspace       *workspaceUse     `json:"workspace"` // null: none
	CreatedAt       time.Time         `json:"created_at"`
	StartedAt       *time.Time        `json:"started_at"`   // null: it has not started, or never ran
	Deadline        *time.Time        `json:"deadline"`     // null: it has not started
	CompletedAt     *time.Time        `json:"completed_at"` // null: it has not ended
	CancelRequested bool              `json:"cancel_requested"`
}

// executionSummary is what a list shows of an execution: neither its output nor its files, nor how its callback fares.
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

// resultView is the part of a result that a list shows.
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

// final is the last event of a stream: the record without the output, which the stream has carried, and without the delivery.
type final struct {
	asked
	wire.WithoutOutput
	Callback wire.Target `json:"callback"`
}

// inputView is what a program was inputView beside its code, by its measures.
type inputView struct {
	Args  int                  `json:"args"`        // how many
	Stdin int                  `json:"stdin_bytes"` // bytes
	Files []execution.FileInfo `json:"files"`
	Globs []string             `json:"artifact_globs"` // of what is wanted back
}

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
		result, stdout, stderr := wire.ResultOf(e, *e.Result, inline)
		result.Stdout, result.Stderr = stdout.String(), stderr.String()
		r.Nested = wire.Nested{Result: &result}
	}
	return r
}

// finalOf shows an execution that has ended.
func finalOf(e execution.Execution, inline int) final {
	result, _, _ := wire.ResultOf(e, *e.Result, inline)
	return final{asked: askedOf(e), WithoutOutput: wire.WithoutOutput{Nested: wire.Nested{Result: &result}}, Callback: destinationViewOf(e.Callback)}
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
	r, _, _ := wire.ResultOf(e, *e.Result, 0)
	return &resultView{
		Success: r.Success, ExitCode: r.ExitCode, ExecutionTime: r.ExecutionTime, Error: r.Error, Reason: r.Reason,
		StdoutBytes: r.StdoutBytes, StderrBytes: r.StderrBytes, OutputComplete: r.OutputComplete, Usage: r.Usage,
	}
}

func destinationViewOf(c execution.Callback) wire.Target {
	return wire.Target{URL: c.URL, HeaderNames: listOf(c.HeaderNames)}
}

// listOf writes no names as [], not as null.
func listOf(names []string) []string { return append([]string{}, names...) }
