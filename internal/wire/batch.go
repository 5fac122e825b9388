package wire

import (
	"time"

	"boomerang/internal/execution"
)

// BatchResult is the body of the single callback of a batch. The output of its executions is in their records.
type BatchResult struct {
	BatchID     execution.BatchID       `json:"batch_id"`
	Success     bool                    `json:"success"` // whether all executions are completed
	Count       int                     `json:"count"`
	Counts      map[execution.State]int `json:"counts"` // executions per final state, without zeros
	CompletedAt time.Time               `json:"completed_at"`
	Timestamp   time.Time               `json:"timestamp"`  // equals CompletedAt
	Executions  []BatchMember           `json:"executions"` // in the order of their submission
}

// BatchMember is one execution of a BatchResult, with fields of its Result.
type BatchMember struct {
	ExecutionID   execution.ID      `json:"execution_id"`
	Status        execution.State   `json:"status"`
	Success       bool              `json:"success"`
	ExitCode      *int              `json:"exit_code"`
	ExecutionTime Seconds           `json:"execution_time"`
	StartedAt     *time.Time        `json:"started_at"`
	CompletedAt   time.Time         `json:"completed_at"`
	Error         *string           `json:"error"`
	Reason        execution.Reason  `json:"reason"`
	Language      string            `json:"language"`
	StdoutBytes   int64             `json:"stdout_bytes"`
	StderrBytes   int64             `json:"stderr_bytes"`
	Name          string            `json:"name,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
}

// BatchResultOf sums up the ended executions of a batch.
func BatchResultOf(id execution.BatchID, all []execution.Execution) BatchResult {
	b := BatchResult{BatchID: id, Success: true, Counts: make(map[execution.State]int)}
	for _, e := range all {
		if e.Result == nil {
			continue
		}
		r := ResultOf(e, *e.Result, 0)
		b.Count++
		b.Counts[r.Status]++
		b.Success = b.Success && r.Success
		if r.CompletedAt.After(b.CompletedAt) {
			b.CompletedAt = r.CompletedAt
		}
		b.Executions = append(b.Executions, BatchMember{
			ExecutionID: r.ExecutionID, Status: r.Status, Success: r.Success, ExitCode: r.ExitCode,
			ExecutionTime: r.ExecutionTime, StartedAt: r.StartedAt, CompletedAt: r.CompletedAt,
			Error: r.Error, Reason: r.Reason, Language: r.Language,
			StdoutBytes: r.StdoutBytes, StderrBytes: r.StderrBytes, Name: r.Name, Metadata: r.Metadata,
		})
	}
	b.Timestamp = b.CompletedAt
	return b
}
