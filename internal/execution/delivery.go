package execution

import "time"

// Delivery is the obligation to post one result until it arrives. Each ended execution with a callback has one, except
// in a batch with a summary.
type Delivery struct {
	Execution ID
	State     DeliveryState
	Reason    DeadReason // set if the state is dead
	Callback  Callback
	Body      []byte  // serialised once; every attempt sends the same bytes
	Summary   Summary // makes Body if the execution is the last of a batch with one callback; nil otherwise
	Attempts  int     // number of attempts so far, including those before a redelivery
	Resumed   int     // number of attempts before the current schedule began; 0 before the first redelivery
	NextAt    time.Time
	CreatedAt time.Time
	EndedAt   time.Time // zero if the delivery is pending
}

// Due is a pending delivery and the time at which its next attempt is due.
type Due struct {
	Execution   ID
	Subject     string // owner of the execution
	Destination string // in the form of Callback.Destination
	NextAt      time.Time
}

// NewsCursor is a position in the order in which deliveries became pending. The zero cursor stands before all of them.
type NewsCursor struct{ Revision, Row int64 }

// Breaker is a circuit breaker: nothing of its subject is sent to its destination until OpenUntil, because attempts
// there failed.
type Breaker struct {
	Subject     string
	Destination string
	Openings    int // openings in a row, without a success between them; 0 if the breaker is closed
	OpenUntil   time.Time
}

// DeadReason is the reason why a delivery was given up.
type DeadReason string

// The reasons for giving up.
const (
	Gone      DeadReason = "gone"      // the receiver answered 410
	Blocked   DeadReason = "blocked"   // the address policy forbids the destination
	Exhausted DeadReason = "exhausted" // the schedule has no further attempt
)

// AttemptOutcome classifies the outcome of an attempt. A failed attempt is data, not an error.
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

// Attempt is one POST of a delivery. A stored attempt never changes.
type Attempt struct {
	Execution  ID
	Number     int // from 1
	StartedAt  time.Time
	Duration   time.Duration
	Outcome    AttemptOutcome
	StatusCode int    // 0 if no answer came
	Detail     string // one public sentence; never contains an address that DNS returned
	// the first 16 KiB of the answer's body; empty for a destination that only an exception allows
	Answer     []byte
	RetryAfter time.Duration // requested by the receiver; 0 if it requested none
}

// Recovery chooses dead deliveries to send again.
type Recovery struct {
	Subject     string    // owner; empty chooses all subjects
	Destination string    // in the form of Callback.Destination; empty chooses all
	Since       time.Time // created at or after; zero sets no bound
}

// DeliveryFilter chooses deliveries for a list, newest first. A delivery is created when its execution ends, and keeps
// that time when it is sent again.
type DeliveryFilter struct {
	Subject     string          // owner; empty chooses all subjects
	States      []DeliveryState // empty chooses all states
	Destination string          // in the form of Callback.Destination; empty chooses all
	Since       time.Time       // created at or after; zero sets no bound
	Until       time.Time       // created before; zero sets no bound
	Before      DeliveryCursor  // cursor: the list continues after this delivery; zero starts with the newest
	Limit       int             // 1–200
}

// DeliveryCursor is the position of a delivery in a list. It stays valid when the delivery is removed.
type DeliveryCursor struct {
	CreatedAt time.Time
	Execution ID
}

// Cursor returns the position of d in a list.
func (d Delivery) Cursor() DeliveryCursor { return DeliveryCursor{d.CreatedAt, d.Execution} }
