package sandbox

// Fact is one thing that an engine says of itself, and what that means for the walls around a program.
type Fact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Weight Weight `json:"weight"`
	Advice string `json:"advice,omitempty"` // a sentence for the operator; empty when there is nothing to say
	Public string `json:"-"`                // what anybody may read of a warning; empty: its name
}

// Weight tells how much a fact matters.
type Weight string

// The weights of a fact.
const (
	Fine    Weight = "fine"
	Note    Weight = "note"    // could be better; no wall that is promised is missing
	Warning Weight = "warning" // a wall is missing, or has a hole that is known
)

// Warnings are the facts that weigh that much.
func Warnings(facts []Fact) []Fact {
	var warnings []Fact
	for _, f := range facts {
		if f.Weight == Warning {
			warnings = append(warnings, f)
		}
	}
	return warnings
}
