package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/fault"
)

// Query reads the parameters of a URL by type. It remembers the first that is wrong: read all parameters, then check
// Err. Route.Parameters says which parameters there may be, and is checked earlier.
type Query struct {
	values url.Values
	err    error
}

// QueryOf returns the query of r; its Err is set at once if the query cannot be parsed.
func QueryOf(r *http.Request) *Query {
	values, err := readQuery(r)
	return &Query{values: values, err: err}
}

// Err returns the first error, a fault INVALID_REQUEST with the parameter as its field.
func (q *Query) Err() error { return q.err }

// Text returns a parameter that may be given once; "" if it is absent.
func (q *Query) Text(name string) string {
	switch values := q.values[name]; len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	default:
		q.Refuse(name, "%s must be given once.", name)
		return ""
	}
}

// Number returns a whole number from least to most; an absent parameter is fallback.
func (q *Query) Number(name string, fallback, least, most int) int {
	text := q.Text(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.Refuse(name, "%s must be a whole number from %d to %d.", name, least, most)
		return fallback
	}
	return n
}

// Instant returns a time; an absent parameter is the zero time.
func (q *Query) Instant(name string) time.Time {
	text := q.Text(name)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 { // the range of 64 bits of nanoseconds
		q.Refuse(name, "%s must be a time like 2025-01-28T00:00:00Z (RFC 3339, a + written as %%2B).", name)
		return time.Time{}
	}
	return at
}

// Words returns the members of a list that is separated by commas. Each must be one of the known words.
func Words[T ~string](q *Query, name string, known []T) (list []T) {
	text := q.Text(name)
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if !slices.Contains(known, T(word)) {
			names := make([]string, len(known))
			for i, k := range known {
				names[i] = string(k)
			}
			q.Refuse(name, "%s must be one or more of %s, separated by commas.", name, strings.Join(names, ", "))
			return nil
		}
		list = append(list, T(word))
	}
	return list
}

// Mode returns permissions, or fallback for an absent parameter.
func (q *Query) Mode(name string, fallback uint32) uint32 {
	text := q.Text(name)
	if text == "" {
		return fallback
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		q.Refuse(name, "%s must be permissions like 644, in octal digits.", name)
	}
	return uint32(mode)
}

// Refuse records that a parameter is wrong, unless there is an earlier error.
func (q *Query) Refuse(name, format string, args ...any) {
	if q.err == nil {
		q.err = fault.New(fault.InvalidRequest, "%s", fmt.Sprintf(format, args...)).Field(name)
	}
}
