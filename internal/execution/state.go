package execution

import "errors"

// State is where an execution stands.
type State string

// The states. The last four are terminal: nothing leaves them.
const (
	Queued    State = "queued"    // stored, waiting for a slot
	Running   State = "running"   // a container holds it; the program may have started
	Completed State = "completed" // the program exited with 0
	Failed    State = "failed"    // it ended otherwise, or could not be run
	Timeout   State = "timeout"   // it was ended at its deadline
	Cancelled State = "cancelled" // somebody asked for its end
)

// States lists all of them in the order of an execution's life.
func States() []State { return []State{Queued, Running, Completed, Failed, Timeout, Cancelled} }

// Terminal tells whether nothing can follow.
func (s State) Terminal() bool {
	switch s {
	case Completed, Failed, Timeout, Cancelled:
		return true
	case Queued, Running:
		return false
	}
	return false
}

// Transition is one step that is allowed.
type Transition struct {
	From, To State
	When     string // for the diagram
}

// transitions is the only place that knows which steps exist.
var transitions = []Transition{
	{Queued, Running, "a container is ready"},
	{Queued, Cancelled, "cancelled before it started"},
	{Queued, Failed, "no container could be made"},
	{Running, Completed, "exit code 0"},
	{Running, Failed, "any other end"},
	{Running, Timeout, "the deadline passed"},
	{Running, Cancelled, "cancelled while it ran"},
	{Running, Queued, "the journal proves that it never started"},
}

// Transitions returns every allowed step.
func Transitions() []Transition { return append([]Transition(nil), transitions...) }

// CanBecome tells whether the step from s to next is allowed.
func (s State) CanBecome(next State) bool {
	for _, t := range transitions {
		if t.From == s && t.To == next {
			return true
		}
	}
	return false
}

// DeliveryState is where the delivery of a result stands; a second machine beside the execution's own.
type DeliveryState string

// The states of a delivery.
const (
	NoDelivery DeliveryState = "none"      // not ended yet, or no callback was asked for
	Pending    DeliveryState = "pending"   // an attempt is due, now or later
	Delivered  DeliveryState = "delivered" // the receiver answered 2xx
	Dead       DeliveryState = "dead"      // given up; the reason says why
)

// DeliveryStates lists those that a delivery can be in once there is one.
func DeliveryStates() []DeliveryState { return []DeliveryState{Pending, Delivered, Dead} }

// DeliveryTransition is one step of a delivery that is allowed.
type DeliveryTransition struct {
	From, To DeliveryState
	When     string
}

var deliveryTransitions = []DeliveryTransition{
	{NoDelivery, Pending, "the execution ends"},
	{Pending, Delivered, "a 2xx answer"},
	{Pending, Dead, "gone, blocked or exhausted"},
	{Delivered, Pending, "sent again"},
	{Dead, Pending, "sent again"},
}

// DeliveryTransitions returns every allowed step of a delivery.
func DeliveryTransitions() []DeliveryTransition {
	return append([]DeliveryTransition(nil), deliveryTransitions...)
}

// ErrStale says that an execution is not in the state that a write expected, or is another owner's by now: somebody
// else moved it on, and the write changed nothing.
var ErrStale = errors.New("execution is not in the expected state")
