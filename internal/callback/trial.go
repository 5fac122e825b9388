package callback

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// Sample is a callback that belongs to no execution.
type Sample struct {
	URL     string
	Headers map[string]string // have passed CheckHeaders
	Secrets []string          // newest first; none: not signed
}

// Trial is what happened to a sample.
type Trial struct {
	Outcome    execution.AttemptOutcome
	Rule       string // what the policy refused the destination by; empty when it did not
	Resolved   bool   // the host's name led to an address, or is one; behind a proxy only the latter is known
	Connected  bool   // behind a proxy: to the proxy
	TLS        string // "TLS 1.3"; empty without it, and when the handshake failed
	StatusCode int    // 0 when no answer came
	Answer     []byte // as in execution.Attempt
	Detail     string // one public sentence; never an address that DNS gave
	Duration   time.Duration
	Body       []byte // what was sent, or would have been
}

// Try signs a sample body and sends it now, once, as the first attempt of a delivery is sent, but on a connection of its
// own. Every call has another execution id. What goes wrong on the way is in the Trial. The error is of our own making:
// the sample cannot be written as JSON.
func (d *Deliverer) Try(ctx context.Context, s Sample) (Trial, error) {
	delivery, err := s.delivery(d.sender.now())
	if err != nil {
		return Trial{}, err
	}
	own := *d.sender
	own.unsealer = unsealed{}
	own.transport = d.sender.transport.Clone()
	defer own.transport.CloseIdleConnections()

	a, w, err := own.watched(ctx, delivery)
	w.mu.Lock()
	defer w.mu.Unlock()
	return Trial{
		Outcome:    a.Outcome,
		Rule:       ruleOf(err),
		Resolved:   w.resolved && own.transport.Proxy == nil || isLiteral(s.URL),
		Connected:  w.connected,
		TLS:        w.tls,
		StatusCode: a.StatusCode,
		Answer:     a.Answer,
		Detail:     a.Detail,
		Duration:   a.Duration,
		Body:       delivery.Body,
	}, nil
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

// unsealed is the Unsealer of what was never sealed.
type unsealed struct{}

func (unsealed) Unseal(_ execution.ID, _ string, plain execution.Sealed) ([]byte, error) {
	return plain, nil
}

// ruleOf returns the rule that is behind an attempt's error, or "".
func ruleOf(err error) string {
	if refusal, ok := errors.AsType[*RefusalError](err); ok {
		return refusal.Rule
	}
	if improper, ok := errors.AsType[*fault.Error](err); ok {
		return strings.TrimSuffix(improper.Sentence, ".")
	}
	return ""
}

// isLiteral tells whether the host of a URL is an address.
func isLiteral(raw string) bool {
	_, err := netip.ParseAddr(hostname(raw))
	return err == nil
}
