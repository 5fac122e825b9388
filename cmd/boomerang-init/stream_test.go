//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/journal"
)

const testNonce = "0123456789abcdef0123456789abcdef"

// logged is the content of one stream in a log.
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
	if s.End() == nil {
		t.Fatalf("no end frame in %d bytes", len(raw))
	}
	return logged{raw, payload.Bytes(), *s.End()}
}

// pumped copies a program's output, piece by piece, through a stream.
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
	s := newStream(r, newLog(&raw), head, tail)
	s.pump()
	if err := s.finish(testNonce, journal.End{ExitCode: 3}, func() {}); err != nil {
		t.Fatal(err)
	}
	return cut(t, raw.Bytes())
}

// noise returns n bytes without repetition and with few newlines.
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
		leftOut, kept int64 // kept is the part of the payload beyond the left-out bytes
	}{
		"nothing":            {head: 10, tail: 5},
		"less than the head": {head: 10, tail: 5, written: 9},
		"the head":           {head: 10, tail: 5, written: 10},
		"into the tail":      {head: 10, tail: 5, written: 11},
		"head and tail":      {head: 10, tail: 5, written: 15},
		"one more":           {head: 10, tail: 5, written: 16, leftOut: 1, kept: 5},
		"no head":            {tail: 5, written: 100, leftOut: 95, kept: 5},
		"no tail":            {head: 10, written: 100, leftOut: 90},
		"neither":            {written: 100, leftOut: 100},
		"around the ring": {head: mega, tail: 64 << 10, written: 3*mega + 12345, leftOut: 2*mega +
			12345 - 64<<10, kept: 64 << 10},
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

func TestOutputIsPassedOnWhileTheProgramRuns(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromLog, out := io.Pipe()
	s := newStream(r, newLog(out), 100, 0)
	done := make(chan struct{})
	go func() {
		s.pump()
		_ = out.Close()
		close(done)
	}()
	_, _ = w.WriteString("50 %")
	got := make([]byte, len("50 %\n"))
	if _, err := io.ReadFull(fromLog, got); err != nil || string(got) != "50 %\n" {
		t.Errorf("got %q, %v, want a line of the log for what is no line", got, err)
	}
	_, _ = w.WriteString("100 %\n")
	_ = w.Close()
	if rest, _ := io.ReadAll(fromLog); string(rest) != "100 %\x1en\n" {
		t.Errorf("got %q, want the rest", rest)
	}
	<-done
}

func TestTheHeadIsReadAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(nil, nil, 0, 0)
		reads := func(n int) time.Duration {
			from := time.Now()
			for range n {
				s.paceReads()
			}
			return time.Since(from)
		}
		for _, c := range []struct {
			pause time.Duration
			n     int
			want  time.Duration
		}{
			{0, burst + 1, 0},
			{0, 1000, 1000 * pace},
			{burst / 2 * pace, burst, burst / 2 * pace},
			{time.Hour, burst + 11, 10 * pace},
		} {
			time.Sleep(c.pause)
			if got := reads(c.n); got != c.want {
				t.Errorf("%d reads after %v took %v, want %v", c.n, c.pause, got, c.want)
			}
		}
		close(s.inputEnded)
		if got := reads(1000); got != 0 {
			t.Errorf("a stream that is settled waited %v", got)
		}
	})
}

func TestAStoppedStreamReadsTheRestOfThePipe(t *testing.T) {
	for name, head := range map[string]int64{"head": 100_000, "behind the head": 10} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.Close() }() // the pipe keeps a writer, so there is no end of file
		all := noise(50_000)
		if _, err := w.Write(all); err != nil {
			t.Fatal(err)
		}
		var raw bytes.Buffer
		s := newStream(r, newLog(&raw), head, 50_000)
		done := make(chan struct{})
		go func() {
			s.pump()
			close(done)
		}()
		s.stopWhenEmpty()
		<-done
		if err := s.finish(testNonce, journal.End{}, func() {}); err != nil {
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
	s := newStream(r, newLog(brokenWriter{broken}), 10, 10)
	s.pump()
	if err := s.finish(testNonce, journal.End{}, func() {}); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if got := s.passed + s.beyond; got != 1<<20 {
		t.Errorf("took %d bytes, want %d", got, 1<<20)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }
