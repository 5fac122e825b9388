package dispatch

import (
	"context"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
	"boomerang/internal/sandbox"
)

// recover matches the rows that an earlier process left running with the berths that are there, and sends each down
// the second half of the road. False: ctx ended first.
func (d *Dispatcher) recover(ctx context.Context) bool {
	rows, berths, ok := d.remains(ctx)
	if !ok {
		return false
	}
	running := make(map[string]bool, len(rows))
	for _, e := range rows {
		running[e.Run.Berth] = true
	}
	found := make(map[string]sandbox.Found, len(berths))
	for _, f := range berths {
		if running[f.Berth.ID()] {
			found[f.Berth.ID()] = f
			continue
		}
		// A berth that no running row names: it waited, or its execution has ended, or never left the queue, or runs in
		// another berth, and this one is what an earlier preparation left. That one's journal says that nothing ran; it must
		// not be taken for the run's.
		d.wg.Go(func() { d.leave(ctx, d.newRun(ctx, execution.Execution{ID: execution.ID(f.Execution)}), f.Berth) })
	}
	for _, e := range rows {
		f, there := found[e.Run.Berth]
		d.takeOver(ctx, e, f, there)
	}
	return true
}

// remains reads both books; it goes on trying until both can be read.
func (d *Dispatcher) remains(ctx context.Context) (rows []execution.Execution, berths []sandbox.Found, ok bool) {
	for {
		rows, err := d.Store.Running(ctx)
		if err == nil {
			berths, err = d.Sandbox.Berths(ctx)
		}
		if err == nil {
			return rows, berths, true
		}
		if ctx.Err() == nil {
			d.Log.WithError(err).Warn("look for what an earlier process left")
		}
		if !wait(ctx, breath, nil) {
			return nil, nil, false
		}
	}
}

// takeOver follows the berth of a running row; a row without a berth is lost.
func (d *Dispatcher) takeOver(ctx context.Context, e execution.Execution, f sandbox.Found, there bool) {
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
		d.log(r).WithFields(logrus.Fields{"status": execution.Running, "berth": f.Berth.ID()}).Info("execution taken over")
		d.conclude(ctx, r, f.Berth)
	})
}
