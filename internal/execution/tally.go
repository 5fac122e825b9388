package execution

// Tally counts the executions and deliveries in progress, and the dead deliveries.
type Tally struct {
	Queued  int // including claimed ones
	Running int
	Pending int // deliveries with an attempt to come
	Dead    int // deliveries that were given up and can be sent again
}

// Share counts the executions of one subject.
type Share struct {
	Queued  int // including claimed ones
	Running int
	Kept    int // all stored executions, ended or not; 10 000 if there are more
}
