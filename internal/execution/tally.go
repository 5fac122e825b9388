package execution

// Tally is how much is in hand at one moment.
type Tally struct {
	Queued  int // executions that wait, claimed ones included
	Running int
	Pending int // deliveries that are still to be made
	Dead    int // deliveries that were given up and can be sent again
}

// Share is what of it is one subject's.
type Share struct {
	Queued  int // claimed ones included
	Running int
	Kept    int // all that are in the record, ended or not
}
