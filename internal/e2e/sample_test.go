//go:build e2e

package e2e

import (
	"slices"
	"time"
)

// sample is a list of measured durations.
type sample []time.Duration

// measure appends the time that f takes.
func (s *sample) measure(f func()) {
	begin := time.Now()
	f()
	*s = append(*s, time.Since(begin))
}

// at returns a percentile in milliseconds.
func (s sample) at(percent int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
