package callback

import (
	"time"

	"boomerang/internal/execution"
)

// Batch is the body of the one callback of a batch. What its executions printed is at their records.
type Batch struct {
	BatchID     execution.BatchID       `json:"batch_id"`
	Success     bool                    `json:"success"` // all are completed
	Count       int                     `json:"count"`
	Counts      map[execution.State]int `json:"counts"` // how many ended so; a state in which none did is absent
	CompletedAt time.Time               `json:"completed_at"`
	Timestamp   time.Time               `json:"timestamp"`  // the same instant
	Executions  []Member                `json:"executions"` // in the order of their submission
}

// Member is one execution of a Batch, in the fields of its own callback.
type Member struct {
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

// Summary makes the body of a batch's callback; it is an execution.Summary.
func Summary(id execution.BatchID, all []execution.Execution) []byte {
	b := Batch{BatchID: id, Success: true, Counts: make(map[execution.State]int)}
	for _, e := range all {
		if e.Result == nil { // the caller has not ended
			continue
		}
		m := memberOf(e, *e.Result)
		b.Count++
		b.Counts[m.Status]++
		b.Success = b.Success && m.Success
		if m.CompletedAt.After(b.CompletedAt) {
			b.CompletedAt = m.CompletedAt
		}
		b.Executions = append(b.Executions, m)
	}
	b.Timestamp = b.CompletedAt
	return encode(b)
}

func memberOf(e execution.Execution, r execution.Result) Member {
	m := Member{
		ExecutionID:   e.ID,
		Status:        r.State,
		Success:       r.State == execution.Completed,
		ExitCode:      r.ExitCode,
		ExecutionTime: Seconds(r.Duration),
		StartedAt:     instantOrNull(r.StartedAt),
		CompletedAt:   onTheWire(r.CompletedAt),
		Reason:        r.Reason,
		Language:      e.Language,
		StdoutBytes:   r.Stdout.Bytes,
		StderrBytes:   r.Stderr.Bytes,
		Name:          e.Name,
		Metadata:      e.Options.Metadata,
	}
	if !m.Success {
		m.Error = &r.Error
	}
	return m
}
