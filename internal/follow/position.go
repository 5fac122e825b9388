package follow

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"

	"boomerang/internal/execution"
)

// Told is how much a follower knows of where the execution stands.
type Told int

// What a follower was told last.
const (
	Nothing Told = iota
	Queued
	Running
	Ended // everything
)

// Position is what a follower has of an execution. Offsets count the bytes of what the program wrote, left out or not, so
// they mean the same while it runs and when it has ended. The zero value is the beginning.
type Position struct {
	Stdout, Stderr int64
	Told           Told
}

var positionForm = regexp.MustCompile(`^o(0|[1-9][0-9]{0,18})\.e(0|[1-9][0-9]{0,18})\.s([0-3])$`)

// ErrPosition says that a text is no position.
var ErrPosition = errors.New("not a position")

// Parse reads what String has written. Errors: ErrPosition.
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

// String writes a position so that Parse can read it: "o12.e0.s2".
func (p Position) String() string { return fmt.Sprintf("o%d.e%d.s%d", p.Stdout, p.Stderr, p.Told) }

// of is the offset in a stream.
func (p *Position) offset(stream execution.Stream) *int64 {
	if stream == execution.Stderr {
		return &p.Stderr
	}
	return &p.Stdout
}

// Within tells whether there can be a follower at p: of an execution that has ended, or not begun, it is known what it wrote. One
// that was lost has written more than is known, and who followed it may have that.
func (p Position) Within(e execution.Execution) bool {
	switch {
	case e.Result != nil:
		return !e.Result.OutputComplete || p.Stdout <= e.Result.Stdout.Bytes && p.Stderr <= e.Result.Stderr.Bytes
	case e.State == execution.Queued:
		return p.Stdout == 0 && p.Stderr == 0 && p.Told != Ended
	}
	return p.Told != Ended
}
