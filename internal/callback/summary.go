package callback

import (
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// Summary returns the body of a batch's callback. It implements execution.Summary.
func Summary(id execution.BatchID, all []execution.Execution) []byte {
	return encodeJSON(wire.BatchResultOf(id, all))
}
