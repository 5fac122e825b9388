//go:build e2e

package e2e

import (
	"slices"
	"time"
)

// sample is a set of durations.
type sample []time.Duration

func (s *sample) take(f func()) {
	begin := time.Now()
	f()
	*s = append(*s, time.Since(begin))
}

// at is the percentile in milliseconds.
func (s sample) at(percent int) float64 {
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[(len(sorted)-1)*percent/100]) / float64(time.Millisecond)
}
