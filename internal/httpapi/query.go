package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

// query reads typed parameters and remembers the first that is wrong. Which parameters a route has is checked before.
type query struct {
	values url.Values
	err    error
}

// queryOf returns a query that has an error already when it cannot be read.
func queryOf(r *http.Request) *query {
	values, err := readQuery(r)
	return &query{values: values, err: err}
}

// text returns a parameter that may be there once; "" when it is not.
func (q *query) text(name string) string {
	switch values := q.values[name]; len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	default:
		q.refuse(name, "%s must be given once.", name)
		return ""
	}
}

// number returns a whole number from least to most, or fallback.
func (q *query) number(name string, fallback, least, most int) int {
	text := q.text(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.refuse(name, "%s must be a whole number from %d to %d.", name, least, most)
		return fallback
	}
	return n
}

// instant returns a time, zero when it is not given.
func (q *query) instant(name string) time.Time {
	text := q.text(name)
	if text == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2261 { // what 64 bits of nanoseconds can count
		q.refuse(name, "%s must be a time like 2025-01-28T00:00:00Z (RFC 3339, a + written as %%2B).", name)
		return time.Time{}
	}
	return at
}

// words returns the known words that a list separated by commas names.
func words[T ~string](q *query, name string, known []T) (list []T) {
	text := q.text(name)
	if text == "" {
		return nil
	}
	for word := range strings.SplitSeq(text, ",") {
		if !slices.Contains(known, T(word)) {
			names := make([]string, len(known))
			for i, k := range known {
				names[i] = string(k)
			}
			q.refuse(name, "%s must be one or more of %s, separated by commas.", name, strings.Join(names, ", "))
			return nil
		}
		list = append(list, T(word))
	}
	return list
}

// destination returns where the callbacks go that a URL of the receiver stands for; "" when none is given.
func (q *query) destination(name string) string {
	text := q.text(name)
	if text == "" {
		return ""
	}
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		q.refuse(name, "%s must be a URL like https://hooks.example.com; what follows the port does not count.", name)
		return ""
	}
	return execution.Callback{URL: text}.Destination()
}

// stream returns the stream that is asked for, stdout when none is.
func (q *query) stream(name string) execution.Stream {
	switch stream := execution.Stream(q.text(name)); stream {
	case "":
		return execution.Stdout
	case execution.Stdout, execution.Stderr:
		return stream
	}
	q.refuse(name, "%s must be %s or %s.", name, execution.Stdout, execution.Stderr)
	return ""
}

func (q *query) refuse(name, format string, args ...any) {
	if q.err == nil {
		q.err = fault.New(fault.InvalidRequest, "%s", fmt.Sprintf(format, args...)).Field(name)
	}
}
