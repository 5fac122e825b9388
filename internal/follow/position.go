package follow

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"boomerang/internal/execution"
)

// Told is the execution's state that a follower knows.
type Told int

// The state that a follower knows.
const (
	Nothing Told = iota
	Queued
	Running
	Ended // the follower has all events
)

// Position says which part of an execution's events a follower has. The offsets count all bytes that the program wrote,
// including omitted ones, so they stay valid when the execution ends. The zero value is the beginning.
type Position struct {
	Stdout, Stderr int64
	Told           Told
}

var positionForm = regexp.MustCompile(`^o(0|[1-9][0-9]{0,18})\.e(0|[1-9][0-9]{0,18})\.s([0-3])$`)

// ErrPosition says that a text is not a position.
var ErrPosition = errors.New("not a position")

// Parse reads the text that String returns. Errors: ErrPosition.
func Parse(text string) (p Position, err error) {
	parts := positionForm.FindStringSubmatch(text)
	if parts == nil {
		return Position{}, ErrPosition
	}
	var numbers [3]int64
	for i, part := range parts[1:] {
		if numbers[i], err = strconv.ParseInt(part, 10, 64); err != nil || numbers[i] > math.MaxInt64/2 {
			return Position{}, ErrPosition
		}
	}
	return Position{Stdout: numbers[0], Stderr: numbers[1], Told: Told(numbers[2])}, nil
}

// String returns a text that Parse can read, such as "o12.e0.s2".
func (p Position) String() string { return fmt.Sprintf("o%d.e%d.s%d", p.Stdout, p.Stderr, p.Told) }

// offset returns a pointer to the offset in a stream.
func (p *Position) offset(stream execution.Stream) *int64 {
	if stream == execution.Stderr {
		return &p.Stderr
	}
	return &p.Stdout
}

// Within reports whether a follower can be at p. The number of bytes is known for an execution that has ended or not
// started. A lost execution has written an unknown number of bytes, and a follower may have received them.
func (p Position) Within(e execution.Execution) bool {
	switch {
	case e.Result != nil:
		return !e.Result.OutputComplete || p.Stdout <= e.Result.Stdout.Bytes && p.Stderr <= e.Result.Stderr.Bytes
	case e.State == execution.Queued:
		return p.Stdout == 0 && p.Stderr == 0 && p.Told != Ended
	}
	return p.Told != Ended
}
