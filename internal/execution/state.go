package execution

import (
	"errors"
	"slices"
)

// State is the state of an execution.
type State string

// The states of an execution. The last four are terminal: no transition leaves them.
const (
	Queued    State = "queued"    // stored, waiting for a slot
	Running   State = "running"   // in a container; the program may have started
	Completed State = "completed" // the program exited with 0
	Failed    State = "failed"    // the program ended otherwise, or could not run
	Timeout   State = "timeout"   // the program was ended at its deadline
	Cancelled State = "cancelled" // a client cancelled it
)

// States lists all states in the order of an execution's life.
func States() []State { return []State{Queued, Running, Completed, Failed, Timeout, Cancelled} }

// Terminal reports whether no other state can follow.
func (s State) Terminal() bool {
	switch s {
	case Completed, Failed, Timeout, Cancelled:
		return true
	case Queued, Running:
		return false
	}
	return false
}

// Transition is an allowed change of an execution's state.
type Transition struct {
	From, To State
	When     string // cause, for the diagram in docs/ARCHITECTURE.md
}

// transitions is the only list of allowed transitions. The store refuses every other change of a state.
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

// Transitions returns every allowed transition.
func Transitions() []Transition { return append([]Transition(nil), transitions...) }

// CanBecome reports whether an execution may go from s to next.
func (s State) CanBecome(next State) bool {
	for _, t := range transitions {
		if t.From == s && t.To == next {
			return true
		}
	}
	return false
}

// DeliveryState is the state of a delivery. It does not depend on the state of the execution after the end.
type DeliveryState string

// The states of a delivery.
const (
	NoDelivery DeliveryState = "none"      // the execution has not ended or has no callback
	Pending    DeliveryState = "pending"   // an attempt is due, now or later
	Delivered  DeliveryState = "delivered" // the receiver answered 2xx
	Dead       DeliveryState = "dead"      // given up; the DeadReason says why
)

// DeliveryStates lists the states of stored deliveries.
func DeliveryStates() []DeliveryState { return []DeliveryState{Pending, Delivered, Dead} }

// DeliveryTransition is an allowed change of a delivery's state.
type DeliveryTransition struct {
	From, To DeliveryState
	When     string
}

// deliveryTransitions is the only list of allowed transitions of a delivery. The store refuses every other change of a
// state. A pending delivery whose attempt failed stays pending, which is no transition.
var deliveryTransitions = []DeliveryTransition{
	{NoDelivery, Pending, "the execution ends"},
	{Pending, Delivered, "a 2xx answer"},
	{Pending, Dead, "gone, blocked or exhausted"},
	{Delivered, Pending, "sent again"},
	{Dead, Pending, "sent again"},
}

// DeliveryTransitions returns every allowed transition of a delivery.
func DeliveryTransitions() []DeliveryTransition {
	return append([]DeliveryTransition(nil), deliveryTransitions...)
}

// CanBecome reports whether a delivery may go from s to next.
func (s DeliveryState) CanBecome(next DeliveryState) bool { return slices.Contains(next.Sources(), s) }

// Sources returns the states from which a delivery may come to s.
func (s DeliveryState) Sources() (states []DeliveryState) {
	for _, t := range deliveryTransitions {
		if t.To == s {
			states = append(states, t.From)
		}
	}
	return states
}

// ErrStale says that an execution is not in the state that a write expected, or has another owner, because another
// write came first. The write changed nothing.
var ErrStale = errors.New("execution is not in the expected state")
