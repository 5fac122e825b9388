package dispatch

import (
	"context"

	"github.com/sirupsen/logrus"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// adoptRunning matches the running executions of an earlier process with the containers of this node, adopts each
// execution, and removes the other containers. It returns false if ctx ended first.
func (d *Dispatcher) adoptRunning(ctx context.Context) bool {
	rows, containers, ok := d.readLeftovers(ctx)
	if !ok {
		return false
	}
	running := make(map[string]bool, len(rows))
	for _, e := range rows {
		running[e.Run.Container] = true
	}
	found := make(map[string]sandbox.Found, len(containers))
	for _, f := range containers {
		if running[f.Container.ID()] {
			found[f.Container.ID()] = f
			continue
		}
		// No running execution names this container: it was warm, its execution has ended, or an interrupted
		// preparation left it behind. In the last case its journal says that the program did not start, although
		// another container of the same execution may have run the program.
		d.wg.Go(func() {
			d.removeContainer(ctx, d.newRun(ctx, execution.Execution{ID: execution.ID(f.Execution)}), f.Container)
		})
	}
	for _, e := range rows {
		f, there := found[e.Run.Container]
		d.adopt(ctx, e, f, there)
	}
	return true
}

// readLeftovers reads the running executions and the containers of this node. It retries until both succeed; false if
// ctx ended first.
func (d *Dispatcher) readLeftovers(ctx context.Context) (
	rows []execution.Execution, containers []sandbox.Found, ok bool,
) {
	for {
		rows, err := d.Store.Running(ctx)
		if err == nil {
			containers, err = d.Sandbox.Containers(ctx)
		}
		if err == nil {
			return rows, containers, true
		}
		if ctx.Err() == nil {
			d.Log.WithError(err).Warn("look for what an earlier process left")
		}
		if !wait(ctx, retryPause, nil) {
			return nil, nil, false
		}
	}
}

// adopt concludes a running execution of an earlier process. An execution without a container has the reason "lost".
func (d *Dispatcher) adopt(ctx context.Context, e execution.Execution, f sandbox.Found, there bool) {
	d.slots.forceAcquire()
	r := d.newRun(ctx, e)
	d.register(r)
	d.wg.Go(func() {
		defer d.unregister(r)
		err := d.persist(ctx, r, "adopt execution", func() error {
			defer crash.Point("after-adopt")
			return d.Store.Adopt(ctx, e.ID)
		})
		if err != nil {
			return
		}
		r.execution.Run.Epoch = d.Epoch
		if !there {
			d.finish(ctx, r, result(r, evidence{gone: true}))
			return
		}
		d.log(r).WithFields(logrus.Fields{"status": execution.Running, "container": f.Container.ID()}).
			Info("execution taken over")
		d.conclude(ctx, r, f.Container)
	})
}
