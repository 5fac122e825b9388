package callback

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/crash"
	"boomerang/internal/execution"
)

const (
	shutdownGrace   = 10 * time.Second // for attempts in flight when Run is told to stop
	maxWait         = time.Minute      // between two looks, because the wall clock may be set
	storeRetryPause = 5 * time.Second  // before a failed query of the store is repeated
	readSize        = 256              // deliveries that one query of the store returns at most

	// An attempt that did not succeed holds its places for this time at least: receivers that refuse at once must not
	// cost more than those that hang.
	minFailure = 200 * time.Millisecond

	breakerTimeout = time.Second // for storing the state of a breaker
	recordTimeout  = 5 * time.Second
	recordPause    = time.Second // before an attempt is recorded again; doubled each time
	maxRecordPause = 30 * time.Second
	maxRecordTime  = 10 * time.Minute // then the record is dropped and the attempt is made again
)

// Store is the part of the store that the deliverer needs. Its methods are safe for concurrent use. A pair is one
// subject and one destination.
type Store interface {
	// News returns pending deliveries that became pending, or were made due, after the cursor, in the order of these
	// changes and at most limit of them, and the cursor behind the last one. Each change is returned to a caller that
	// passes on the cursor, except changes by Record.
	News(ctx context.Context, after execution.NewsCursor, limit int) (
		news []execution.Due, next execution.NewsCursor, err error)

	// LatestNews returns the cursor behind all changes so far.
	LatestNews(ctx context.Context) (execution.NewsCursor, error)

	// Heads returns the earliest pending delivery of each of the first limit pairs after the given one, ordered by
	// subject and destination. Its cost grows with limit, not with the number of deliveries.
	Heads(ctx context.Context, subject, destination string, limit int) ([]execution.Due, error)

	// Waiting returns the earliest pending deliveries of a pair, at most limit.
	Waiting(ctx context.Context, subject, destination string, limit int) ([]execution.Due, error)

	// Delivery returns a delivery with its sealed callback and its body.
	Delivery(ctx context.Context, id execution.ID) (execution.Delivery, error)

	// Breakers returns the states that KeepBreaker stored.
	Breakers(ctx context.Context) ([]execution.Breaker, error)

	// KeepBreaker stores the state of a pair's breaker, and deletes the state of a closed breaker.
	KeepBreaker(ctx context.Context, b execution.Breaker) error

	// ForgetBreakers deletes the breakers whose pause ended before that time.
	ForgetBreakers(ctx context.Context, before time.Time) error

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
	bound  func(subject string) int
	jitter func() float64 // returns a number from 0 to 1
	log    *logrus.Entry

	turns   chan *turn      // tests that ask for their turn
	ended   chan attemptEnd // attempts that have ended
	stopped chan struct{}   // closed when Run gives no more turns
	aborted chan struct{}   // closed when attempts must end
}

// Deps are the dependencies of a deliverer.
type Deps struct {
	Store    Store
	Unsealer Unsealer
	Policy   *Policy // made from the deliverer's configuration
	Version  string  // of boomerang, sent as User-Agent
	Log      *logrus.Entry

	// Bound returns the greatest number of attempts in flight of a subject, tests included; 0 is no bound. It is called
	// several times for each attempt, so it must be fast. If it is nil, no subject is bounded.
	Bound func(subject string) int
}

// NewDeliverer returns a deliverer. The configuration must be valid.
func NewDeliverer(c Config, deps Deps) *Deliverer {
	bound := deps.Bound
	if bound == nil {
		bound = func(string) int { return 0 }
	}
	return &Deliverer{
		store:   deps.Store,
		sender:  newSender(c, deps.Policy, deps.Unsealer, deps.Version, defaultTimeouts()),
		config:  c,
		bound:   bound,
		jitter:  rand.Float64,
		log:     deps.Log,
		turns:   make(chan *turn),
		ended:   make(chan attemptEnd),
		stopped: make(chan struct{}),
		aborted: make(chan struct{}),
	}
}

// Run sends deliveries until ctx ends. Then it starts no more attempts, waits up to 10 s for the attempts in flight,
// and returns nil when all its goroutines have ended. Deliveries of cancelled attempts stay pending. Run is called
// once.
func (d *Deliverer) Run(ctx context.Context) error {
	defer d.sender.transport.CloseIdleConnections()
	attemptCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(attemptCtx, func() { close(d.aborted) })()
	r := runState{
		Deliverer: d, news: true,
		traffic: newTraffic(d.config, d.bound, d.loadBreakers(ctx)),
	}
	for ctx.Err() == nil {
		wake := time.NewTimer(r.step(ctx, attemptCtx))
		select {
		case <-ctx.Done():
		case <-d.store.Pending():
			r.news = true
		case end := <-d.ended:
			r.handleEnd(ctx, end)
		case t := <-d.turns:
			r.handleTurn(t)
		case <-wake.C:
		}
		wake.Stop()
	}
	close(d.stopped)
	defer time.AfterFunc(shutdownGrace, abort).Stop()
	for len(r.traffic.attempts) > 0 {
		r.handleEnd(ctx, <-d.ended)
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
	traffic      *traffic
	walk         walk
	freed        []*pair              // their destinations have room again; they come first
	news         bool                 // the store may have news
	cursor       execution.NewsCursor // behind the news that were read
	looked       time.Time            // time of the last step
	storeFailing bool                 // the last query of the store failed
	storeRetryAt time.Time            // no query of the store before this time
}

// attemptEnd reports the end of an attempt's goroutine.
type attemptEnd struct {
	id        execution.ID
	test      bool
	made      bool      // false if no attempt was made or it was cancelled
	startedAt time.Time // start of the attempt
	failed    bool      // the attempt counts as a failure of its destination
	answered  bool      // the receiver answered with a status
	next      nextStep
	recorded  bool  // next is stored
	err       error // the store did not return the delivery
}

// step starts every attempt that may be made now, each under attemptCtx. It returns the time to wait for the next
// attempt if nothing happens before.
func (r *runState) step(ctx, attemptCtx context.Context) time.Duration {
	now := r.sender.now()
	if wait := r.storeRetryAt.Sub(now); wait > 0 && wait <= storeRetryPause {
		return wait
	}
	if wall := now.Round(0); wall.Before(r.looked) {
		r.traffic.resettle(now)
		r.walk.at = now
	}
	r.looked = now.Round(0) // without the monotonic clock, which never goes back
	err := r.readNews(ctx, now)
	if err == nil {
		err = r.readHeads(ctx, now)
	}
	if err == nil {
		err = r.start(ctx, attemptCtx, now)
	}
	if err != nil {
		return r.handleStoreError(ctx, err)
	}
	// attempts in flight may still find that the store fails
	r.storeFailing = r.storeFailing && len(r.traffic.attempts) > 0
	if r.news || r.walk.walking {
		return 0
	}
	at := r.walk.at
	if len(r.traffic.timers) > 0 && r.traffic.timers[0].at.Before(at) {
		at = r.traffic.timers[0].at
	}
	return min(at.Sub(r.sender.now()), maxWait)
}

// readNews takes over some deliveries that became pending since the last look. The first look only sets the cursor: the
// heads are read behind it.
func (r *runState) readNews(ctx context.Context, now time.Time) (err error) {
	switch {
	case !r.news:
		return nil
	case r.cursor == execution.NewsCursor{}:
		r.cursor, err = r.store.LatestNews(ctx)
		r.news = err != nil
		return err
	}
	news, next, err := r.store.News(ctx, r.cursor, readSize)
	if err != nil {
		return err
	}
	r.cursor, r.news = next, len(news) == readSize
	for _, d := range news {
		r.traffic.add(d, !r.walk.walking, now)
	}
	return nil
}

// start starts attempts until no subject may start one.
func (r *runState) start(ctx, attemptCtx context.Context, now time.Time) error {
	r.freed = append(r.freed, r.traffic.expired(now)...)
	for len(r.freed) > 0 {
		p := r.freed[0]
		r.freed, p.stand = r.freed[1:], idle
		if err := r.startOne(ctx, attemptCtx, p, now); err != nil {
			return err
		}
	}
	for p := r.traffic.next(); p != nil; p = r.traffic.next() {
		if err := r.startOne(ctx, attemptCtx, p, now); err != nil {
			return err
		}
	}
	return nil
}

// startOne starts the next attempt of an idle pair, or moves the pair to the place where it waits.
func (r *runState) startOne(ctx, attemptCtx context.Context, p *pair, now time.Time) error {
	p.dropAbandonedTests()
	switch {
	case !r.traffic.subjectMayStart(p.subject):
		r.traffic.putFirst(p)
		return nil
	case len(p.queue) == 0 && p.more && !p.breaker.open(now) && len(p.tests) == 0:
		limit := r.traffic.queueLength() + p.inFlight
		list, err := r.store.Waiting(ctx, p.subject.name, p.destination.name, limit)
		if err != nil {
			r.traffic.putFirst(p)
			return err
		}
		r.traffic.refill(p, list, len(list) == limit)
	}
	switch {
	case !r.traffic.mayStart(p, now):
	case len(p.tests) > 0:
		t := p.tests[0]
		if p.tests = p.tests[1:]; t.grant() {
			r.traffic.begin(p, t.id, now)
		} else {
			p.subject.tests--
			r.traffic.settle(p, now)
		}
	default:
		crash.Point("before-post")
		id := p.queue[0].execution
		p.queue = slices.Delete(p.queue, 0, 1)
		r.traffic.begin(p, id, now)
		go r.deliver(ctx, attemptCtx, id)
	}
	return nil
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

// handleEnd updates the traffic after an attempt, and stores a breaker that changed.
func (r *runState) handleEnd(ctx context.Context, end attemptEnd) {
	now := r.sender.now()
	a, freed := r.traffic.end(end.id)
	r.freed = append(r.freed, freed...)
	p := a.pair
	changed := r.traffic.observe(p, end, now)
	switch {
	case end.test:
		p.subject.tests--
	case a.again, end.err != nil, end.made && !end.recorded:
		p.forget()
	case end.made && end.next.state == execution.Pending:
		p.insert(queued{end.id, end.next.at}, r.traffic.queueLength())
	}
	r.traffic.settle(p, now)
	r.walk.hurry(p.subject)
	if end.err != nil {
		r.handleStoreError(ctx, end.err)
	} else {
		r.storeFailing = false
	}
	if changed {
		r.keepBreaker(ctx, p.breaker.Breaker, now)
	}
}

func (r *runState) keepBreaker(ctx context.Context, b execution.Breaker, now time.Time) {
	log := r.log.WithFields(logrus.Fields{"destination": b.Destination, "subject": b.Subject})
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

// deliver makes one attempt and records it. The end of ctx, which is that of Run, only ends the pause after a failure.
func (r *runState) deliver(ctx, attemptCtx context.Context, id execution.ID) {
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
	end.describe(a)
	end.next = nextStepAfter(a, d.Resumed, r.config.Schedule, r.jitter())
	logAttempt(r.log, d, a, end.next, err)
	end.recorded = r.recordWithRetry(attemptCtx, a, end.next)
	if rest := minFailure - r.sender.now().Sub(a.StartedAt); rest > 0 && a.Outcome != execution.AttemptSucceeded {
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
	}
}

// describe takes over what the traffic must know of an attempt.
func (end *attemptEnd) describe(a execution.Attempt) {
	end.made, end.startedAt = true, a.StartedAt
	end.failed, end.answered = countsAsFailure(a), a.StatusCode != 0
}

// recordWithRetry records an attempt, and retries while the store fails: repeating a callback that has arrived would be
// worse than a pause. The attempt counts as in flight until it is recorded. The result is false if recordWithRetry
// gave up.
func (r *runState) recordWithRetry(attemptCtx context.Context, a execution.Attempt, n nextStep) bool {
	log := r.log.WithFields(logrus.Fields{"execution_id": a.Execution, "attempt": a.Number})
	patience := time.NewTimer(maxRecordTime)
	defer patience.Stop()
	for pause := recordPause; ; pause = min(2*pause, maxRecordPause) {
		err := r.recordOnce(attemptCtx, a, n)
		if err == nil {
			return true
		}
		if pause == recordPause {
			log.WithError(err).Error("callback attempt cannot be recorded; retrying")
		}
		select {
		case <-time.After(pause):
		case <-patience.C:
			log.Warn("callback attempt was never recorded and will be made again")
			return false
		case <-attemptCtx.Done():
			return false
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
