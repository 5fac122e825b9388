package callback

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const (
	// MaxTrial bounds the time of a trial: the wait for its turn and the attempt.
	MaxTrial = maxTurnWait + 30*time.Second

	maxTurnWait = 10 * time.Second
	maxTests    = 8 // of one subject that wait or are in flight
)

// Sample is a callback that belongs to no execution.
type Sample struct {
	Subject string // its traffic limits hold for the trial
	URL     string
	Headers map[string]string // checked by CheckHeaders
	Secrets []string          // newest first; not signed if empty
}

// Trial is the result of sending a sample.
type Trial struct {
	Outcome    execution.AttemptOutcome
	Rule       string // rule by which the policy refused the destination, or empty
	Resolved   bool   // the name has an address or is one; behind a proxy only the latter is known
	Connected  bool   // behind a proxy: connected to the proxy
	TLS        string // for example "TLS 1.3"; empty without TLS or after a failed handshake
	StatusCode int    // 0 without an answer
	Answer     []byte // as in execution.Attempt
	Detail     string // one public sentence, never with an address from DNS
	Duration   time.Duration
	Body       []byte // body that was sent, or would have been sent
}

// Try signs a sample body and sends it once, like the first attempt of a delivery, but on a connection of its own.
// Every call has a new execution id. The trial is an attempt of its subject: it waits up to 10 s for its turn, takes
// places and counts for the breaker. Failures of the attempt are in the Trial.
//
// Errors: the fault RATE_LIMIT_EXCEEDED if the breaker is open, the subject has too many trials, or its turn does not
// come; SERVICE_UNAVAILABLE while the deliverer does not run; the cause of ctx; or an error that says that the sample
// cannot be encoded as JSON.
func (d *Deliverer) Try(ctx context.Context, s Sample) (Trial, error) {
	delivery, err := s.delivery(d.sender.now())
	if err != nil {
		return Trial{}, err
	}
	if err := d.awaitTurn(ctx, &turn{
		id: delivery.Execution, subject: s.Subject, destination: delivery.Callback.Destination(),
		decided: make(chan error, 1),
	}); err != nil {
		return Trial{}, err
	}
	end := attemptEnd{id: delivery.Execution, test: true}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-d.aborted:
			cancel()
		case <-ctx.Done():
		}
	})
	defer watching.Wait()
	defer cancel()
	defer func() {
		rest := minFailure - d.sender.now().Sub(end.startedAt)
		if !end.failed || rest <= 0 {
			d.ended <- end
			return
		}
		time.AfterFunc(rest, func() { d.ended <- end }) // Run waits for it
	}()
	own := *d.sender
	own.unsealer = plainUnsealer{}
	own.transport = d.sender.transport.Clone()
	defer own.transport.CloseIdleConnections()

	a, trace, err := own.sendTraced(ctx, delivery)
	if ctx.Err() == nil || a.StatusCode != 0 {
		end.describe(a)
	}
	trace.mu.Lock()
	defer trace.mu.Unlock()
	return Trial{
		Outcome:    a.Outcome,
		Rule:       refusalRule(err),
		Resolved:   trace.resolved && own.transport.Proxy == nil || hostIsAddress(s.URL),
		Connected:  trace.connected,
		TLS:        trace.tls,
		StatusCode: a.StatusCode,
		Answer:     a.Answer,
		Detail:     a.Detail,
		Duration:   a.Duration,
		Body:       delivery.Body,
	}, nil
}

// turn is a trial that waits for its turn.
type turn struct {
	id                   execution.ID
	subject, destination string
	taken                atomic.Bool // the deliverer granted the turn, or the trial gave it up
	decided              chan error  // receives nil or a refusal, unless the trial gave up
}

// grant gives the trial its turn. It returns false if the trial has given up.
func (t *turn) grant() bool {
	if !t.taken.CompareAndSwap(false, true) {
		return false
	}
	t.decided <- nil
	return true
}

// awaitTurn returns when an attempt may be made. The caller then reports its end.
func (d *Deliverer) awaitTurn(ctx context.Context, t *turn) error {
	patience := time.NewTimer(maxTurnWait)
	defer patience.Stop()
	select {
	case d.turns <- t:
	case <-d.stopped:
		return errNotRunning()
	case <-patience.C:
		return errNotRunning()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var reason error
	select {
	case refusal := <-t.decided:
		return refusal
	case <-d.stopped:
		reason = errNotRunning()
	case <-patience.C:
		reason = fault.New(fault.RateLimitExceeded, "The test found no free place within %s: your callbacks, or those "+
			"of all to %s, take the places. Try again later.", maxTurnWait, t.destination)
	case <-ctx.Done():
		reason = context.Cause(ctx)
	}
	if t.taken.CompareAndSwap(false, true) {
		return reason
	}
	return <-t.decided
}

func errNotRunning() error {
	return fault.New(fault.ServiceUnavailable, "No callbacks are sent at the moment.")
}

// handleTurn makes a trial wait for its turn, or refuses it.
func (r *runState) handleTurn(t *turn) {
	now := r.sender.now()
	refuse := func(sentence string, args ...any) {
		if t.taken.CompareAndSwap(false, true) {
			t.decided <- fault.New(fault.RateLimitExceeded, sentence, args...)
		}
	}
	p := r.traffic.pair(t.subject, t.destination, now)
	if p == nil {
		refuse("You have callbacks for too many destinations; test this one when some of them have arrived.")
		return
	}
	if p.subject.tests >= maxTests {
		for _, other := range p.subject.pairs {
			other.dropAbandonedTests()
		}
	}
	switch {
	case p.breaker.open(now):
		refuse("Nearly all your callbacks to %s fail, so nothing is sent there before %s.", t.destination,
			p.breaker.OpenUntil.UTC().Format(time.RFC3339))
	case p.subject.tests >= maxTests:
		refuse("%d of your callbacks are being tested already; try again when one is through.", maxTests)
	default:
		p.tests = append(p.tests, t)
		p.subject.tests++
		r.traffic.settle(p, now)
	}
}

// dropAbandonedTests removes the tests whose callers wait no longer.
func (p *pair) dropAbandonedTests() {
	before := len(p.tests)
	p.tests = slices.DeleteFunc(p.tests, func(t *turn) bool { return t.taken.Load() })
	p.subject.tests -= before - len(p.tests)
}

// delivery makes s look like the result of a program that ended now.
func (s Sample) delivery(now time.Time) (execution.Delivery, error) {
	headers, err := json.Marshal(s.Headers)
	if err != nil {
		return execution.Delivery{}, err
	}
	secrets, err := json.Marshal(s.Secrets)
	if err != nil {
		return execution.Delivery{}, err
	}
	output := []byte("A test from boomerang: no program ran.\n")
	success := 0
	e := execution.Execution{ID: execution.NewID(now), Language: "bash"}
	r := execution.Result{
		State: execution.Completed, Reason: execution.Exited, ExitCode: &success, StartedAt: now, CompletedAt: now,
		Stdout: execution.Output{Head: output, Bytes: int64(len(output))}, OutputComplete: true,
	}
	return execution.Delivery{
		Execution: e.ID,
		Callback:  execution.Callback{URL: s.URL, Headers: headers, Secret: secrets},
		Body:      Body(e, r, len(output)),
	}, nil
}

// plainUnsealer is the Unsealer of a sample, whose fields are not sealed.
type plainUnsealer struct{}

func (plainUnsealer) Unseal(_ execution.ID, _ string, plain execution.Sealed) ([]byte, error) {
	return plain, nil
}

// refusalRule returns the rule behind an attempt's error, or "".
func refusalRule(err error) string {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return refusal.Rule
	}
	if improper, ok := errors.AsType[*fault.Error](err); ok {
		return strings.TrimSuffix(improper.Sentence, ".")
	}
	return ""
}

// hostIsAddress reports whether the host of a URL is an address.
func hostIsAddress(raw string) bool {
	_, err := netip.ParseAddr(hostname(raw))
	return err == nil
}
