package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"boomerang/internal/capture"
	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

const id execution.ID = "exec_00000000000000000000000001"

// stage is one execution whose life a test plays. It is both what is stored and what runs.
type stage struct {
	mu             sync.Mutex
	e              execution.Execution
	ahead          int
	err            error
	gets, open     int // looks at the record; readings of the streams that are open
	moves          []chan struct{}
	stdout, stderr *capture.Buffer
}

func newStage(state execution.State) *stage {
	return &stage{
		e:      execution.Execution{ID: id, State: state},
		stdout: capture.New(1 << 20), stderr: capture.New(1 << 20),
	}
}

func (s *stage) Get(context.Context, execution.ID) (execution.Execution, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	return s.e, s.err
}

func (s *stage) Ahead(context.Context, execution.ID) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ahead, nil
}

func (s *stage) Moves(execution.ID) (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	s.moves = append(s.moves, ch)
	return ch, func() {}
}

func (s *stage) Follow(execution.ID) (func(execution.Stream) ([]byte, <-chan struct{}), func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return func(stream execution.Stream) ([]byte, <-chan struct{}) { return s.buffer(stream).Bytes() }, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}
}

func (s *stage) buffer(stream execution.Stream) *capture.Buffer {
	if stream == execution.Stderr {
		return s.stderr
	}
	return s.stdout
}

// move changes what is stored and says so.
func (s *stage) move(change func()) {
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

func (s *stage) print(stream execution.Stream, text string) {
	_, _ = s.buffer(stream).Write([]byte(text))
}

// end ends the execution; what was printed is the head, and so much is left out before the tail of stdout.
func (s *stage) end(leftOut int64, tail string) {
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

// notebook is what a follower was told.
type notebook struct {
	mu     sync.Mutex
	events []Event
	fail   int // the event, counted from 1, that the follower does not get any more
}

var errGone = errors.New("the follower is gone")

func (n *notebook) tell(e Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events)+1 == n.fail {
		return errGone
	}
	n.events = append(n.events, e)
	return nil
}

// String writes the events in short.
func (n *notebook) String() string {
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

func (n *notebook) is(t *testing.T, want ...string) {
	t.Helper()
	if got := n.String(); got != strings.Join(want, "\n") {
		t.Errorf("was told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func hub(s *stage) *Hub {
	log, _ := logtest.NewNullLogger()
	return New(s, s, logrus.NewEntry(log))
}

// join follows from a position on; the function that it returns waits for the end of it.
func join(t *testing.T, h *Hub, at Position, stop <-chan struct{}, tell func(Event) error) (wait func() error) {
	t.Helper()
	f, err := h.Join(t.Context(), id)
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

func TestAFollowerIsToldAllFromTheQueueToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newStage(execution.Queued), &notebook{}
		s.ahead = 2
		wait := join(t, hub(s), Position{}, nil, n.tell)
		synctest.Wait()
		s.mu.Lock()
		s.ahead = 0 // nobody signals that
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		s.move(func() { s.e.State = execution.Running })
		synctest.Wait()
		s.print(execution.Stdout, "one")
		synctest.Wait()
		s.print(execution.Stdout, " two") // within the pace: these come together
		synctest.Wait()
		s.print(execution.Stderr, "oops")
		s.print(execution.Stdout, " three")
		time.Sleep(time.Second)
		s.print(execution.Stdout, " four")
		s.end(0, "")
		if err := wait(); err != nil {
			t.Errorf("got %v", err)
		}
		n.is(t,
			"status queued 2 @o0.e0.s1",
			"status queued 0 @o0.e0.s1",
			"status running 0 @o0.e0.s2",
			`output stdout "one" @o3.e0.s2`,
			`output stdout " two three" @o13.e0.s2`,
			`output stderr "oops" @o13.e4.s2`,
			`output stdout " four" @o18.e4.s2`,
			"end @o18.e4.s3",
		)
	})
}

// A rune that was cut where the head ends, or where the program ended.
func TestTheLastBytesAreToldThoughTheyAreNoText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newStage(execution.Running), &notebook{}
		wait := join(t, hub(s), Position{}, nil, n.tell)
		s.print(execution.Stdout, "head\xc3")
		s.print(execution.Stderr, "\xf0\x9f")
		time.Sleep(time.Minute)
		s.end(10, "\xbctail")
		if err := wait(); err != nil {
			t.Error(err)
		}
		n.events = slices.DeleteFunc(n.events, func(e Event) bool { return e.Kind == Idle })
		n.is(t,
			"status running 0 @o0.e0.s2",
			`output stdout "head" @o4.e0.s2`,
			`output stdout "\xc3" @o5.e0.s2`,
			"gap stdout 10 @o15.e0.s2",
			`output stdout "\xbc" @o16.e0.s2`,
			`output stdout "tail" @o20.e0.s2`,
			`output stderr "\xf0\x9f" @o20.e2.s2`,
			"end @o20.e2.s3",
		)
	})
}

func TestWhatWasCutIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(execution.Running)
		s.print(execution.Stdout, "head")
		s.end(1000, "tail")
		for _, c := range []struct {
			from string
			want []string
		}{
			{"o0.e0.s0", []string{`output stdout "head" @o4.e0.s0`, "gap stdout 1000 @o1004.e0.s0", `output stdout "tail" @o1008.e0.s0`}},
			{"o4.e0.s2", []string{"gap stdout 1000 @o1004.e0.s2", `output stdout "tail" @o1008.e0.s2`}},
			{"o504.e0.s2", []string{"gap stdout 500 @o1004.e0.s2", `output stdout "tail" @o1008.e0.s2`}},
			{"o1006.e0.s2", []string{`output stdout "il" @o1008.e0.s2`}},
			{"o1008.e0.s2", nil},
		} {
			at, err := Parse(c.from)
			if err != nil {
				t.Fatal(err)
			}
			n := &notebook{}
			if err := join(t, hub(s), at, nil, n.tell)(); err != nil {
				t.Error(err)
			}
			n.is(t, append(c.want, "end @o1008.e0.s3")...)
		}
	})
}

// Wherever a follower is cut off, and however often, in the end it has each byte once.
func TestNothingIsLostOrRepeatedWhereverItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random, cuts := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		s, h := newStage(execution.Running), (*Hub)(nil)
		h = hub(s)
		var want [2]bytes.Buffer
		go func() {
			for range 200 {
				piece := make([]byte, random.IntN(300))
				for i := range piece {
					piece[i] = byte(random.IntN(256))
				}
				text := string(piece) + "größe 🪃"[:random.IntN(12)]
				i := random.IntN(2)
				want[i].WriteString(text)
				s.print(streams[i], text)
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
			}
			s.end(0, "")
		}()
		var got [2]bytes.Buffer
		breaks := 0
		for at := (Position{}); at.Told != Ended; {
			n := &notebook{fail: 1 + cuts.IntN(6)}
			if err := join(t, h, at, nil, n.tell)(); err != nil {
				breaks++
			}
			for _, e := range n.events {
				var err error
				if at, err = Parse(e.At.String()); err != nil {
					t.Fatal(err)
				}
				if e.Kind == Output && e.Stream == execution.Stdout {
					got[0].Write(e.Piece)
				} else if e.Kind == Output {
					got[1].Write(e.Piece)
				}
			}
		}
		for i, stream := range streams {
			if !bytes.Equal(got[i].Bytes(), want[i].Bytes()) {
				t.Errorf("%s: got %d bytes, want %d", stream, got[i].Len(), want[i].Len())
			}
		}
		if breaks < 5 {
			t.Errorf("only %d breaks", breaks)
		}
	})
}

func TestTextStaysText(t *testing.T) {
	text := strings.Repeat("grüße, 🪃, und so weiter\n", 20_000)
	for name, c := range map[string]struct {
		fresh string
		all   bool
		want  string
	}{
		"a long text":                       {text, false, string(execution.BeforePartialRune([]byte(text[:maxPiece])))},
		"the beginning of a rune":           {"ab\xf0\x9f", false, "ab"},
		"nothing but that":                  {"\xf0\x9f", false, ""},
		"which never becomes whole":         {"\xf0\x9f", true, "\xf0\x9f"},
		"behind text":                       {"ab\xf0\x9f", true, "ab"},
		"the end of a rune":                 {"\xaa\x83 text", false, "\xaa\x83"},
		"no text":                           {"\xff\xfe\x00\x01", false, "\xff\xfe\x00\x01"},
		"nothing but the middle of a rune":  {"\x9f\xaa", true, "\x9f\xaa"},
		"many that look like one, no text":  {"\x80\x80\x80\x80\x80", false, "\x80\x80\x80\x80\x80"},
		"a rune that begins another's way":  {"\xc3(", false, "\xc3("},
		"a rune at the very end of a piece": {strings.Repeat("a", maxPiece-2) + "🪃", false, strings.Repeat("a", maxPiece-2)},
	} {
		if got := string(next([]byte(c.fresh), c.all)); got != c.want {
			t.Errorf("%s: got %.40q, want %.40q", name, got, c.want)
		}
	}
	s, n := newStage(execution.Running), &notebook{}
	s.print(execution.Stdout, text)
	s.end(0, "")
	if err := join(t, hub(s), Position{}, nil, n.tell)(); err != nil {
		t.Fatal(err)
	}
	for _, e := range n.events {
		if e.Kind == Output && (!utf8.Valid(e.Piece) || len(e.Piece) > maxPiece) {
			t.Errorf("a piece of %d bytes is no text", len(e.Piece))
		}
	}
}

func TestSilenceIsBrokenEveryFifteenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, state := range []execution.State{execution.Queued, execution.Running} {
			s, n, stop := newStage(state), &notebook{}, make(chan struct{})
			wait := join(t, hub(s), Position{}, stop, n.tell)
			time.Sleep(47 * time.Second)
			close(stop)
			if err := wait(); err != nil {
				t.Error(err)
			}
			if got := strings.Count(n.String(), "idle"); got != 3 {
				t.Errorf("%s for 47 s: was told %d times that there is nothing, want 3:\n%s", state, got, n)
			}
		}
	})
}

func TestASlowFollowerCostsNobodyAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(execution.Running)
		h := hub(s)
		blocked, quick := make(chan struct{}), &notebook{}
		waitSlow := join(t, h, Position{}, nil, func(Event) error { <-blocked; return errGone })
		waitQuick := join(t, h, Position{}, nil, quick.tell)
		for range 10 {
			s.print(execution.Stdout, strings.Repeat("x", 1000)) // would hang here if it had to wait
			time.Sleep(time.Second)
		}
		s.end(0, "")
		if err := waitQuick(); err != nil {
			t.Error(err)
		}
		if got := quick.events[len(quick.events)-1]; got.Kind != End || got.At.Stdout != 10_000 {
			t.Errorf("the quick one ends with %s", quick)
		}
		close(blocked)
		if err := waitSlow(); !errors.Is(err, errGone) {
			t.Errorf("the slow one: %v", err)
		}
	})
}

func TestOneLookServesAllFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(execution.Running)
		h := hub(s)
		var waits []func() error
		var notes []*notebook
		for range 500 {
			n := &notebook{}
			notes = append(notes, n)
			waits = append(waits, join(t, h, Position{}, nil, n.tell))
		}
		s.print(execution.Stdout, "shared")
		time.Sleep(time.Second)
		s.end(0, "")
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Error(err)
			}
		}
		if s.gets != 2 || s.open != 0 {
			t.Errorf("the record was looked at %d times for 500 followers, want 2; %d readings are open", s.gets, s.open)
		}
		for _, n := range notes {
			piece := n.events[1].Piece
			if first := notes[0].events[1].Piece; &piece[0] != &first[0] {
				t.Fatal("a follower has a copy of its own")
			}
		}
		if len(h.followed) != 0 {
			t.Errorf("%d are still followed", len(h.followed))
		}
	})
}

func TestWhatIsNotThereCannotBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(execution.Running)
		h := hub(s)
		s.err = fault.New(fault.ServiceUnavailable, "The disk is full.")
		if _, err := h.Join(t.Context(), id); fault.Of(err).Code != fault.ServiceUnavailable {
			t.Errorf("got %v", err)
		}
		s.err = nil
		f, err := h.Join(t.Context(), id)
		if err != nil {
			t.Fatalf("after that: %v", err)
		}
		f.Leave()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if f, err := h.Join(ctx, id); err == nil {
			f.Leave() // it was there already when it was looked at
		}
	})
}

// A look that fails while somebody follows is made again.
func TestAStoreThatIsAwayEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newStage(execution.Running), &notebook{}
		wait := join(t, hub(s), Position{}, nil, n.tell)
		synctest.Wait()
		s.move(func() { s.err = fault.New(fault.ServiceUnavailable, "The disk is full.") })
		time.Sleep(10 * time.Second)
		s.print(execution.Stdout, "all the same")
		time.Sleep(time.Second)
		s.mu.Lock()
		s.err, s.moves = nil, nil // and nobody will say so
		s.mu.Unlock()
		s.end(0, "")
		time.Sleep(2 * retry)
		if err := wait(); err != nil {
			t.Error(err)
		}
		n.is(t, "status running 0 @o0.e0.s2", `output stdout "all the same" @o12.e0.s2`, "end @o12.e0.s3")
	})
}

func TestAPositionIsReadAsItIsWritten(t *testing.T) {
	for _, text := range []string{"o0.e0.s0", "o12.e345.s2", "o4611686018427387903.e0.s3"} {
		if p, err := Parse(text); err != nil || p.String() != text {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
	for _, text := range []string{
		"", "12", "o.e.s", "o1.e2", "o1.e2.s4", "o-1.e2.s1", "o01.e2.s1", "o1.e2.s1 ", "o1.e2.s1\n", "O1.e2.s1", "o+1.e2.s1",
		"o9223372036854775808.e0.s0", "o9999999999999999999.e0.s0", "o99999999999999999999.e0.s0",
	} {
		if p, err := Parse(text); !errors.Is(err, ErrPosition) {
			t.Errorf("%q: got %v, %v; want ErrPosition", text, p, err)
		}
	}
}

func TestAPositionLiesWithinWhatWasWritten(t *testing.T) {
	queued := execution.Execution{State: execution.Queued}
	running := execution.Execution{State: execution.Running}
	ended := execution.Execution{State: execution.Failed, Result: &execution.Result{
		Stdout: execution.Output{Head: []byte("head"), Tail: []byte("tail"), Bytes: 1000}, Stderr: execution.Output{Head: []byte("12"), Bytes: 2},
	}}
	for _, c := range []struct {
		at   string
		of   execution.Execution
		want bool
	}{
		{"o0.e0.s1", queued, true}, {"o1.e0.s1", queued, false}, {"o0.e0.s3", queued, false},
		{"o10.e0.s2", running, true}, // it may have to be read again first
		{"o0.e0.s3", running, false},
		{"o1000.e2.s3", ended, true}, {"o1001.e2.s2", ended, false}, {"o1.e3.s2", ended, false},
	} {
		p, err := Parse(c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Within(c.of); got != c.want {
			t.Errorf("%s of one that is %s: got %v", c.at, c.of.State, got)
		}
	}
}
