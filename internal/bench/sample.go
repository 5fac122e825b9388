// Package bench measures the promises about the speed of the server and prints one table, with a comparison in each
// row.
//
// This file and table.go know numbers and their layout. The measurements are in the tests (build tag bench). They see
// the server as a client and an operator do: through its API, its log, /proc and the engine.
package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Sample is a list of measured values in one unit, in the order of measurement.
type Sample []float64

// At returns the percentile p (0 to 1), interpolated between neighbours, or NaN for an empty sample.
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

// Median returns the value in the middle.
func (s Sample) Median() float64 { return s.At(0.5) }

// Over divides each value by the value of the other sample from the same round.
func (s Sample) Over(other Sample) (ratios Sample) {
	for i := range min(len(s), len(other)) {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios
}

// Millis returns a duration in milliseconds.
func Millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Figure is one side of a comparison.
type Figure struct {
	Name   string `json:"name"`
	Unit   string `json:"unit"`
	Sample Sample `json:"sample"`
}

// String shows the median, and the range of nine of ten values.
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

// digits formats a number with three significant digits.
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
