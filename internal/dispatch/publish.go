package dispatch

import (
	"context"
	"time"

	"boomerang/internal/execution"
)

// publishEvery is how much later than here another process sees what a program prints.
const publishEvery = 100 * time.Millisecond

// publish passes on what the program of a run prints until done is closed; what comes last is in the result.
func (d *Dispatcher) publish(ctx context.Context, r *run, done <-chan struct{}) {
	sent := map[execution.Stream]int64{}
	for stream := range map[execution.Stream]bool{execution.Stdout: true, execution.Stderr: true} {
		kept, err := d.Publisher.Published(ctx, r.execution.ID, stream, 0) // by an earlier process
		if err != nil {
			d.log(r).WithError(err).Warn("read published output")
			return
		}
		sent[stream] = int64(len(kept))
	}
	for wait(ctx, publishEvery, done) {
		select {
		case <-done:
			return
		default:
		}
		for stream, at := range sent {
			fresh, _ := d.Live(r.execution.ID, stream)
			if int64(len(fresh)) <= at {
				continue
			}
			if err := d.Publisher.Publish(ctx, r.execution.ID, stream, at, fresh[at:]); err != nil {
				d.log(r).WithError(err).Debug("publish output")
				break
			}
			sent[stream] = int64(len(fresh))
		}
	}
}
