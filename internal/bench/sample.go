// Package bench measures what is promised of boomerang's speed and puts it into one table, with what it is compared with
// beside it.
//
// This file and table.go know numbers and how they are shown. What is measured, and how, is in the tests (tag bench); they
// refuse to know the server's rooms and see it as a client and an operator do: its API, its log, /proc and the engine.
package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Sample is what was measured of one thing, in one unit, in the order in which it was.
type Sample []float64

// At is the value that the share p (0 to 1) of all values do not exceed, between neighbours in proportion; NaN of none.
func (s Sample) At(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	place := p * float64(len(sorted)-1)
	below := int(place)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (sorted[above]-sorted[below])*(place-float64(below))
}

// Median is the value in the middle.
func (s Sample) Median() float64 { return s.At(0.5) }

// Over divides the values by those that were measured in the same rounds.
func (s Sample) Over(other Sample) (ratios Sample) {
	for i := range min(len(s), len(other)) {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios
}

// Millis is a duration as samples hold it.
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Figure is one side of a comparison.
type Figure struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Sample Sample `json:"sample"`
}

// String shows the median and what nine of ten values lie between.
func (f Figure) String() string {
	if len(f.Sample) == 0 {
		return f.Name
	}
	text := fmt.Sprintf("%s %s", digits(f.Sample.Median()), f.Unit)
	if len(f.Sample) > 1 {
		text += fmt.Sprintf(" (%s–%s)", digits(f.Sample.At(0.05)), digits(f.Sample.At(0.95)))
	}
	if f.Name != "" {
		text = f.Name + " " + text
	}
	return text
}

// digits writes a number with three that say something.
func digits(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
