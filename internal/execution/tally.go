package execution

// Tally is how much is in hand at one moment.
type Tally struct {
	Queued  int // executions that wait, claimed ones included
	Running int
	Pending int // deliveries that are still to be made
	Dead    int // deliveries that were given up and can be sent again
}
