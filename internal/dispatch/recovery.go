package dispatch

import (
	"context"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// adoptRunning matches the rows that an earlier process left running with the containers that are there, and sends each down
// the second half of the road. False: ctx ended first.
func (d *Dispatcher) adoptRunning(ctx context.Context) bool {
	rows, containers, ok := d.leftContainers(ctx)
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
		// A container that no running row names: it waited, or its execution has ended, or never left the queue, or runs in
		// another container, and this one is what an earlier preparation left. That one's journal says that nothing ran; it must
		// not be taken for the run's.
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

// leftContainers reads both books; it goes on trying until both can be read.
func (d *Dispatcher) leftContainers(ctx context.Context) (rows []execution.Execution, containers []sandbox.Found, ok bool) {
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

// adopt follows the container of a running row; a row without a container is lost.
func (d *Dispatcher) adopt(ctx context.Context, e execution.Execution, f sandbox.Found, there bool) {
	d.slots.occupy()
	r := d.newRun(ctx, e)
	d.begin(r)
	d.wg.Go(func() {
		defer d.end(r)
		if d.persist(ctx, r, "adopt execution", func() error { return d.Store.Adopt(ctx, e.ID) }) != nil {
			return
		}
		r.execution.Run.Epoch = d.Epoch
		if !there {
			d.finish(ctx, r, result(r, evidence{gone: true}))
			return
		}
		d.log(r).WithFields(logrus.Fields{"status": execution.Running, "container": f.Container.ID()}).Info("execution taken over")
		d.conclude(ctx, r, f.Container)
	})
}
