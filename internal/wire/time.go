// Package wire defines the JSON types that the callback, the HTTP API and its client share.
//
// The package knows the JSON of a result, of a callback and of a workspace. It does not know how the JSON is sent.
package wire

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Seconds is a duration whose JSON is a number of seconds, exact to the microsecond and without an exponent.
type Seconds time.Duration

// String returns decimal digits without a unit and without an exponent, for example 4.035.
func (s Seconds) String() string {
	micros := time.Duration(s).Microseconds()
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	fraction := strings.TrimRight(fmt.Sprintf(".%06d", micros%1e6), "0")
	return sign + strconv.FormatInt(micros/1e6, 10) + strings.TrimSuffix(fraction, ".")
}

// MarshalJSON writes the digits of String. A float64 could turn 4.035 into 4.035000000000001.
func (s Seconds) MarshalJSON() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads any JSON number of seconds and rounds it to the microsecond.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return err
	}
	*s = Seconds(time.Duration(math.Round(seconds*1e6)) * time.Microsecond)
	return nil
}

// Time returns t in UTC, truncated to microseconds, because few clients read more digits.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// TimeOrNull is Time, but returns nil for the zero time.
func TimeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(Time(t))
}
