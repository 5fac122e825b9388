package gateway

import (
	"context"
	"fmt"

	"boomerang/internal/execution"
)

// wholeRecords reads executions with every field of their callback. Records alone omits artifacts and workspaces, which
// most requests do not need.
type wholeRecords struct {
	Records
	artifacts ArtifactLists
}

// Get implements follow.Records.
func (w wholeRecords) Get(ctx context.Context, id execution.ID) (execution.Execution, error) {
	e, err := w.Records.Get(ctx, id)
	if err != nil {
		return e, err
	}
	return w.complete(ctx, e)
}

// complete adds to the result of e, if there is one, its artifacts and the result of its workspace.
func (w wholeRecords) complete(ctx context.Context, e execution.Execution) (_ execution.Execution, err error) {
	if e.Result == nil {
		return e, nil
	}
	z := *e.Result
	if len(e.Options.Artifacts) > 0 {
		if z.Artifacts, err = w.artifacts.Artifacts(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read artifacts: %w", err)
		}
	}
	if e.Options.Workspace.Writes() {
		if z.Workspace, err = w.WorkspaceResult(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read result of workspace: %w", err)
		}
	}
	e.Result = &z
	return e, nil
}
