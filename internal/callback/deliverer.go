package callback

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/execution"
)

const (
	grace       = 10 * time.Second // for attempts in flight when Run is told to end
	longestWait = time.Minute      // between two looks at the store: the wall clock may have been set
	storePause  = 5 * time.Second  // before a store that did not answer is asked again

	recordTimeout  = 5 * time.Second
	recordPause    = time.Second // before an attempt is recorded once more; doubled each time
	maxRecordPause = 30 * time.Second
	recordPatience = 10 * time.Minute // then the attempt is forgotten, and made again
)

// Store is what the deliverer needs of the record. Its methods may be called at the same time.
type Store interface {
	// Due returns up to limit pending deliveries whose NextAt is not after now, the oldest NextAt first, with their
	// sealed Callback and their Body. It leaves out the executions in inFlight, and the deliveries whose
	// Callback.Destination is in closed. Both lists are short: no longer than the configured concurrency.
	Due(ctx context.Context, now time.Time, limit int, inFlight []execution.ID, closed []string) ([]execution.Delivery, error)

	// NextDue returns the earliest NextAt of a pending delivery that is after now; ok is false when there is none.
	NextDue(ctx context.Context, now time.Time) (at time.Time, ok bool, err error)

	// Record adds the attempt and moves the delivery to state, in one transaction. reason is set with Dead, nextAt with
	// Pending. After an error nothing has been written.
	Record(ctx context.Context, a execution.Attempt, state execution.DeliveryState, reason execution.DeadReason, nextAt time.Time) error

	// Pending gets a value when a delivery became pending. One value may stand for many.
	Pending() <-chan struct{}
}

// Deliverer sends pending deliveries until they have arrived or are given up. It promises at least once: an attempt whose
// record was lost with the process is made again, with the same webhook-id and the same bytes.
type Deliverer struct {
	store       Store
	sender      *sender
	schedule    []time.Duration
	concurrency int
	jitter      func() float64 // from 0 to 1
	log         *logrus.Entry
}

// NewDeliverer makes a deliverer; c is valid, and policy is made from it.
func NewDeliverer(c Config, store Store, unsealer Unsealer, policy *Policy, version string, log *logrus.Entry) *Deliverer {
	return &Deliverer{
		store:       store,
		sender:      newSender(c, policy, unsealer, version, usualLimits()),
		schedule:    c.Schedule,
		concurrency: c.Concurrency,
		jitter:      rand.Float64,
		log:         log,
	}
}

// Run delivers until ctx ends. Then it begins no attempt, gives those in flight 10 s, and returns nil when all its
// goroutines have ended. What it broke off stays pending.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.sender.transport.CloseIdleConnections()
	flight, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r := round{Deliverer: d, traffic: newTraffic(), landed: make(chan execution.ID)}
	for ctx.Err() == nil {
		wake := time.NewTimer(r.launch(ctx, flight))
		select {
		case <-ctx.Done():
		case <-d.store.Pending():
		case id := <-r.landed:
			r.traffic.land(id)
		case <-wake.C:
		}
		wake.Stop()
	}
	defer time.AfterFunc(grace, abort).Stop()
	for len(r.traffic.flying) > 0 {
		r.traffic.land(<-r.landed)
	}
	return nil
}

// round is the state of one Run. Its attempts run in goroutines of their own and report on landed; everything else
// belongs to the goroutine of Run.
type round struct {
	*Deliverer
	traffic *traffic
	landed  chan execution.ID
	failing bool // the store did not answer last time
}

// launch begins every attempt that may be made now, each under flight, and returns how long to wait for the next one if
// nothing happens before.
//
// It takes one delivery at a time: a body is loaded when it is sent and not before, and a destination that takes no more
// is passed over, however much lies waiting for it.
func (r *round) launch(ctx, flight context.Context) time.Duration {
	now := r.sender.now()
	for len(r.traffic.flying) < r.concurrency {
		due, err := r.store.Due(ctx, now, 1, r.traffic.inFlight(), r.traffic.closed())
		if err != nil {
			return r.storeFailed(ctx, err)
		}
		if len(due) == 0 {
			break
		}
		r.traffic.depart(due[0])
		go r.deliver(flight, due[0])
	}
	at, ok, err := r.store.NextDue(ctx, now)
	if err != nil {
		return r.storeFailed(ctx, err)
	}
	r.failing = false
	if !ok {
		return longestWait
	}
	return min(at.Sub(r.sender.now()), longestWait)
}

// storeFailed logs the first of several failures in a row.
func (r *round) storeFailed(ctx context.Context, err error) time.Duration {
	if !r.failing && ctx.Err() == nil {
		r.log.WithError(err).Error("due callbacks cannot be read; trying until they can")
		r.failing = true
	}
	return storePause
}

// deliver makes one attempt and records it.
func (r *round) deliver(flight context.Context, d execution.Delivery) {
	defer func() { r.landed <- d.Execution }()
	a, err := r.sender.send(flight, d)
	if flight.Err() != nil && a.StatusCode == 0 {
		return // we broke it off: it says nothing about the receiver
	}
	n := after(a, d.Resumed, r.schedule, r.jitter())
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
	return r.store.Record(ctx, a, n.state, n.reason, n.at)
}
