package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
)

const testID execution.ID = "exec_00000000000000000000000001"

// fakeExecution is one execution under the control of a test. It implements both Records and Live.
type fakeExecution struct {
	mu             sync.Mutex
	e              execution.Execution
	ahead          int
	err            error
	gets, open     int // queries of the record; open readers of the streams
	moves          []chan struct{}
	stdout, stderr *capture.Buffer
}

func newFakeExecution(state execution.State) *fakeExecution {
	return &fakeExecution{
		e:      execution.Execution{ID: testID, State: state},
		stdout: capture.New(1<<20, 1<<20), stderr: capture.New(1<<20, 1<<20),
	}
}

func (s *fakeExecution) Get(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	return s.e, s.err
}

// Output returns the output of the result.
func (s *fakeExecution) Output(_ context.Context, _ execution.ID, stream execution.Stream) (execution.Printed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stream == execution.Stderr {
		return s.e.Result.Stderr.Printed(), s.err
	}
	return s.e.Result.Stdout.Printed(), s.err
}

func (s *fakeExecution) Ahead(context.Context, execution.ID) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ahead, nil
}

func (s *fakeExecution) Moves(execution.ID) (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	s.moves = append(s.moves, ch)
	return ch, func() {}
}

func (s *fakeExecution) Follow(execution.ID) (func(execution.Stream) ([]byte, <-chan struct{}), func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return func(stream execution.Stream) ([]byte, <-chan struct{}) { return s.buffer(stream).Bytes() }, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}
}

func (s *fakeExecution) buffer(stream execution.Stream) *capture.Buffer {
	if stream == execution.Stderr {
		return s.stderr
	}
	return s.stdout
}

// move changes the stored execution and signals the change.
func (s *fakeExecution) move(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	for _, ch := range s.moves {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (s *fakeExecution) print(stream execution.Stream, text string) {
	_, _ = s.buffer(stream).Write([]byte(text))
}

// end ends the execution: the output so far is the head, and leftOut bytes are omitted before the tail of stdout.
func (s *fakeExecution) end(leftOut int64, tail string) {
	stdout, _ := s.stdout.Bytes()
	stderr, _ := s.stderr.Bytes()
	s.move(func() {
		s.e.State = execution.Completed
		s.e.Result = &execution.Result{
			State:  execution.Completed,
			Stdout: execution.Output{Head: stdout, Tail: []byte(tail), Bytes: int64(len(stdout)+len(tail)) + leftOut},
			Stderr: execution.Output{Head: stderr, Bytes: int64(len(stderr))},
		}
	})
}

// eventLog collects the events of a follower.
type eventLog struct {
	mu     sync.Mutex
	events []Event
	fail   int // number of the first event that the follower refuses, from 1
}

var errFollowerGone = errors.New("the follower is gone")

func (n *eventLog) add(e Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events)+1 == n.fail {
		return errFollowerGone
	}
	n.events = append(n.events, e)
	return nil
}

// String returns a short form of the events.
func (n *eventLog) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	for _, e := range n.events {
		line := fmt.Sprint(e.Kind)
		switch e.Kind {
		case Status:
			line += fmt.Sprintf(" %s %d", e.View.State, e.View.Ahead)
		case Output:
			line += fmt.Sprintf(" %s %q", e.Stream, e.Piece)
		case Gap:
			line += fmt.Sprintf(" %s %d", e.Stream, e.Bytes)
		case End, Idle:
		}
		lines = append(lines, line+" @"+e.At.String())
	}
	return strings.Join(lines, "\n")
}

func (n *eventLog) check(t *testing.T, want ...string) {
	t.Helper()
	if got := n.String(); got != strings.Join(want, "\n") {
		t.Errorf("was told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func newTestHub(s *fakeExecution) *Hub {
	log, _ := logtest.NewNullLogger()
	return New(s, s, logrus.NewEntry(log))
}

// join follows from a position on and returns a function that waits for the end of Follow.
func join(t *testing.T, h *Hub, at Position, stop <-chan struct{}, tell func(Event) error) (wait func() error) {
	t.Helper()
	f, err := h.Join(t.Context(), testID)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		err := f.Follow(t.Context(), stop, at, tell)
		f.Leave()
		done <- err
	}()
	return func() error { return <-done }
}
