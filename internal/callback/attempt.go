package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
)

const (
	readAnswer    = 64 << 10 // bytes of an answer's body that are read at most
	keptAnswer    = 16 << 10 // bytes of it that are kept
	answerHeaders = 32 << 10 // bytes of an answer's headers, those of 1xx answers with them
	idle          = 30 * time.Second
)

// limits are how long the parts of an attempt may take.
type limits struct {
	connect time.Duration // resolving and connecting
	tls     time.Duration // the handshake
	whole   time.Duration // everything, the answer's body too
}

func usualLimits() limits {
	return limits{connect: 5 * time.Second, tls: 5 * time.Second, whole: 30 * time.Second}
}

// Unsealer opens the sealed fields of an execution; no field gives no bytes. Errors: the seal is not ours.
type Unsealer interface {
	Unseal(id execution.ID, field string, sealed execution.Sealed) ([]byte, error)
}

// sender makes single attempts.
type sender struct {
	policy    *Policy
	unsealer  Unsealer
	transport *http.Transport
	agent     string
	whole     time.Duration
	now       func() time.Time
}

func newSender(c Config, policy *Policy, unsealer Unsealer, version string, l limits) *sender {
	agent := "boomerang/" + version
	return &sender{
		policy: policy, unsealer: unsealer, transport: newTransport(c, policy, agent, l), agent: agent, whole: l.whole, now: time.Now,
	}
}

// newTransport makes what connects to addresses that the policy lets through, or to the egress proxy, and to nothing else.
func newTransport(c Config, policy *Policy, agent string, l limits) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // HTTP/2 would write every header in lower case
	transport := &http.Transport{
		DialContext:            dialer{policy: policy, timeout: l.connect}.dial,
		TLSClientConfig:        policy.trust.config(), // used by secure
		TLSHandshakeTimeout:    l.tls,
		DisableCompression:     true,
		MaxResponseHeaderBytes: answerHeaders,
		MaxIdleConns:           c.Concurrency,
		MaxIdleConnsPerHost:    c.Destination.Concurrency,
		IdleConnTimeout:        idle,
		Protocols:              protocols,
	}
	direct := func(ctx context.Context, network, address string) (net.Conn, error) {
		return transport.DialContext(ctx, network, address)
	}
	transport.DialTLSContext = secure(transport, direct)
	if proxy, err := c.proxy(); err == nil && proxy != nil {
		through(transport, proxy, policy.trust, agent, l)
	}
	return transport
}

// send makes the next attempt of d. The error is why there was no answer: private, for the log; the attempt has it in
// public words. An attempt that the end of ctx broke off proves nothing.
func (s *sender) send(ctx context.Context, d execution.Delivery) (execution.Attempt, error) {
	a, _, err := s.watched(ctx, d)
	return a, err
}

// watched is send, and tells also how far the connection came.
func (s *sender) watched(ctx context.Context, d execution.Delivery) (execution.Attempt, *witness, error) {
	ctx, cancel := context.WithTimeout(ctx, s.whole)
	defer cancel()
	a, w, err := s.attempt(ctx, d)
	if atOnce(a) && ctx.Err() == nil {
		return s.attempt(ctx, d)
	}
	return a, w, err
}

func (s *sender) attempt(ctx context.Context, d execution.Delivery) (execution.Attempt, *witness, error) {
	a, w := execution.Attempt{Execution: d.Execution, Number: d.Attempts + 1, StartedAt: s.now()}, new(witness)
	err := s.post(ctx, d, &a, w)
	if err != nil {
		a.Outcome, a.Detail = classify(err)
	}
	a.Duration = s.now().Sub(a.StartedAt)
	return a, w, err
}

// post sends the delivery's body and writes the answer into a. It asks the policy about the URL again: it may have
// changed since admission, and behind a proxy nobody else does.
//
// The transport is used without an http.Client, so there is nobody who follows redirects or keeps cookies.
func (s *sender) post(ctx context.Context, d execution.Delivery, a *execution.Attempt, w *witness) error {
	if err := s.policy.CheckURL(d.Callback.URL); err != nil {
		return err
	}
	request, err := s.request(httptrace.WithClientTrace(with(ctx, hostname(d.Callback.URL)), w.trace()), d, *a)
	if err != nil {
		return &unsentError{err}
	}
	response, err := s.transport.RoundTrip(request)
	head, ended := w.heard()
	if err != nil {
		if ctx.Err() == nil && s.salvage(a, head, ended, err) { // headers that did not end in time are a timeout
			return nil // err goes no further: it holds words of the receiver
		}
		return w.explain(err)
	}
	defer response.Body.Close() //nolint:errcheck // the answer is known
	if !isStatus(response.StatusCode) {
		return errNoStatus
	}
	s.decide(a, response.StatusCode, response.Header.Get("Retry-After"))
	if response.StatusCode < 200 {
		return nil // the body of a 101 is the bare connection, which no deadline ends
	}
	answer := read(response.Body)
	if w.public() {
		a.Answer = answer
	}
	return nil
}

// decide writes what a status means into a.
func (s *sender) decide(a *execution.Attempt, status int, after string) {
	a.StatusCode = status
	a.Outcome, a.Detail = outcome(status)
	if a.Outcome != execution.AttemptSucceeded {
		a.RetryAfter = retryAfter(after, s.now())
	}
}

// salvage lets the status decide where net/http could not read the rest of an answer. It is false if no status line came.
func (s *sender) salvage(a *execution.Attempt, head []byte, ended bool, err error) bool {
	b, ok := beginningOf(head)
	if !ok {
		return false
	}
	s.decide(a, b.status, b.retryAfter)
	a.Detail = strings.TrimSuffix(a.Detail, ".") + "; " + b.flaw(len(head), ended, err) + "."
	return true
}

// request writes the callback: body and headers as the wire has them, spelled as the wire spells them.
func (s *sender) request(ctx context.Context, d execution.Delivery, a execution.Attempt) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Callback.URL, bytes.NewReader(d.Body))
	if err != nil {
		return nil, err
	}
	secrets, err := s.secrets(d)
	if err != nil {
		return nil, err
	}
	custom, err := s.custom(d)
	if err != nil {
		return nil, err
	}
	id := WebhookID(d.Execution)
	timestamp := strconv.FormatInt(a.StartedAt.Unix(), 10)
	headers := map[string]string{
		"User-Agent":            s.agent,
		"Content-Type":          "application/json",
		"Idempotency-Key":       id, // net/http takes it as leave to send again on a fresh connection when an idle one was dead
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
			name = "User-Agent" // the one header of ours that a client may replace
		}
		headers[name] = value
	}
	for name, value := range headers {
		request.Header[name] = []string{value}
	}
	return request, nil
}

// secrets returns what the callback is signed with, newest first.
func (s *sender) secrets(d execution.Delivery) (secrets []string, err error) {
	err = s.open(d, execution.FieldCallbackSecret, d.Callback.Secret, &secrets)
	return secrets, err
}

// custom returns the client's own headers.
func (s *sender) custom(d execution.Delivery) (headers map[string]string, err error) {
	err = s.open(d, execution.FieldCallbackHeaders, d.Callback.Headers, &headers)
	return headers, err
}

// open reads the JSON of a sealed field into v; of nothing it reads nothing.
func (s *sender) open(d execution.Delivery, field string, sealed execution.Sealed, v any) error {
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

// read returns the first 16 KiB of an answer's body and reads a little further, so that the connection of a talkative
// receiver can be used again. An answer that breaks off or drips is as good as its headers.
func read(body io.Reader) []byte {
	kept, _ := io.ReadAll(io.LimitReader(body, keptAnswer))
	_, _ = io.CopyN(io.Discard, body, readAnswer-keptAnswer)
	return kept
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3), seconds or a date. It is 0 when there is none, or none that
// can be read, or its time has come.
func retryAfter(value string, now time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return maxRetryAfter // more than an int32 holds, and so more than is honoured
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
