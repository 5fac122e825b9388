package gateway

import (
	"context"
	"fmt"

	"boomerang/internal/execution"
)

// Complete adds to the result of e, if there is one, its artifacts and the result of its workspace. Records omit both,
// because most requests do not need them.
func (x *Executions) Complete(ctx context.Context, e execution.Execution) (_ execution.Execution, err error) {
	if e.Result == nil {
		return e, nil
	}
	z := *e.Result
	if len(e.Options.Artifacts) > 0 {
		if z.Artifacts, err = x.Artifacts.Artifacts(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read artifacts: %w", err)
		}
	}
	if e.Options.Workspace.Writes() {
		if z.Workspace, err = x.Records.WorkspaceResult(ctx, e.ID); err != nil {
			return e, fmt.Errorf("read result of workspace: %w", err)
		}
	}
	e.Result = &z
	return e, nil
}

// Shown returns the output of an ended execution as its record shows it. The bytes are read when they are needed. The
// output of an execution that has not ended is empty.
func (x *Executions) Shown(
	ctx context.Context, e execution.Execution,
) (stdout, stderr execution.Text, err error) {
	if e.Result == nil {
		return nil, nil, nil
	}
	if stdout, _, err = x.ShownOf(ctx, e, execution.Stdout); err != nil {
		return nil, nil, err
	}
	stderr, _, err = x.ShownOf(ctx, e, execution.Stderr)
	return stdout, stderr, err
}

// ShownOf returns one stream as the record of e shows it, or the output so far of a running program, and whether bytes
// are missing.
func (x *Executions) ShownOf(
	ctx context.Context, e execution.Execution, stream execution.Stream,
) (text execution.Text, cut bool, err error) {
	var p execution.Printed
	if e.Result == nil {
		p, _ = x.SoFar(ctx, e.ID, stream)
	} else if p, err = x.Printed(ctx, e, stream); err != nil {
		return nil, false, err
	}
	if text, cut, err = p.Inline(x.Inline); err != nil {
		return nil, false, fmt.Errorf("read output: %w", err)
	}
	return text, cut, nil
}

// Printed returns the kept output of an ended execution.
func (x *Executions) Printed(
	ctx context.Context, e execution.Execution, stream execution.Stream,
) (execution.Printed, error) {
	if e.Result.Output(stream).Bytes == 0 {
		return execution.Output{}.Printed(), nil // without a query
	}
	p, err := x.Records.Output(ctx, e.ID, stream)
	if err != nil {
		return execution.Printed{}, fmt.Errorf("read output: %w", err)
	}
	return p, nil
}

// SoFar returns the output so far of a program that runs here; false if it does not run.
func (x *Executions) SoFar(
	ctx context.Context, id execution.ID, stream execution.Stream,
) (p execution.Printed, running bool) {
	kept, running := x.Live.Live(id, stream)
	size := int64(len(kept))
	return execution.Printed{
		ReaderAt: &liveReader{x, ctx, id, stream}, Sizes: execution.Sizes{Head: size}, Bytes: size,
	}, running
}

// liveReader reads the output of a running program, and goes on in the store when the program has ended. A slice would
// keep the output in memory for a client that is slow.
type liveReader struct {
	executions *Executions
	ctx        context.Context //nolint:containedctx // an io.ReaderAt has no other way to get it
	id         execution.ID
	stream     execution.Stream
}

// ReadAt implements io.ReaderAt.
func (r *liveReader) ReadAt(p []byte, at int64) (int, error) {
	if kept, running := r.executions.Live.Live(r.id, r.stream); running && at+int64(len(p)) <= int64(len(kept)) {
		return copy(p, kept[at:]), nil
	}
	stored, err := r.executions.Records.Output(r.ctx, r.id, r.stream)
	if err != nil {
		return 0, fmt.Errorf("read output: %w", err)
	}
	return stored.ReadAt(p, at)
}
