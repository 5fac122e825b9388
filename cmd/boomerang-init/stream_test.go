//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"boomerang/internal/journal"
)

const testNonce = "0123456789abcdef0123456789abcdef"

// logged is what one stream left in a log.
type logged struct {
	raw     []byte
	payload []byte
	end     journal.End
}

func cut(t *testing.T, raw []byte) logged {
	t.Helper()
	var payload bytes.Buffer
	s := journal.NewSplitter(testNonce, &payload)
	_, _ = s.Write(raw)
	s.Flush()
	if s.End() == nil {
		t.Fatalf("no end frame in %d bytes", len(raw))
	}
	return logged{raw, payload.Bytes(), *s.End()}
}

// pumped lets a stream carry what a program writes, piece by piece.
func pumped(t *testing.T, head, tail int64, pieces ...[]byte) logged {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, p := range pieces {
			_, _ = w.Write(p)
		}
		_ = w.Close()
	}()
	var raw bytes.Buffer
	s := newStream(r, newLog(&raw, testNonce), head, tail)
	s.pump()
	if err := s.finish(testNonce, journal.End{ExitCode: 3}); err != nil {
		t.Fatal(err)
	}
	return cut(t, raw.Bytes())
}

// noise is n bytes in which no two places look alike, with few newlines.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestStreamKeepsHeadAndTailAndCountsAll(t *testing.T) {
	const mega = 1 << 20
	for name, c := range map[string]struct {
		head, tail    int64
		written       int
		leftOut, kept int64 // kept: of the payload, what stands behind the bytes left out
	}{
		"nothing":                   {head: 10, tail: 5},
		"less than the head":        {head: 10, tail: 5, written: 9},
		"the head":                  {head: 10, tail: 5, written: 10},
		"into the tail":             {head: 10, tail: 5, written: 11},
		"head and tail":             {head: 10, tail: 5, written: 15},
		"one more":                  {head: 10, tail: 5, written: 16, leftOut: 1, kept: 5},
		"no head":                   {tail: 5, written: 100, leftOut: 95, kept: 5},
		"no tail":                   {head: 10, written: 100, leftOut: 90},
		"neither":                   {written: 100, leftOut: 100},
		"around the ring":           {head: mega, tail: 64 << 10, written: 3*mega + 12345, leftOut: 2*mega + 12345 - 64<<10, kept: 64 << 10},
		"a tail that is no power":   {head: 1, tail: 77777, written: mega, leftOut: mega - 1 - 77777, kept: 77777},
		"a tail of exactly a ring":  {head: 0, tail: 64 << 10, written: 64<<10 + chunk, leftOut: chunk, kept: 64 << 10},
		"a tail that is everything": {head: 0, tail: mega, written: mega},
	} {
		t.Run(name, func(t *testing.T) {
			all := noise(c.written)
			got := pumped(t, c.head, c.tail, all)
			want := journal.End{ExitCode: 3, Bytes: int64(c.written), LeftOut: c.leftOut, Tail: c.kept}
			if got.end != want {
				t.Errorf("got %+v, want %+v", got.end, want)
			}
			payload := all
			if c.leftOut > 0 {
				payload = append(bytes.Clone(all[:c.head]), all[int64(c.written)-c.kept:]...)
			}
			if !bytes.Equal(got.payload, payload) {
				t.Errorf("got %d bytes of payload, want %d, or they differ", len(got.payload), len(payload))
			}
		})
	}
}

func TestLogHasNoLineThatDockerWouldBreakUp(t *testing.T) {
	for name, all := range map[string][]byte{
		"no newline":             bytes.Repeat([]byte("x"), 100_000),
		"a line of 20000":        append(bytes.Repeat([]byte("x"), 20_000), '\n'),
		"a line of 16384":        append(bytes.Repeat([]byte("x"), 16_384), '\n'),
		"a line of 8191":         append(bytes.Repeat([]byte("x"), 8_191), '\n'),
		"short, then no newline": append([]byte("a\nb\n"), bytes.Repeat([]byte("x"), 50_000)...),
		"noise":                  noise(300_000),
		"zeros":                  make([]byte, 100_000),
	} {
		got := pumped(t, 70_000, 30_000, all)
		for line := range bytes.Lines(got.raw) {
			if len(line) >= 16<<10 {
				t.Errorf("%s: a line of %d bytes", name, len(line))
			}
		}
		if left := got.end.LeftOut; left == 0 && !bytes.Equal(got.payload, all) {
			t.Errorf("%s: the payload is not what was written", name)
		}
	}
}

func TestLogWrapsOnlyWhereItMust(t *testing.T) {
	var raw strings.Builder
	l := newLog(&raw, testNonce)
	l.write([]byte(strings.Repeat("x", 100) + "\n"))
	l.write([]byte(strings.Repeat("x", maxLine-1) + "\n"))
	for range 10 {
		l.write([]byte(strings.Repeat("x", 1000)))
		l.write([]byte("\n"))
	}
	l.wrap()
	if strings.Contains(raw.String(), testNonce) {
		t.Error("a wrap where every line was short")
	}
}

func TestUnfinishedLineIsHandedOnWhileTheProgramRuns(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromLog, log := io.Pipe()
	s := newStream(r, newLog(log, testNonce), 100, 0)
	done := make(chan struct{})
	go func() {
		s.pump()
		_ = log.Close()
		close(done)
	}()
	_, _ = w.WriteString("50 %")
	want := "50 %" + string(journal.AppendWrap(nil, testNonce))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(fromLog, got); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	_, _ = w.WriteString("100 %\n")
	_ = w.Close()
	if rest, _ := io.ReadAll(fromLog); string(rest) != "100 %\n" {
		t.Errorf("got %q, want %q", rest, "100 %\n")
	}
	<-done
	if s.log.live != liveWraps-1 {
		t.Errorf("%d live wraps are left, want %d", s.log.live, liveWraps-1)
	}
}

func TestUnfinishedLineWaitsWhenTheWrapsAreSpent(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.WriteString("50 %")
		<-time.After(2 * liveAfter)
		_ = w.Close()
	}()
	var raw strings.Builder
	s := newStream(r, newLog(&raw, testNonce), 100, 0)
	s.log.live = 0
	s.pump()
	if raw.String() != "50 %" {
		t.Errorf("got %q, want %q", raw.String(), "50 %")
	}
}

func TestSettledStreamTakesWhatIsThere(t *testing.T) {
	for name, head := range map[string]int64{"head": 100_000, "behind the head": 10} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }() // the pipe keeps a writer: there is no end of file
		all := noise(50_000)
		if _, err := w.Write(all); err != nil {
			t.Fatal(err)
		}
		var raw bytes.Buffer
		s := newStream(r, newLog(&raw, testNonce), head, 50_000)
		done := make(chan struct{})
		go func() {
			s.pump()
			close(done)
		}()
		s.settle()
		<-done
		if err := s.finish(testNonce, journal.End{}); err != nil {
			t.Fatal(err)
		}
		if got := cut(t, raw.Bytes()); !bytes.Equal(got.payload, all) {
			t.Errorf("%s: got %d bytes, want %d, or they differ", name, len(got.payload), len(all))
		}
	}
}

func TestStreamOutlivesItsLog(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = w.Write(noise(1 << 20))
		_ = w.Close()
	}()
	broken := errors.New("broken")
	s := newStream(r, newLog(brokenWriter{broken}, testNonce), 10, 10)
	s.pump()
	if err := s.finish(testNonce, journal.End{}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if got := s.passed + s.behind; got != 1<<20 {
		t.Errorf("took %d bytes, want %d", got, 1<<20)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }
