package execution

import (
	"strings"
	"time"
)

// BatchID names the executions of one batch: "batch_" and 26 characters as in an ID.
type BatchID string

const batchPrefix = "batch_"

// NewBatchID makes a BatchID from the milliseconds of now and 80 random bits.
func NewBatchID(now time.Time) BatchID {
	return BatchID(batchPrefix + strings.TrimPrefix(string(NewID(now)), idPrefix))
}

// Valid reports whether the BatchID has the form that NewBatchID makes. The batch need not exist.
func (id BatchID) Valid() bool {
	rest, ok := strings.CutPrefix(string(id), batchPrefix)
	return ok && ID(idPrefix+rest).Valid()
}

// Batch is the batch that an execution belongs to. It is the zero value for an execution that was submitted alone.
type Batch struct {
	ID      BatchID
	Summary bool // the batch has one callback, made when its last execution has ended
}

// Summary makes the body of the one callback of a batch from its ended executions, in the order of their submission.
// The results carry the counts of the output, without the output itself.
type Summary func(BatchID, []Execution) []byte
