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

// Try signs a sample body and sends it now, once, like the first attempt of a delivery, but on a connection of its own.
// Every call has a new execution id. Failures of the attempt are in the Trial. An error means that the sample cannot be
// encoded as JSON.
func (d *Deliverer) Try(ctx context.Context, s Sample) (Trial, error) {
	delivery, err := s.delivery(d.sender.now())
	if err != nil {
		return Trial{}, err
	}
	own := *d.sender
	own.unsealer = plainUnsealer{}
	own.transport = d.sender.transport.Clone()
	defer own.transport.CloseIdleConnections()

	a, trace, err := own.sendTraced(ctx, delivery)
	trace.mu.Lock()
	defer trace.mu.Unlock()
	shown := a.Outcome != execution.AttemptFailed
	if !shown {
		trace.tls = ""
	}
	return Trial{
		Outcome:    a.Outcome,
		Rule:       refusalRule(err),
		Resolved:   shown && trace.resolved && own.transport.Proxy == nil || hostIsAddress(s.URL),
		Connected:  shown && trace.connected,
		TLS:        trace.tls,
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
