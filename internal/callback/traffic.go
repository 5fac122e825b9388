package callback

import (
	"maps"
	"slices"

	"boomerang/internal/execution"
)

// perDestination is how many attempts to one destination may be in flight.
const perDestination = 4

// traffic counts the attempts in flight. It is the place that decides whether a destination takes another one now; it
// belongs to one goroutine.
type traffic struct {
	flying       map[execution.ID]string // to which destination
	destinations map[string]int          // how many are flying there; no entry for none
}

func newTraffic() *traffic {
	return &traffic{flying: make(map[execution.ID]string), destinations: make(map[string]int)}
}

// depart counts an attempt of d.
func (t *traffic) depart(d execution.Delivery) {
	destination := d.Callback.Destination()
	t.flying[d.Execution] = destination
	t.destinations[destination]++
}

// land takes back what depart counted.
func (t *traffic) land(id execution.ID) {
	destination := t.flying[id]
	delete(t.flying, id)
	if t.destinations[destination]--; t.destinations[destination] == 0 {
		delete(t.destinations, destination)
	}
}

// inFlight lists the executions whose result is being sent.
func (t *traffic) inFlight() []execution.ID { return slices.Collect(maps.Keys(t.flying)) }

// closed lists the destinations that take no further attempt now.
func (t *traffic) closed() []string {
	var closed []string
	for destination, n := range t.destinations {
		if n >= perDestination {
			closed = append(closed, destination)
		}
	}
	return closed
}
