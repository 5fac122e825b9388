package callback

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
)

const (
	shutdownGrace   = 10 * time.Second // for attempts in flight when Run is told to stop
	maxWait         = time.Minute      // between two queries of the store, because the wall clock may be set
	storeRetryPause = 5 * time.Second  // before a failed query of the store is repeated

	breakerTimeout = time.Second // for storing the state of a breaker
	recordTimeout  = 5 * time.Second
	recordPause    = time.Second // before an attempt is recorded again; doubled each time
	maxRecordPause = 30 * time.Second
	maxRecordTime  = 10 * time.Minute // then the record is dropped and the attempt is made again
)

// Store is the part of the store that the deliverer needs. Its methods are safe for concurrent use.
type Store interface {
	// Due returns pending deliveries whose time has come at now, longest due first: at most limit in all, and at most
	// perDestination for one destination. It leaves out the executions in inFlight and the destinations in closed. Its
	// cost grows with the number of destinations, not with the number of deliveries that wait for one destination.
	Due(
		ctx context.Context, now time.Time, perDestination, limit int, inFlight []execution.ID, closed []string,
	) ([]execution.Due, error)

	// NextDue returns the earliest NextAt of a pending delivery that is after now; ok is false if there is none.
	NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error)

	// Delivery returns a delivery with its sealed callback and its body.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)

	// Breakers returns the states that KeepBreaker stored.
	Breakers(ctx context.Context) ([]execution.Breaker, error)

	// KeepBreaker stores the state of a destination's breaker, and deletes the state of a closed breaker.
	KeepBreaker(ctx context.Context, b execution.Breaker) error

	// Record adds the attempt and moves the delivery to state, in one transaction. reason is set with Dead, nextAt with
	// Pending. After an error nothing has been written.
	Record(
		ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason,
		nextAt time.Time,
	) error

	// Pending receives a value when a delivery becomes pending. One value may stand for many deliveries.
	Pending() <-chan struct{}
}

// Deliverer sends pending deliveries until they have arrived or are given up. Delivery is at least once: an attempt
// whose record was lost with the process is made again, with the same webhook-id and the same bytes.
type Deliverer struct {
	store  Store
	sender *sender
	config Config
	jitter func() float64 // returns a number from 0 to 1
	log    *logrus.Entry
}

// Deps are the dependencies of a deliverer.
type Deps struct {
	Store    Store
	Unsealer Unsealer
	Policy   *Policy // made from the deliverer's configuration
	Version  string  // of boomerang, sent as User-Agent
	Log      *logrus.Entry
}

// NewDeliverer returns a deliverer. The configuration must be valid.
func NewDeliverer(c Config, deps Deps) *Deliverer {
	return &Deliverer{
		store:  deps.Store,
		sender: newSender(c, deps.Policy, deps.Unsealer, deps.Version, defaultTimeouts()),
		config: c,
		jitter: rand.Float64,
		log:    deps.Log,
	}
}

// Run sends deliveries until ctx ends. Then it starts no more attempts, waits up to 10 s for the attempts in flight,
// and returns nil when all its goroutines have ended. Deliveries of cancelled attempts stay pending.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.sender.transport.CloseIdleConnections()
	attemptCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r := runState{Deliverer: d, throttle: newThrottle(d.config, d.loadBreakers(ctx)), ended: make(chan attemptEnd)}
	for ctx.Err() == nil {
		wake := time.NewTimer(r.startDue(ctx, attemptCtx))
		select {
		case <-ctx.Done():
		case <-d.store.Pending():
		case end := <-r.ended:
			r.handleEnd(ctx, end)
		case <-wake.C:
			r.throttle.dropIdle(d.sender.now())
		}
		wake.Stop()
	}
	defer time.AfterFunc(shutdownGrace, abort).Stop()
	for len(r.throttle.destinationOf) > 0 {
		r.handleEnd(ctx, <-r.ended)
	}
	return nil
}

// loadBreakers returns the breakers that an earlier process stored. If they cannot be read, all breakers start closed.
func (d *Deliverer) loadBreakers(ctx context.Context) []execution.Breaker {
	kept, err := d.store.Breakers(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.WithError(err).Warn("the breakers of callback destinations cannot be read; all start closed")
	}
	return kept
}

// runState is the state of one call of Run. Attempts run in goroutines of their own and report on ended; the goroutine
// of Run owns everything else.
type runState struct {
	*Deliverer
	throttle     *throttle
	ended        chan attemptEnd
	storeFailing bool      // the last query of the store failed
	storeRetryAt time.Time // no query of the store before this time
}

// attemptEnd reports the end of an attempt's goroutine.
type attemptEnd struct {
	id        execution.ID
	made      bool      // false if no attempt was made or it was cancelled
	startedAt time.Time // start of the attempt
	failed    bool      // the attempt counts as a failure of its destination
	err       error     // the store did not return the delivery
}

// startDue starts every attempt that may be made now, each under attemptCtx. It returns the time to wait for the next
// attempt if nothing happens before. A destination without a free slot is skipped, however many deliveries wait for it.
func (r *runState) startDue(ctx, attemptCtx context.Context) time.Duration {
	now := r.sender.now()
	if wait := r.storeRetryAt.Sub(now); wait > 0 {
		return wait
	}
	for r.throttle.freeSlots() > 0 {
		due, err := r.store.Due(ctx, now, r.config.Destination.Concurrency, r.throttle.freeSlots(),
			r.throttle.inFlight(), r.throttle.unavailable(now))
		if err != nil {
			return r.handleStoreError(ctx, err)
		}
		if len(due) == 0 {
			// attempts in flight may still find that the store fails
			r.storeFailing = r.storeFailing && len(r.throttle.destinationOf) > 0
			break
		}
		crash.Point("before-post")
		for _, d := range due {
			if r.throttle.allows(d.Destination, now) {
				r.throttle.startAttempt(d, now)
				go r.deliver(attemptCtx, d.Execution)
			}
		}
	}
	at, ok, err := r.store.NextDue(ctx, now)
	if err != nil {
		return r.handleStoreError(ctx, err)
	}
	if opens, closed := r.throttle.nextAvailable(now); closed && (!ok || opens.Before(at)) {
		at, ok = opens, true
	}
	if !ok {
		return maxWait
	}
	return min(at.Sub(r.sender.now()), maxWait)
}

// handleStoreError logs the first of several failures in a row, and pauses the queries of the store.
func (r *runState) handleStoreError(ctx context.Context, err error) time.Duration {
	if !r.storeFailing && ctx.Err() == nil {
		r.log.WithError(err).Error("due callbacks cannot be read; retrying")
		r.storeFailing = true
	}
	r.storeRetryAt = r.sender.now().Add(storeRetryPause)
	return storeRetryPause
}

// handleEnd updates the throttle after an attempt, and stores a breaker that changed.
func (r *runState) handleEnd(ctx context.Context, end attemptEnd) {
	now := r.sender.now()
	b, changed := r.throttle.endAttempt(end, now)
	if end.err != nil {
		r.handleStoreError(ctx, end.err)
	} else {
		r.storeFailing = false
	}
	if !changed {
		return
	}
	log := r.log.WithField("destination", b.Destination)
	if b.Openings > 0 {
		log.WithField("pause", b.OpenUntil.Sub(now).String()).
			Warn("nearly all callbacks to a destination fail; it is paused")
	} else {
		log.Info("callbacks to a destination arrive again")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakerTimeout)
	defer cancel()
	if err := r.store.KeepBreaker(ctx, b); err != nil {
		log.WithError(err).Warn("the breaker of a callback destination cannot be stored; a restart will reset it")
	}
}

// deliver makes one attempt and records it.
func (r *runState) deliver(attemptCtx context.Context, id execution.ID) {
	end := attemptEnd{id: id}
	defer func() { r.ended <- end }()
	d, err := r.store.Delivery(attemptCtx, id)
	if err != nil || d.State != execution.Pending {
		end.err = err
		return
	}
	a, err := r.sender.send(attemptCtx, d)
	if attemptCtx.Err() != nil && a.StatusCode == 0 {
		return // the attempt was cancelled here, so it says nothing about the receiver
	}
	end.made, end.startedAt, end.failed = true, a.StartedAt, countsAsFailure(a)
	n := nextStepAfter(a, d.Resumed, r.config.Schedule, r.jitter())
	logAttempt(r.log, d, a, n, err)
	r.recordWithRetry(attemptCtx, a, n)
}

// recordWithRetry records an attempt, and retries while the store fails: repeating a callback that has arrived would be
// worse than a pause. The attempt counts as in flight until it is recorded.
func (r *runState) recordWithRetry(attemptCtx context.Context, a execution.Attempt, n nextStep) {
	log := r.log.WithFields(logrus.Fields{"execution_id": a.Execution, "attempt": a.Number})
	patience := time.NewTimer(maxRecordTime)
	defer patience.Stop()
	for pause := recordPause; ; pause = min(2*pause, maxRecordPause) {
		err := r.recordOnce(attemptCtx, a, n)
		if err == nil {
			return
		}
		if pause == recordPause {
			log.WithError(err).Error("callback attempt cannot be recorded; retrying")
		}
		select {
		case <-time.After(pause):
		case <-patience.C:
			log.Warn("callback attempt was never recorded and will be made again")
			return
		case <-attemptCtx.Done():
			return
		}
	}
}

// recordOnce also records after attemptCtx has ended, because the receiver's answer is worth keeping.
func (r *runState) recordOnce(attemptCtx context.Context, a execution.Attempt, n nextStep) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(attemptCtx), recordTimeout)
	defer cancel()
	crash.Point("after-post")
	defer crash.Point("after-record")
	return r.store.Record(ctx, a, n.state, n.reason, n.at)
}
