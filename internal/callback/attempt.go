package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
)

const (
	maxAnswerRead    = 64 << 10 // bytes read from an answer's body at most
	maxAnswerKept    = 16 << 10 // bytes of an answer's body that are kept
	maxAnswerHeaders = 32 << 10 // bytes of an answer's headers, including the headers of 1xx answers
	idleTimeout      = 30 * time.Second
)

// timeouts bound the parts of an attempt.
type timeouts struct {
	connect time.Duration // DNS and TCP connect
	tls     time.Duration // the TLS handshake
	total   time.Duration // the whole attempt, including the answer's body
}

func defaultTimeouts() timeouts {
	return timeouts{connect: 5 * time.Second, tls: 5 * time.Second, total: 30 * time.Second}
}

// Unsealer opens the sealed fields of an execution. An empty sealed field gives no bytes. Unseal fails if the seal was
// made with an unknown key.
type Unsealer interface {
	Unseal(id execution.ID, field string, sealed execution.Sealed) ([]byte, error)
}

// sender makes single attempts.
type sender struct {
	policy    *Policy
	unsealer  Unsealer
	transport *http.Transport
	agent     string
	timeout   time.Duration
	now       func() time.Time
}

func newSender(c Config, policy *Policy, unsealer Unsealer, version string, l timeouts) *sender {
	agent := "boomerang/" + version
	return &sender{
		policy:    policy,
		unsealer:  unsealer,
		transport: newTransport(c, policy, agent, l),
		agent:     agent,
		timeout:   l.total,
		now:       time.Now,
	}
}

// newTransport returns a transport that connects only to addresses that the policy allows, or only to the egress proxy.
func newTransport(c Config, policy *Policy, agent string, l timeouts) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2 would send every header name in lower case
	transport := &http.Transport{
		DialContext:            guardedDialer{policy: policy, timeout: l.connect}.dial,
		TLSClientConfig:        policy.trust.tlsConfig(), // used by tlsDialFunc
		TLSHandshakeTimeout:    l.tls,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxAnswerHeaders,
		MaxIdleConns:           c.Concurrency,
		MaxIdleConnsPerHost:    c.Destination.Concurrency,
		IdleConnTimeout:        idleTimeout,
		Protocols:              protocols,
	}
	direct := func(ctx context.Context, network, address string) (net.Conn, error) {
		return transport.DialContext(ctx, network, address)
	}
	transport.DialTLSContext = tlsDialFunc(transport, direct)
	if proxy, err := c.proxy(); err == nil && proxy != nil {
		useProxy(transport, proxy, policy.trust, agent, l)
	}
	return transport
}

// send makes the next attempt of d. The error says why no answer came; it is private and meant for the log. The attempt
// holds the reason in public words. An attempt that the end of ctx cancelled proves nothing about the receiver.
func (s *sender) send(ctx context.Context, d execution.Delivery) (execution.Attempt, error) {
	a, _, err := s.sendTraced(ctx, d)
	return a, err
}

// sendTraced does the work of send and also returns the trace of the connection.
func (s *sender) sendTraced(ctx context.Context, d execution.Delivery) (execution.Attempt, *connTrace, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	began := s.now()
	a, trace, err := s.attempt(ctx, d)
	if retriesAtOnce(a) && ctx.Err() == nil {
		a, trace, err = s.attempt(ctx, d)
	}
	if s.policy.hidesOutcome(d.Callback.URL, trace, err) {
		a, err = s.hideOutcome(ctx, a, began, err)
	}
	return a, trace, err
}

func (s *sender) attempt(ctx context.Context, d execution.Delivery) (execution.Attempt, *connTrace, error) {
	a, trace := execution.Attempt{Execution: d.Execution, Number: d.Attempts + 1, StartedAt: s.now()}, new(connTrace)
	err := s.post(ctx, d, &a, trace)
	if err != nil {
		a.Outcome, a.Detail = classifyError(err)
	}
	a.Duration = s.now().Sub(a.StartedAt)
	return a, trace, err
}

// post sends the delivery's body and stores the answer in a. It checks the URL against the policy again, because the
// policy may have changed since admission, and no dial checks the address behind a proxy.
//
// The transport is used without an http.Client, so redirects are not followed and cookies are not kept.
func (s *sender) post(ctx context.Context, d execution.Delivery, a *execution.Attempt, trace *connTrace) error {
	if err := s.policy.CheckURL(d.Callback.URL); err != nil {
		return err
	}
	ctx = trace.attach(withPeer(ctx, hostname(d.Callback.URL)))
	request, err := s.request(ctx, d, *a)
	if err != nil {
		return &unsentError{err}
	}
	response, err := s.transport.RoundTrip(request)
	head, ended := trace.stopRecording()
	if err != nil {
		if ctx.Err() == nil && s.recoverStatus(a, head, ended, err) { // headers that did not end in time are a timeout
			return nil // err is dropped because it holds text of the receiver
		}
		return trace.wrapError(err)
	}
	defer response.Body.Close() //nolint:errcheck // the answer is known
	if !validStatus(response.StatusCode) {
		return errNoStatus
	}
	s.applyStatus(a, response.StatusCode, response.Header.Get("Retry-After"))
	if response.StatusCode < 200 {
		return nil // the body of a 101 is the bare connection, which no deadline ends
	}
	answer := readAnswer(response.Body)
	if trace.answerIsPublic() {
		a.Answer = answer
	}
	return nil
}

// applyStatus stores the outcome of a status in a.
func (s *sender) applyStatus(a *execution.Attempt, status int, after string) {
	a.StatusCode = status
	a.Outcome, a.Detail = classifyStatus(status)
	if a.Outcome != execution.AttemptSucceeded {
		a.RetryAfter = parseRetryAfter(after, s.now())
	}
}

// recoverStatus takes the outcome from the status line if net/http could not read the rest of an answer. It returns
// false if no status line came.
func (s *sender) recoverStatus(a *execution.Attempt, head []byte, ended bool, err error) bool {
	b, ok := parsePartialAnswer(head)
	if !ok {
		return false
	}
	s.applyStatus(a, b.status, b.retryAfter)
	a.Detail = strings.TrimSuffix(a.Detail, ".") + "; " + b.defect(len(head), ended, err) + "."
	return true
}

// request builds the HTTP request of a callback. Body and header names are spelled exactly as the wire format spells
// them.
func (s *sender) request(ctx context.Context, d execution.Delivery, a execution.Attempt) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Callback.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	secrets, err := s.signingSecrets(d)
	if err != nil {
		return nil, err
	}
	custom, err := s.customHeaders(d)
	if err != nil {
		return nil, err
	}
	id := WebhookID(d.Execution)
	timestamp := strconv.FormatInt(a.StartedAt.Unix(), 10)
	headers := map[string]string{
		"User-Agent":   s.agent,
		"Content-Type": "application/json",
		// net/http takes this header as permission to repeat the request after an idle connection died.
		"Idempotency-Key":       id,
		HeaderTimestamp:         timestamp,
		HeaderAttempt:           strconv.Itoa(a.Number),
		HeaderDepth:             strconv.Itoa(d.Callback.Depth + 1),
		HeaderStandardID:        id,
		HeaderStandardTimestamp: timestamp,
	}
	if len(secrets) > 0 {
		headers[HeaderSignature] = Sign(secrets[0], d.Body)
		headers[HeaderStandardSignature] = SignStandard(id, a.StartedAt, d.Body, secrets...)
	}
	for name, value := range custom {
		if strings.EqualFold(name, "User-Agent") {
			name = "User-Agent" // a client may replace this one of our headers
		}
		headers[name] = value
	}
	for name, value := range headers {
		request.Header[name] = []string{value}
	}
	return request, nil
}

// signingSecrets returns the secrets that sign the callback, newest first.
func (s *sender) signingSecrets(d execution.Delivery) (secrets []string, err error) {
	err = s.unsealJSON(d, execution.FieldCallbackSecret, d.Callback.Secret, &secrets)
	return secrets, err
}

// customHeaders returns the client's own headers.
func (s *sender) customHeaders(d execution.Delivery) (headers map[string]string, err error) {
	err = s.unsealJSON(d, execution.FieldCallbackHeaders, d.Callback.Headers, &headers)
	return headers, err
}

// unsealJSON decodes the JSON of a sealed field into v. An empty field leaves v unchanged.
func (s *sender) unsealJSON(d execution.Delivery, field string, sealed execution.Sealed, v any) error {
	text, err := s.unsealer.Unseal(d.Execution, field, sealed)
	if err != nil {
		return fmt.Errorf("unseal %s: %w", field, err)
	}
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("read %s: %w", field, err)
	}
	return nil
}

// readAnswer returns the first 16 KiB of an answer's body. It reads up to 64 KiB, so that the connection of a receiver
// with a long answer can be reused. A body that breaks off or arrives slowly does not change the outcome.
func readAnswer(body io.Reader) []byte {
	kept, _ := io.ReadAll(io.LimitReader(body, maxAnswerKept))
	_, _ = io.CopyN(io.Discard, body, maxAnswerRead-maxAnswerKept)
	return kept
}

// parseRetryAfter reads a Retry-After header (RFC 9110 §10.2.3) in seconds or as a date. It returns 0 if the header is
// missing or malformed, or if its time has passed.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return maxRetryAfter // more seconds than an int32 holds exceed the maximum anyway
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
