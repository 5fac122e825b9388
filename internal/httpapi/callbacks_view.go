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

// deliveryLine is a delivery in a list.
type deliveryLine struct {
	ExecutionID   execution.ID            `json:"execution_id"`
	State         execution.DeliveryState `json:"state"`
	Reason        *execution.DeadReason   `json:"reason"` // null unless dead
	URL           string                  `json:"url"`
	Destination   string                  `json:"destination"`
	Attempts      int                     `json:"attempts"`
	NextAttemptAt *time.Time              `json:"next_attempt_at"` // null unless pending
	CreatedAt     *time.Time              `json:"created_at"`      // null before there is a delivery
	EndedAt       *time.Time              `json:"ended_at"`        // null until delivered or dead
}

// deliveryRecord is the record of one delivery.
type deliveryRecord struct {
	deliveryLine
	WebhookID   string   `json:"webhook_id"`
	HeaderNames []string `json:"header_names"`
	Signed      bool     `json:"signed"`
	Explanation string   `json:"explanation"`
}

func lineOf(d execution.Delivery) deliveryLine {
	line := deliveryLine{
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
	e execution.Execution, d execution.Delivery, attempts []execution.Attempt, breakers []execution.Breaker,
	now time.Time,
) deliveryRecord {
	return deliveryRecord{
		deliveryLine: lineOf(d),
		WebhookID:    callback.WebhookID(d.Execution),
		HeaderNames:  listOf(d.Callback.HeaderNames),
		Signed:       len(d.Callback.Secret) > 0,
		Explanation:  explain(e, d, attempts, breakers, now),
	}
}

// explain returns a sentence on why a result has not arrived, or that it has.
func explain(
	e execution.Execution, d execution.Delivery, attempts []execution.Attempt, breakers []execution.Breaker,
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
		return soFar(d, last) + " " + coming(d, breakers, now)
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
func coming(d execution.Delivery, breakers []execution.Breaker, now time.Time) string {
	at := d.NextAt
	for _, b := range breakers {
		if b.Destination == d.Callback.Destination() && b.OpenUntil.After(now) && b.OpenUntil.After(at) {
			return "Nearly all attempts to " + b.Destination + " fail, so nothing is sent there before " +
				rfc3339(b.OpenUntil) + "."
		}
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

// attemptLine is one POST of a delivery.
type attemptLine struct {
	Number     int                      `json:"number"`
	StartedAt  time.Time                `json:"started_at"`
	Duration   wire.Seconds             `json:"duration"`
	Outcome    execution.AttemptOutcome `json:"outcome"`
	StatusCode *int                     `json:"status_code"` // null without an answer
	Detail     string                   `json:"detail"`
	reply
	RetryAfter *wire.Seconds `json:"retry_after"` // null unless the receiver asked for a delay
}

// reply is the stored part of a receiver's answer.
type reply struct {
	Answer       string `json:"answer"`        // each byte that is not UTF-8 is U+FFFD
	AnswerBase64 []byte `json:"answer_base64"` // null if the answer is UTF-8
}

// deliveryAttempts are all attempts of one delivery.
type deliveryAttempts struct {
	ExecutionID execution.ID  `json:"execution_id"`
	Attempts    []attemptLine `json:"attempts"`
	Count       int           `json:"count"`
}

func attemptsOf(id execution.ID, attempts []execution.Attempt) deliveryAttempts {
	list := make([]attemptLine, 0, len(attempts))
	for _, a := range attempts {
		shown := attemptLine{
			Number: a.Number, StartedAt: wire.Time(a.StartedAt), Duration: wire.Seconds(a.Duration), Outcome: a.Outcome,
			StatusCode: numberOrNull(a.StatusCode), Detail: a.Detail, reply: replyOf(a.Answer),
		}
		if a.RetryAfter > 0 {
			shown.RetryAfter = new(wire.Seconds(a.RetryAfter))
		}
		list = append(list, shown)
	}
	return deliveryAttempts{ExecutionID: id, Attempts: list, Count: len(list)}
}

func replyOf(kept []byte) reply {
	if utf8.Valid(kept) {
		return reply{Answer: string(kept)}
	}
	return reply{Answer: strings.ToValidUTF8(string(kept), "\uFFFD"), AnswerBase64: kept}
}

// trialRecord is the outcome of a sample callback.
type trialRecord struct {
	URL        string                   `json:"url"`
	Arrived    bool                     `json:"arrived"`
	Outcome    execution.AttemptOutcome `json:"outcome"`
	Detail     string                   `json:"detail"`
	Rule       *string                  `json:"rule"` // null unless the policy refused the URL
	Resolved   bool                     `json:"resolved"`
	Connected  bool                     `json:"connected"`
	TLS        *string                  `json:"tls"`         // null without TLS
	StatusCode *int                     `json:"status_code"` // null without an answer
	reply
	Duration wire.Seconds `json:"duration"`
	Signed   bool         `json:"signed"`
	Body     string       `json:"body"`
}

func trialOf(s admission.Submission, t callback.Trial) trialRecord {
	return trialRecord{
		URL: s.CallbackURL, Arrived: t.Outcome == execution.AttemptSucceeded, Outcome: t.Outcome, Detail: t.Detail,
		Rule:     textOrNull(t.Rule),
		Resolved: t.Resolved, Connected: t.Connected, TLS: textOrNull(t.TLS), StatusCode: numberOrNull(t.StatusCode),
		reply: replyOf(t.Answer), Duration: wire.Seconds(t.Duration), Signed: len(s.Secrets) > 0, Body: string(t.Body),
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
