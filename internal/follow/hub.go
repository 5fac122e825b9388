package follow

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

// Records reads what is stored. Errors: faults EXECUTION_NOT_FOUND, SERVICE_UNAVAILABLE.
type Records interface {
	// Get returns an execution with its result and output.
	Get(ctx context.Context, id execution.ID) (execution.Execution, error)
	// Moves returns a channel that is signalled when the execution may have come to another state from now on.
	Moves(id execution.ID) (moves <-chan struct{}, release func())
	// Ahead returns how many executions of the same subject are in line before a queued one.
	Ahead(ctx context.Context, id execution.ID) (int, error)
}

// Live knows the programs that run.
type Live interface {
	// Follow returns what reads the streams of an execution while they grow: what was written so far, and a channel that is
	// closed when more has come. What it returned once stays a prefix of what it returns later.
	Follow(id execution.ID) (read func(execution.Stream) (kept []byte, grown <-chan struct{}), release func())
}

const (
	queuedInterval = 2 * time.Second  // between two looks at what is ahead of a queued execution
	runningInterval = 15 * time.Second // between two looks at a running one, should a signal have been missed
	retryPause   = time.Second      // after a look that failed
)

// Hub knows who follows what.
type Hub struct {
	records Records
	live    Live
	log     *logrus.Entry

	mu       sync.Mutex // guards followed and the holders in it
	followed map[execution.ID]*Followed
}

// New makes a hub that nobody follows anything with.
func New(records Records, live Live, log *logrus.Entry) *Hub {
	return &Hub{records: records, live: live, log: log, followed: make(map[execution.ID]*Followed)}
}

// View is an execution as it stands.
type View struct {
	execution.Execution
	Ahead int // how many of the same subject are in line before it, while it is queued
}

// Followed is one execution that somebody follows: what its followers share. One goroutine looks after it, however many
// they are.
type Followed struct {
	hub     *Hub
	id      execution.ID
	followers int // guarded by the hub
	stop    context.CancelFunc
	done    chan struct{}
	read    func(execution.Stream) (kept []byte, grown <-chan struct{}) // there as soon as a view says that it runs

	first chan struct{} // closed when there is a view, or an error
	err   error         // of the first look

	mu      sync.Mutex // guards what follows
	view    View       // what it holds is never written to
	changed chan struct{}
}

// Join begins to follow an execution. Errors: those of Records.Get. Call Leave when done.
func (h *Hub) Join(ctx context.Context, id execution.ID) (*Followed, error) {
	h.mu.Lock()
	f := h.followed[id]
	if f == nil {
		f = &Followed{hub: h, id: id, first: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{})}
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

// Leave ends what Join has begun; nothing of Followed may be used after it. The last one waits for the goroutine.
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

// Look returns the execution as it stands, and a channel that is closed when it should be looked at again.
func (f *Followed) Look() (View, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view, f.changed
}

// watch keeps the view true until ctx ends or the execution has.
func (f *Followed) watch(ctx context.Context) {
	defer close(f.done)
	moves, release := f.hub.records.Moves(f.id) // before the first look: a step between the two would be missed
	defer release()
	releaseStreams := func() {}
	defer func() { releaseStreams() }()
	for seen := false; ; {
		view, err := f.load(ctx)
		if err == nil && view.State == execution.Running && f.read == nil { // before anybody sees that it runs
			f.read, releaseStreams = f.hub.live.Follow(f.id)
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
			f.hub.log.WithField("execution_id", f.id).WithError(err).Warn("look at what is followed")
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

// show makes a view the present one and returns how long it may be so.
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

// fail ends what could not begin. Who comes later begins anew.
func (f *Followed) fail(err error) {
	f.hub.mu.Lock()
	if f.hub.followed[f.id] == f {
		delete(f.hub.followed, f.id)
	}
	f.hub.mu.Unlock()
	f.err = err
	close(f.first)
}
