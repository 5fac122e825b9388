package dispatch

import (
	"context"
	"time"

	"boomerang/internal/execution"
)

// publishInterval is the longest delay until another process sees new output.
const publishInterval = 100 * time.Millisecond

// publish copies the output of a run to the publisher until done is closed. The result has the last bytes.
func (d *Dispatcher) publish(ctx context.Context, r *run, done <-chan struct{}) {
	sent := map[execution.Stream]int64{}
	for stream := range map[execution.Stream]bool{execution.Stdout: true, execution.Stderr: true} {
		kept, err := d.Publisher.Published(ctx, r.execution.ID, stream, 0) // an earlier process may have published some
		if err != nil {
			d.log(r).WithError(err).Warn("read published output")
			return
		}
		sent[stream] = int64(len(kept))
	}
	for wait(ctx, publishInterval, done) {
		select {
		case <-done:
			return
		default:
		}
		for stream, at := range sent {
			kept, _ := d.Live(r.execution.ID, stream)
			if int64(len(kept)) <= at {
				continue
			}
			if err := d.Publisher.Publish(ctx, r.execution.ID, stream, at, kept[at:]); err != nil {
				d.log(r).WithError(err).Debug("publish output")
				break
			}
			sent[stream] = int64(len(kept))
		}
	}
}
