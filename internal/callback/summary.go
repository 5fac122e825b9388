package callback

import (
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Summary makes the body of a batch's callback; it is an execution.Summary.
func Summary(id execution.BatchID, all []execution.Execution) []byte {
	return encode(wire.BatchResultOf(id, all))
}
