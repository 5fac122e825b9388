package wire

import (
	"time"

	"boomerang/internal/execution"
)

// Target is the receiver of an execution's callback.
type Target struct {
	URL         string   `json:"url"`
	HeaderNames []string `json:"header_names"` // the values of the headers are never shown
}

// Callback is the state of an execution's callback, as part of the record of the execution.
type Callback struct {
	Target
	Signed        bool                    `json:"signed"`
	State         execution.DeliveryState `json:"state"`
	Reason        *execution.DeadReason   `json:"reason"` // null unless dead
	Attempts      int                     `json:"attempts"`
	NextAttemptAt *time.Time              `json:"next_attempt_at"` // null unless pending
	EndedAt       *time.Time              `json:"ended_at"`        // null until delivered or dead
}

// Delivery is one callback in a list of callbacks.
type Delivery struct {
	ExecutionID   execution.ID            `json:"execution_id"`
	State         execution.DeliveryState `json:"state"`
	Reason        *execution.DeadReason   `json:"reason"` // null unless dead
	URL           string                  `json:"url"`
	Destination   string                  `json:"destination"` // scheme, host and port of the URL
	Attempts      int                     `json:"attempts"`
	NextAttemptAt *time.Time              `json:"next_attempt_at"` // null unless pending
	CreatedAt     *time.Time              `json:"created_at"`      // null while the execution has no delivery
	EndedAt       *time.Time              `json:"ended_at"`        // null until delivered or dead
}

// DeliveryRecord is one callback with everything that the API shows about it, except its attempts.
type DeliveryRecord struct {
	Delivery
	WebhookID   string   `json:"webhook_id"`
	HeaderNames []string `json:"header_names"`
	Signed      bool     `json:"signed"`
	Explanation string   `json:"explanation"` // why the callback has not arrived, or that it has arrived
}

// Attempt is one POST request of a callback.
type Attempt struct {
	Number     int                      `json:"number"` // from 1
	StartedAt  time.Time                `json:"started_at"`
	Duration   Seconds                  `json:"duration"`
	Outcome    execution.AttemptOutcome `json:"outcome"`
	StatusCode *int                     `json:"status_code"` // null if no answer came
	Detail     string                   `json:"detail"`
	Reply
	RetryAfter *Seconds `json:"retry_after"` // null if the answer has no Retry-After
}

// Reply is the stored beginning of a receiver's answer.
type Reply struct {
	Answer       string `json:"answer"`        // bytes that are not UTF-8 are replaced by U+FFFD
	AnswerBase64 []byte `json:"answer_base64"` // null if the answer is UTF-8
}

// Trial is the outcome of a sample callback that a client asked the server to send.
type Trial struct {
	URL        string                   `json:"url"`
	Arrived    bool                     `json:"arrived"`
	Outcome    execution.AttemptOutcome `json:"outcome"`
	Detail     string                   `json:"detail"`
	Rule       *string                  `json:"rule"` // rule of the address policy that refused the URL; may be null
	Resolved   bool                     `json:"resolved"`
	Connected  bool                     `json:"connected"`
	TLS        *string                  `json:"tls"`         // null if the connection had no TLS
	StatusCode *int                     `json:"status_code"` // null if no answer came
	Reply
	Duration Seconds `json:"duration"`
	Signed   bool    `json:"signed"`
	Body     string  `json:"body"`
}
