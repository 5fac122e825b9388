package sandbox

// Fact is one property of the container engine and its effect on the isolation of programs.
type Fact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Weight Weight `json:"weight"`
	Advice string `json:"advice,omitempty"` // one sentence for the operator; empty if no action is needed
	// The text of a warning that any client may read; if empty, clients see Name.
	Public string `json:"-"`
	// Own is true for a fact about boomerang's own data, which no change of the engine mends. docker.strict ignores it.
	Own bool `json:"-"`
}

// Weight is the importance of a fact.
type Weight string

// The weights of a fact.
const (
	Fine    Weight = "fine"
	Note    Weight = "note"    // an improvement is possible; all promised isolation is in place
	Warning Weight = "warning" // an isolation layer is missing or has a known hole
)

// Warnings returns the facts whose weight is Warning, in the order of the facts.
func Warnings(facts []Fact) []Fact {
	var warnings []Fact
	for _, f := range facts {
		if f.Weight == Warning {
			warnings = append(warnings, f)
		}
	}
	return warnings
}
