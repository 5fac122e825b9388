// Package wire holds the JSON types that the callback, the HTTP API and its client share.
//
// It does not know how the JSON is sent.
package wire

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Seconds is a duration that JSON writes as a number of seconds, exact to the microsecond and without an exponent.
type Seconds time.Duration

// MarshalJSON writes decimal digits; arithmetic with a float64 may turn 4.035 into 4.035000000000001.
func (s Seconds) MarshalJSON() ([]byte, error) {
	micros := time.Duration(s).Microseconds()
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	fraction := strings.TrimRight(fmt.Sprintf(".%06d", micros%1e6), "0")
	return []byte(sign + strconv.FormatInt(micros/1e6, 10) + strings.TrimSuffix(fraction, ".")), nil
}

// UnmarshalJSON reads any JSON number of seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return err
	}
	*s = Seconds(seconds * float64(time.Second))
	return nil
}

// Time returns t in UTC, truncated to the microsecond: few clients read more digits.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// TimeOrNull returns a pointer to Time(t); nil for the zero time.
func TimeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(Time(t))
}
