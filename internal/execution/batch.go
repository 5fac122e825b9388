package execution

import (
	"strings"
	"time"
)

// BatchID names executions that were submitted together: "batch_" and what an ID has behind its own prefix.
type BatchID string

const batchPrefix = "batch_"

// NewBatchID makes a BatchID from the milliseconds of now and 80 random bits.
func NewBatchID(now time.Time) BatchID {
	return BatchID(batchPrefix + strings.TrimPrefix(string(NewID(now)), idPrefix))
}

// Valid tells whether the BatchID has the form that NewBatchID gives. It says nothing about whether it exists.
func (id BatchID) Valid() bool {
	rest, ok := strings.CutPrefix(string(id), batchPrefix)
	return ok && ID(idPrefix+rest).Valid()
}

// Batch is what an execution knows of those that were submitted with it. The zero value: it was submitted alone.
type Batch struct {
	ID      BatchID
	Summary bool // there is one callback for all, made when the last has ended
}

// Summary makes the body of the callback of a whole batch of its ended executions, in the order of their submission. Results
// have the counts of what was printed, and not the text.
type Summary func(BatchID, []Execution) []byte
