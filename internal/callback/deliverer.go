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
	shutdownGrace = 10 * time.Second // for attempts in flight when Run is told to end
	longestWait   = time.Minute      // between two looks at the store: the wall clock may have been set
	storePause    = 5 * time.Second  // before a store that did not answer is asked again

	breakerTimeout = time.Second // for keeping a breaker
	recordTimeout  = 5 * time.Second
	recordPause    = time.Second // before an attempt is recorded once more; doubled each time
	maxRecordPause = 30 * time.Second
	recordPatience = 10 * time.Minute // then the attempt is forgotten, and made again
)

// Store is what the deliverer needs of the record. Its methods may be called at the same time.
type Store interface {
	// Due returns pending deliveries whose time has come at now, the one that is longest due first: up to limit, and of
	// one destination up to each. It leaves out the executions in inFlight and the destinations in closed. Its cost
	// grows with the number of destinations, not with how much waits for one.
	Due(ctx context.Context, now time.Time, each, limit int, inFlight []execution.ID, closed []string) ([]execution.Due, error)

	// NextDue returns the earliest NextAt of a pending delivery that is after now; ok is false when there is none.
	NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error)

	// Delivery returns a delivery with its sealed callback and its body.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)

	// Breakers returns what KeepBreaker has kept.
	Breakers(ctx context.Context) ([]execution.Breaker, error)

	// KeepBreaker keeps the state of a destination's breaker, and forgets one that is closed.
	KeepBreaker(ctx context.Context, b execution.Breaker) error

	// Record adds the attempt and moves the delivery to state, in one transaction. reason is set with Dead, nextAt with
	// Pending. After an error nothing has been written.
	Record(ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time) error

	// Pending gets a value when a delivery became pending. One value may stand for many.
	Pending() <-chan struct{}
}

// Deliverer sends pending deliveries until they have arrived or are given up. It promises at least once: an attempt whose
// record was lost with the process is made again, with the same webhook-id and the same bytes.
type Deliverer struct {
	store  Store
	sender *sender
	config Config
	jitter func() float64 // from 0 to 1
	log    *logrus.Entry
}

// NewDeliverer makes a deliverer; c is valid, and policy is made from it.
func NewDeliverer(c Config, store Store, unsealer Unsealer, policy *Policy, version string, log *logrus.Entry) *Deliverer {
	return &Deliverer{
		store:  store,
		sender: newSender(c, policy, unsealer, version, usualLimits()),
		config: c,
		jitter: rand.Float64,
		log:    log,
	}
}

// Run delivers until ctx ends. Then it begins no attempt, gives those in flight 10 s, and returns nil when all its
// goroutines have ended. What it broke off stays pending.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.sender.transport.CloseIdleConnections()
	flight, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r := round{Deliverer: d, traffic: newTraffic(d.config, d.breakers(ctx)), landed: make(chan landing)}
	for ctx.Err() == nil {
		wake := time.NewTimer(r.launch(ctx, flight))
		select {
		case <-ctx.Done():
		case <-d.store.Pending():
		case l := <-r.landed:
			r.land(ctx, l)
		case <-wake.C:
			r.traffic.forget(d.sender.now())
		}
		wake.Stop()
	}
	defer time.AfterFunc(shutdownGrace, abort).Stop()
	for len(r.traffic.flying) > 0 {
		r.land(ctx, <-r.landed)
	}
	return nil
}

// breakers returns those that an earlier process kept; without them each destination is tried anew.
func (d *Deliverer) breakers(ctx context.Context) []execution.Breaker {
	kept, err := d.store.Breakers(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.WithError(err).Warn("the breakers of callback destinations cannot be read; all begin closed")
	}
	return kept
}

// round is the state of one Run. Its attempts run in goroutines of their own and report on landed; everything else
// belongs to the goroutine of Run.
type round struct {
	*Deliverer
	traffic *traffic
	landed  chan landing
	failing bool      // the store did not answer last time
	resume  time.Time // until when it is left alone, then
}

// landing is the end of a flight.
type landing struct {
	id      execution.ID
	counts  bool      // it tells about the destination:
	began   time.Time // when the attempt began
	sickens bool      // whether it speaks against the destination
	err     error     // the store did not give the delivery
}

// launch begins every attempt that may be made now, each under flight, and returns how long to wait for the next one if
// nothing happens before. A destination that takes no more is passed over, however much lies waiting for it.
func (r *round) launch(ctx, flight context.Context) time.Duration {
	now := r.sender.now()
	if wait := r.resume.Sub(now); wait > 0 {
		return wait
	}
	for r.traffic.free() > 0 {
		due, err := r.store.Due(ctx, now, r.config.Destination.Concurrency, r.traffic.free(), r.traffic.inFlight(), r.traffic.closed(now))
		if err != nil {
			return r.storeFailed(ctx, err)
		}
		if len(due) == 0 {
			r.failing = r.failing && len(r.traffic.flying) > 0 // those in flight may still find that it fails
			break
		}
		crash.Point("before-post")
		for _, d := range due {
			if r.traffic.takes(d.Destination, now) {
				r.traffic.depart(d, now)
				go r.deliver(flight, d.Execution)
			}
		}
	}
	at, ok, err := r.store.NextDue(ctx, now)
	if err != nil {
		return r.storeFailed(ctx, err)
	}
	if opens, closed := r.traffic.reopens(now); closed && (!ok || opens.Before(at)) {
		at, ok = opens, true
	}
	if !ok {
		return longestWait
	}
	return min(at.Sub(r.sender.now()), longestWait)
}

// storeFailed logs the first of several failures in a row, and leaves the store alone for a while.
func (r *round) storeFailed(ctx context.Context, err error) time.Duration {
	if !r.failing && ctx.Err() == nil {
		r.log.WithError(err).Error("due callbacks cannot be read; trying until they can")
		r.failing = true
	}
	r.resume = r.sender.now().Add(storePause)
	return storePause
}

// land learns from a flight that has ended.
func (r *round) land(ctx context.Context, l landing) {
	now := r.sender.now()
	b, changed := r.traffic.land(l, now)
	if l.err != nil {
		r.storeFailed(ctx, l.err)
	} else {
		r.failing = false
	}
	if !changed {
		return
	}
	log := r.log.WithField("destination", b.Destination)
	if b.Openings > 0 {
		log.WithField("pause", b.OpenUntil.Sub(now).String()).Warn("nearly all callbacks to a destination fail: it is left alone for a while")
	} else {
		log.Info("callbacks to a destination arrive again")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakerTimeout)
	defer cancel()
	if err := r.store.KeepBreaker(ctx, b); err != nil {
		log.WithError(err).Warn("the breaker of a callback destination cannot be kept: a restart will begin anew")
	}
}

// deliver makes one attempt and records it.
func (r *round) deliver(flight context.Context, id execution.ID) {
	l := landing{id: id}
	defer func() { r.landed <- l }()
	d, err := r.store.Delivery(flight, id)
	if err != nil || d.State != execution.Pending {
		l.err = err
		return
	}
	a, err := r.sender.send(flight, d)
	if flight.Err() != nil && a.StatusCode == 0 {
		return // we broke it off: it says nothing about the receiver
	}
	l.counts, l.began, l.sickens = true, a.StartedAt, sickens(a)
	n := after(a, d.Resumed, r.config.Schedule, r.jitter())
	logAttempt(r.log, d, a, n, err)
	r.record(flight, a, n)
}

// record writes down what happened, and waits for a store that cannot: sending again what has arrived would be worse
// than sending nothing for a while. While it waits the attempt counts as in flight.
func (r *round) record(flight context.Context, a execution.Attempt, n next) {
	log := r.log.WithFields(logrus.Fields{"execution_id": a.Execution, "attempt": a.Number})
	patience := time.NewTimer(recordPatience)
	defer patience.Stop()
	for pause := recordPause; ; pause = min(2*pause, maxRecordPause) {
		err := r.write(flight, a, n)
		if err == nil {
			return
		}
		if pause == recordPause {
			log.WithError(err).Error("callback attempt cannot be recorded; trying until it can")
		}
		select {
		case <-time.After(pause):
		case <-patience.C:
			log.Warn("callback attempt was never recorded and will be made again")
			return
		case <-flight.Done():
			return
		}
	}
}

// write records also when the flight has been broken off: an answer that came is worth keeping.
func (r *round) write(flight context.Context, a execution.Attempt, n next) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(flight), recordTimeout)
	defer cancel()
	crash.Point("after-post")
	defer crash.Point("after-record")
	return r.store.Record(ctx, a, n.state, n.reason, n.at)
}
