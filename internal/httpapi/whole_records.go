package httpapi

import (
	"context"
	"fmt"

	"boomerang/internal/execution"
)

// wholeRecords reads executions with everything that their callback shows. Records alone leaves artifacts and workspaces out, which
// most requests do not need.
type wholeRecords struct {
	Records
	leftovers Leftovers
}

// Get implements follow.Records.
func (w wholeRecords) Get(ctx context.Context, id execution.ID) (execution.Execution, error) {
	e, err := w.Records.Get(ctx, id)
	if err != nil {
		return e, err
	}
	return w.complete(ctx, e)
}

// complete adds to the result of e, if it has one, its artifacts and what became of its workspace.
func (w wholeRecords) complete(ctx context.Context, e execution.Execution) (_ execution.Execution, err error) {
	if e.Result == nil {
		return e, nil
	}
	z := *e.Result
	if len(e.Options.Artifacts) > 0 {
		if z.Artifacts, err = w.leftovers.Artifacts(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read artifacts: %w", err)
		}
	}
	if e.Options.Workspace.Writes() {
		if z.Left, err = w.Left(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read what became of the workspace: %w", err)
		}
	}
	e.Result = &z
	return e, nil
}
