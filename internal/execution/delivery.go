package execution

import "time"

// Delivery is the obligation to post one result until it arrives. There is exactly one for each ended execution
// that has a callback.
type Delivery struct {
	Execution ID
	State     DeliveryState
	Reason    DeadReason // set when dead
	Callback  Callback
	Body      []byte  // serialised once, sent byte for byte the same on every attempt
	Summary   Summary // makes the Body when the execution is the last of a batch that has one callback for all; else nil
	Attempts  int     // made so far, over all times that it was sent again
	Resumed   int     // how many of them had been made when the schedule last began: 0 until it is sent again
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

// Recovery chooses the dead deliveries that are to be sent again.
type Recovery struct {
	Subject     string    // empty = everybody's
	Destination string    // as Callback.Destination writes it; empty = all
	Since       time.Time // created at or after; zero = no bound
}

// DeliveryFilter chooses deliveries for a list, newest first. A delivery is created when its execution ends, and keeps that
// time when it is sent again.
type DeliveryFilter struct {
	Subject     string          // empty = everybody's
	States      []DeliveryState // empty = all
	Destination string          // as Callback.Destination writes it; empty = all
	Since       time.Time       // created at or after; zero = no bound
	Until       time.Time       // created before; zero = no bound
	Before      DeliveryCursor  // what comes after this one in the list; zero = from the newest
	Limit       int             // 1–200
}

// DeliveryCursor is the place of a delivery in a list. It holds when the delivery is not there any more.
type DeliveryCursor struct {
	CreatedAt time.Time
	Execution ID
}

// Cursor is the place of d in a list.
func (d Delivery) Cursor() DeliveryCursor { return DeliveryCursor{d.CreatedAt, d.Execution} }
