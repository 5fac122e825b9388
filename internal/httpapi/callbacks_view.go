package httpapi

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"boomerang/internal/admission"
	"boomerang/internal/callback"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

func lineOf(d execution.Delivery) wire.Delivery {
	line := wire.Delivery{
		ExecutionID:   d.Execution,
		State:         d.State,
		URL:           d.Callback.URL,
		Attempts:      d.Attempts,
		NextAttemptAt: wire.TimeOrNull(d.NextAt),
		CreatedAt:     wire.TimeOrNull(d.CreatedAt),
		EndedAt:       wire.TimeOrNull(d.EndedAt),
	}
	if d.Callback.URL != "" {
		line.Destination = d.Callback.Destination()
	}
	if d.Reason != "" {
		line.Reason = &d.Reason
	}
	return line
}

func deliveryOf(
	e execution.Execution, d execution.Delivery, attempts []execution.Attempt, breaker execution.Breaker,
	now time.Time,
) wire.DeliveryRecord {
	return wire.DeliveryRecord{
		Delivery:    lineOf(d),
		WebhookID:   callback.WebhookID(d.Execution),
		HeaderNames: listOf(d.Callback.HeaderNames),
		Signed:      len(d.Callback.Secret) > 0,
		Explanation: explain(e, d, attempts, breaker, now),
	}
}

// explain returns a sentence on why a result has not arrived, or that it has.
func explain(
	e execution.Execution, d execution.Delivery, attempts []execution.Attempt, breaker execution.Breaker,
	now time.Time,
) string {
	last := ""
	for _, a := range attempts {
		if a.Number == d.Attempts { // a later attempt may have been recorded after d was read
			last = clause(a.Detail)
		}
	}
	switch d.State {
	case execution.NoDelivery:
		if e.Callback.URL == "" {
			return "The execution has no callback."
		}
		if e.Batch.Summary && e.State.Terminal() {
			return "The batch has one callback for all: it is that of the execution that ends last."
		}
		return "The execution has not ended yet; its result is posted when it has."
	case execution.Pending:
		return soFar(d, last) + " " + coming(d, breaker, now)
	case execution.Delivered:
		return fmt.Sprintf("Delivered at attempt %d: %s", d.Attempts, last)
	case execution.Dead:
		return "Given up: " + map[execution.DeadReason]string{
			execution.Gone:    "the receiver answered 410 Gone.",
			execution.Blocked: last,
			execution.Exhausted: fmt.Sprintf("the schedule has no further attempt. Attempt %d failed: %s",
				d.Attempts, last),
		}[d.Reason]
	}
	return ""
}

// soFar describes the last attempt of a pending delivery.
func soFar(d execution.Delivery, last string) string {
	switch {
	case d.Attempts == 0:
		return "No attempt has ended yet."
	case d.Resumed == d.Attempts:
		return fmt.Sprintf("It is sent again after attempt %d: %s", d.Attempts, last)
	}
	return fmt.Sprintf("Attempt %d failed: %s", d.Attempts, last)
}

// coming describes the next attempt of a pending delivery.
func coming(d execution.Delivery, breaker execution.Breaker, now time.Time) string {
	at := d.NextAt
	if breaker.OpenUntil.After(now) && breaker.OpenUntil.After(at) {
		return "Nearly all attempts to " + breaker.Destination + " fail, so nothing is sent there before " +
			rfc3339(breaker.OpenUntil) + "."
	}
	if at.After(now) {
		return "The next attempt is at " + rfc3339(at) + "."
	}
	return "The next attempt has been due since " + rfc3339(at) + "."
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// clause turns a sentence into one that can follow a colon.
func clause(sentence string) string {
	if sentence == "" {
		return ""
	}
	return strings.ToLower(sentence[:1]) + sentence[1:]
}

// deliveryAttempts are all attempts of one delivery.
type deliveryAttempts struct {
	ExecutionID execution.ID   `json:"execution_id"`
	Attempts    []wire.Attempt `json:"attempts"`
	Count       int            `json:"count"`
}

func attemptsOf(id execution.ID, attempts []execution.Attempt) deliveryAttempts {
	list := make([]wire.Attempt, 0, len(attempts))
	for _, a := range attempts {
		shown := wire.Attempt{
			Number: a.Number, StartedAt: wire.Time(a.StartedAt), Duration: wire.Seconds(a.Duration), Outcome: a.Outcome,
			StatusCode: numberOrNull(a.StatusCode), Detail: a.Detail, Reply: replyOf(a.Answer),
		}
		if a.RetryAfter > 0 {
			shown.RetryAfter = new(wire.Seconds(a.RetryAfter))
		}
		list = append(list, shown)
	}
	return deliveryAttempts{ExecutionID: id, Attempts: list, Count: len(list)}
}

func replyOf(kept []byte) wire.Reply {
	if utf8.Valid(kept) {
		return wire.Reply{Answer: string(kept)}
	}
	return wire.Reply{Answer: strings.ToValidUTF8(string(kept), "\uFFFD"), AnswerBase64: kept}
}

func trialOf(s admission.Submission, t callback.Trial) wire.Trial {
	return wire.Trial{
		URL: s.CallbackURL, Arrived: t.Outcome == execution.AttemptSucceeded, Outcome: t.Outcome,
		Detail: t.Detail, Rule: textOrNull(t.Rule),
		Resolved: t.Resolved, Connected: t.Connected, TLS: textOrNull(t.TLS), StatusCode: numberOrNull(t.StatusCode),
		Reply: replyOf(t.Answer), Duration: wire.Seconds(t.Duration), Signed: len(s.Secrets) > 0, Body: string(t.Body),
	}
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func numberOrNull(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}
