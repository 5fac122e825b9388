package follow

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"boomerang/internal/execution"
)

func TestAFollowerGetsEveryEventFromTheQueueToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newFakeExecution(execution.Queued), &eventLog{}
		s.ahead = 2
		wait := join(t, newTestHub(s), Position{}, nil, n.add)
		synctest.Wait()
		s.mu.Lock()
		s.ahead = 0 // without a signal
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		s.move(func() { s.e.State = execution.Running })
		synctest.Wait()
		s.print(execution.Stdout, "one")
		synctest.Wait()
		s.print(execution.Stdout, " two") // within outputInterval, so sent together
		synctest.Wait()
		s.print(execution.Stderr, "oops")
		s.print(execution.Stdout, " three")
		time.Sleep(time.Second)
		s.print(execution.Stdout, " four")
		s.end(0, "")
		if err := wait(); err != nil {
			t.Errorf("got %v", err)
		}
		n.check(t,
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

// A rune that is cut at the end of the head, or at the end of the output.
func TestTheLastBytesAreSentEvenIfTheyAreNoText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newFakeExecution(execution.Running), &eventLog{}
		wait := join(t, newTestHub(s), Position{}, nil, n.add)
		s.print(execution.Stdout, "head\xc3")
		s.print(execution.Stderr, "\xf0\x9f")
		time.Sleep(time.Minute)
		s.end(10, "\xbctail")
		if err := wait(); err != nil {
			t.Error(err)
		}
		n.events = slices.DeleteFunc(n.events, func(e Event) bool { return e.Kind == Idle })
		n.check(t,
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

func TestOmittedBytesAreAGapEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeExecution(execution.Running)
		s.print(execution.Stdout, "head")
		s.end(1000, "tail")
		for _, c := range []struct {
			from string
			want []string
		}{
			{
				"o0.e0.s0",
				[]string{
					`output stdout "head" @o4.e0.s0`, "gap stdout 1000 @o1004.e0.s0",
					`output stdout "tail" @o1008.e0.s0`,
				},
			},
			{"o4.e0.s2", []string{"gap stdout 1000 @o1004.e0.s2", `output stdout "tail" @o1008.e0.s2`}},
			{"o504.e0.s2", []string{"gap stdout 500 @o1004.e0.s2", `output stdout "tail" @o1008.e0.s2`}},
			{"o1006.e0.s2", []string{`output stdout "il" @o1008.e0.s2`}},
			{"o1008.e0.s2", nil},
		} {
			at, err := Parse(c.from)
			if err != nil {
				t.Fatal(err)
			}
			n := &eventLog{}
			if err := join(t, newTestHub(s), at, nil, n.add)(); err != nil {
				t.Error(err)
			}
			n.check(t, append(c.want, "end @o1008.e0.s3")...)
		}
	})
}

// A follower gets each byte once, wherever and however often its connection breaks.
func TestNoByteIsLostOrRepeatedAfterADisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random, cuts := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(3, 4))
		s := newFakeExecution(execution.Running)
		h := newTestHub(s)
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
			n := &eventLog{fail: 1 + cuts.IntN(6)}
			if err := join(t, h, at, nil, n.add)(); err != nil {
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

func TestPiecesAreValidUTF8(t *testing.T) {
	text := strings.Repeat("grüße, 🪃, und so weiter\n", 20_000)
	for name, c := range map[string]struct {
		fresh string
		all   bool
		want  string
	}{
		"a long text":                      {text, false, string(execution.BeforePartialRune([]byte(text[:maxPiece])))},
		"the beginning of a rune":          {"ab\xf0\x9f", false, "ab"},
		"nothing but that":                 {"\xf0\x9f", false, ""},
		"which never becomes whole":        {"\xf0\x9f", true, "\xf0\x9f"},
		"behind text":                      {"ab\xf0\x9f", true, "ab"},
		"the end of a rune":                {"\xaa\x83 text", false, "\xaa\x83"},
		"no text":                          {"\xff\xfe\x00\x01", false, "\xff\xfe\x00\x01"},
		"nothing but the middle of a rune": {"\x9f\xaa", true, "\x9f\xaa"},
		"many that look like one, no text": {"\x80\x80\x80\x80\x80", false, "\x80\x80\x80\x80\x80"},
		"a rune that begins another's way": {"\xc3(", false, "\xc3("},
		"a rune at the very end of a piece": {
			strings.Repeat("a", maxPiece-2) + "🪃", false, strings.Repeat("a", maxPiece-2),
		},
	} {
		if got := string(nextPiece([]byte(c.fresh), c.all)); got != c.want {
			t.Errorf("%s: got %.40q, want %.40q", name, got, c.want)
		}
	}
	s, n := newFakeExecution(execution.Running), &eventLog{}
	s.print(execution.Stdout, text)
	s.end(0, "")
	if err := join(t, newTestHub(s), Position{}, nil, n.add)(); err != nil {
		t.Fatal(err)
	}
	for _, e := range n.events {
		if e.Kind == Output && (!utf8.Valid(e.Piece) || len(e.Piece) > maxPiece) {
			t.Errorf("a piece of %d bytes is no text", len(e.Piece))
		}
	}
}

func TestAnIdleEventComesEveryFifteenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, state := range []execution.State{execution.Queued, execution.Running} {
			s, n, stop := newFakeExecution(state), &eventLog{}, make(chan struct{})
			wait := join(t, newTestHub(s), Position{}, stop, n.add)
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

func TestASlowFollowerDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeExecution(execution.Running)
		h := newTestHub(s)
		blocked, quick := make(chan struct{}), &eventLog{}
		waitSlow := join(t, h, Position{}, nil, func(Event) error { <-blocked; return errFollowerGone })
		waitQuick := join(t, h, Position{}, nil, quick.add)
		for range 10 {
			s.print(execution.Stdout, strings.Repeat("x", 1000)) // a follower that delayed the program would hang here
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
		if err := waitSlow(); !errors.Is(err, errFollowerGone) {
			t.Errorf("the slow one: %v", err)
		}
	})
}
