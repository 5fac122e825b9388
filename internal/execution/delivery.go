package execution

import "time"

// Delivery is the obligation to post one result until it arrives. There is exactly one for each ended execution
// that has a callback.
type Delivery struct {
	Execution ID
	State     DeliveryState
	Reason    DeadReason // set when dead
	Callback  Callback
	Body      []byte // serialised once, sent byte for byte the same on every attempt
	Attempts  int    // made so far
	NextAt    time.Time
	CreatedAt time.Time
	EndedAt   time.Time // zero while pending
}

// Due is a pending delivery whose time has come.
type Due struct {
	Execution   ID
	Destination string // as Callback.Destination
}

// Breaker is a destination that failed so often that nothing was sent to it until OpenUntil.
type Breaker struct {
	Destination string
	Openings    int // in a row, without a success between them; 0 = it is closed
	OpenUntil   time.Time
}

// DeadReason says why a delivery was given up.
type DeadReason string

// The reasons for giving up.
const (
	Gone      DeadReason = "gone"      // the receiver answered 410
	Blocked   DeadReason = "blocked"   // the address policy forbids the destination
	Exhausted DeadReason = "exhausted" // the schedule has no further attempt
)

// AttemptOutcome classes what happened to one attempt. A failed attempt is data, not an error.
type AttemptOutcome string

// The outcomes of an attempt.
const (
	AttemptSucceeded  AttemptOutcome = "delivered"
	AttemptBlocked    AttemptOutcome = "blocked"
	AttemptDNS        AttemptOutcome = "dns_error"
	AttemptRefused    AttemptOutcome = "connection_refused"
	AttemptConnection AttemptOutcome = "connection_error"
	AttemptTimeout    AttemptOutcome = "timeout"
	AttemptTLS        AttemptOutcome = "tls_error"
	AttemptRedirect   AttemptOutcome = "redirect"
	AttemptStatus     AttemptOutcome = "http_status"
)

// Attempt is one POST of a delivery; rows of it are only ever added.
type Attempt struct {
	Execution  ID
	Number     int // from 1
	StartedAt  time.Time
	Duration   time.Duration
	Outcome    AttemptOutcome
	StatusCode int           // 0 when no answer came
	Detail     string        // one public sentence; never an address that DNS gave
	Answer     []byte        // the first 16 KiB of the answer's body; empty for a destination that only an exception allows
	RetryAfter time.Duration // what the receiver asked for; 0 when it did not
}
