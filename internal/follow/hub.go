package follow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

// Records reads stored executions. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// Get returns an execution with its result. The result has the sizes of the output, not the output.
	Get(ctx context.Context, id execution.ID) (execution.Execution, error)
	// Output reads the kept part of one stream of an ended execution, a piece at a time.
	Output(ctx context.Context, id execution.ID, stream execution.Stream) (execution.Printed, error)
	// Moves returns a channel that is signalled when the execution may have changed its state after the call.
	Moves(id execution.ID) (moves <-chan struct{}, release func())
	// Ahead returns the number of executions of the same subject in the queue before a queued one.
	Ahead(ctx context.Context, id execution.ID) (int, error)
}

// Live reads the output of running programs.
type Live interface {
	// Follow returns a function that reads the streams of an execution while they grow. read returns the bytes written
	// so far, and a channel that is closed when more bytes have come. An earlier result of read stays a prefix of each
	// later one.
	Follow(id execution.ID) (read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func())
}

const (
	queuedInterval  = 2 * time.Second  // between two queries of a queued execution's place in the queue
	runningInterval = 15 * time.Second // between two queries of a running execution, in case a signal was lost
	retryPause      = time.Second      // after a failed query
)

// Hub holds the executions that are being followed.
type Hub struct {
	records Records
	live    Live
	log     *logrus.Entry

	mu       sync.Mutex // guards followed and the number of followers in each
	followed map[execution.ID]*Followed
}

// New returns a hub without followers.
func New(records Records, live Live, log *logrus.Entry) *Hub {
	return &Hub{records: records, live: live, log: log, followed: make(map[execution.ID]*Followed)}
}

// View is the current state of an execution.
type View struct {
	execution.Execution
	Ahead int // executions of the same subject before it in the queue
}

// Followed is the state that all followers of an execution share. One goroutine keeps it up to date for any number of
// followers.
type Followed struct {
	hub       *Hub
	id        execution.ID
	followers int // guarded by the hub's mu
	stop      context.CancelFunc
	done      chan struct{}

	first chan struct{} // closed after the first query
	err   error         // error of the first query

	mu      sync.Mutex // guards the fields below
	view    View       // never modified, only replaced
	changed chan struct{}
	live    liveReader // set before a view shows the state running; nil after the end, so that the output is released
}

type liveReader func(execution.Stream) (kept []byte, grown <-chan struct{})

// Join starts to follow an execution. Errors are those of Records.Get. The caller must call Leave afterwards.
func (h *Hub) Join(ctx context.Context, id execution.ID) (*Followed, error) {
	h.mu.Lock()
	f := h.followed[id]
	if f == nil {
		f = &Followed{
			hub:     h,
			id:      id,
			first:   make(chan struct{}),
			done:    make(chan struct{}),
			changed: make(chan struct{}),
		}
		watched, stop := context.WithCancel(context.WithoutCancel(ctx))
		f.stop = stop
		h.followed[id] = f
		go f.watch(watched)
	}
	f.followers++
	h.mu.Unlock()
	select {
	case <-f.first:
	case <-ctx.Done():
		f.Leave()
		return nil, context.Cause(ctx)
	}
	if f.err != nil {
		f.Leave()
		return nil, fmt.Errorf("read execution: %w", f.err)
	}
	return f, nil
}

// Leave ends a Join. No method of f may be called afterwards. The last follower waits for the goroutine.
func (f *Followed) Leave() {
	f.hub.mu.Lock()
	f.followers--
	last := f.followers == 0
	if last && f.hub.followed[f.id] == f {
		delete(f.hub.followed, f.id)
	}
	f.hub.mu.Unlock()
	if last {
		f.stop()
		<-f.done
	}
}

// Look returns the current view, and a channel that is closed when the view has changed.
func (f *Followed) Look() (View, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.changed
}

// read reads a stream of a running execution. Nothing is read after the end.
func (f *Followed) read(stream execution.Stream) (kept []byte, grown <-chan struct{}) {
	f.mu.Lock()
	live := f.live
	f.mu.Unlock()
	if live == nil {
		return nil, nil
	}
	return live(stream)
}

func (f *Followed) setLive(live liveReader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live = live
}

// watch updates the view until ctx ends or the execution has ended.
func (f *Followed) watch(ctx context.Context) {
	defer close(f.done)
	moves, release := f.hub.records.Moves(f.id) // before the first query, so that no change in between is missed
	defer release()
	var releaseStreams func()
	defer func() {
		f.setLive(nil)
		if releaseStreams != nil {
			releaseStreams()
		}
	}()
	for seen := false; ; {
		view, err := f.load(ctx)
		// Before a follower sees the state running
		if err == nil && view.State == execution.Running && releaseStreams == nil {
			var live liveReader
			live, releaseStreams = f.hub.live.Follow(f.id)
			f.setLive(live)
		}
		if err != nil && !seen {
			f.fail(err)
			return
		}
		pause := retryPause
		if err == nil {
			pause = f.publish(view)
			if !seen {
				close(f.first)
				seen = true
			}
			if view.State.Terminal() {
				return
			}
		} else if ctx.Err() == nil {
			f.hub.log.WithField("execution_id", f.id).WithError(err).Warn("cannot refresh a followed execution")
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-moves:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *Followed) load(ctx context.Context) (view View, err error) {
	if view.Execution, err = f.hub.records.Get(ctx, f.id); err == nil && view.State == execution.Queued {
		view.Ahead, err = f.hub.records.Ahead(ctx, f.id)
	}
	return view, err
}

// publish replaces the current view and returns the time until the next query.
func (f *Followed) publish(view View) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = view
	close(f.changed)
	f.changed = make(chan struct{})
	if view.State == execution.Queued {
		return queuedInterval
	}
	return runningInterval
}

// fail ends a Followed whose first query failed. A later Join starts again.
func (f *Followed) fail(err error) {
	f.hub.mu.Lock()
	if f.hub.followed[f.id] == f {
		delete(f.hub.followed, f.id)
	}
	f.hub.mu.Unlock()
	f.err = err
	close(f.first)
}
