package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/journal"
)

var (
	nonce = strings.Repeat("0123456789abcdef", 2)
	start = journal.Start{At: time.Date(2025, 1, 28, 0, 0, 0, 1, time.UTC)}
	end   = journal.End{
		ExitCode: 3, TimedOut: true, StartedAt: start.At, EndedAt: start.At.Add(time.Second),
		Elapsed: time.Second, CPUTime: time.Millisecond, MaxMemory: 1 << 20, Bytes: 10, LeftOut: 5, Tail: 2,
	}
)

// parts are the results of a splitter.
type parts struct {
	payload  string
	start    *journal.Start
	end      *journal.End
	consumed int64
}

// split writes raw to a splitter in chunks of the given size.
func split(raw string, chunk int) parts {
	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	for from := 0; from < len(raw); from += chunk {
		_, _ = s.Write([]byte(raw[from:min(from+chunk, len(raw))]))
	}
	return parts{payload.String(), s.Start(), s.End(), s.Consumed()}
}

func startFrame() string           { return string(journal.AppendStart(nil, nonce, start)) }
func endFrame() string             { return string(journal.AppendEnd(nil, nonce, end)) }
func packed(payload string) string { return string(journal.AppendPayload(nil, []byte(payload))) }

func TestSplitterCutsFramesOutOfAnyChunks(t *testing.T) {
	marker := "\x1eboomerang" + nonce
	foreign := strings.Replace(endFrame(), nonce, strings.Repeat("f", 32), 1)
	for name, c := range map[string]struct {
		raw     string
		payload string
		start   bool
		end     bool
	}{
		"nothing":       {},
		"payload alone": {raw: packed("a\nb"), payload: "a\nb"},
		"all three": {
			raw: startFrame() + packed("a\n") + endFrame(), payload: "a\n", start: true,
			end: true,
		},
		"frames alone":            {raw: startFrame() + endFrame(), start: true, end: true},
		"end behind an open line": {raw: "a" + endFrame(), payload: "a", end: true},
		"pieces of a line":        {raw: packed("ab") + packed("cd\n"), payload: "abcd\n"},
		"pieces of nothing":       {raw: "\n\n" + packed("a") + "\n", payload: "a"},
		"a newline that was lost": {
			raw:     strings.TrimSuffix(packed("ab"), "\n") + packed("cd") + endFrame(),
			payload: "abcd", end: true,
		},
		"what follows the end": {raw: endFrame() + "a" + startFrame(), end: true},
		"another nonce":        {raw: foreign + "a" + endFrame(), payload: "a", end: true},
		"printed frames": {
			raw:     packed(startFrame()+endFrame()) + endFrame(),
			payload: startFrame() + endFrame(), end: true,
		},
		"half a marker, no newline": {raw: "a" + marker[:41] + endFrame(), payload: "a"},
		"half a marker":             {raw: "a" + marker[:41] + "\n" + endFrame(), payload: "a", end: true},
		"half a marker, and more": {
			raw: "a" + marker[:41] + "x\n" + packed("b") + endFrame(), payload: "ab",
			end: true,
		},
		"an escape at the end":      {raw: "a\x1e", payload: "a"},
		"a frame that was cut off":  {raw: "a" + endFrame()[:100], payload: "a"},
		"a marker without a frame":  {raw: "a" + marker, payload: "a"},
		"a frame of a kind to come": {raw: "a" + marker + "X{}\nb" + endFrame(), payload: "ab", end: true},
		"a frame of no kind":        {raw: "a" + marker + "\nb" + endFrame(), payload: "ab", end: true},
		"a frame that is no JSON":   {raw: "a" + marker + "E{\nb" + marker + "S\nc", payload: "abc"},
		"a frame that is too long":  {raw: "a" + marker + "E" + strings.Repeat(" ", 5000) + "{}\nb", payload: "ab"},
		"binary": {
			raw:     packed("\x00\xff\x1e\x1e\n\x1eboomn\x1ee\x1e") + endFrame(),
			payload: "\x00\xff\x1e\x1e\n\x1eboomn\x1ee\x1e", end: true,
		},
		"a second start": {
			raw:   startFrame() + string(journal.AppendStart(nil, nonce, journal.Start{})),
			start: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := parts{payload: c.payload, consumed: int64(len(c.raw))}
			if c.start {
				want.start = &start
			}
			if c.end {
				want.end = &end
			}
			for chunk := 1; chunk <= min(len(c.raw)+1, 300); chunk++ {
				if diff := cmp.Diff(want, split(c.raw, chunk), cmp.AllowUnexported(parts{})); diff != "" {
					t.Fatalf("chunks of %d: %s", chunk, diff)
				}
			}
		})
	}
}

func TestSplitterPassesPayloadOnAtOnce(t *testing.T) {
	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	for _, c := range []struct{ write, want string }{
		{"a", "a"},
		{"b\x1e", "ab"},
		{"n", "ab\n"},
		{"\nc", "ab\nc"},
	} {
		_, _ = s.Write([]byte(c.write))
		if payload.String() != c.want {
			t.Errorf("after %q: got %q, want %q", c.write, payload.String(), c.want)
		}
	}
}

// TestAPayloadHasFewAndShortLines bounds the lines of the log, because each line costs Docker work, and it breaks lines
// after 16 KiB.
func TestAPayloadHasFewAndShortLines(t *testing.T) {
	for name, payload := range map[string]string{
		"newlines":   strings.Repeat("\n", 1<<20),
		"escapes":    strings.Repeat("\x1e", 1<<20),
		"one line":   strings.Repeat("x", 1<<20),
		"text":       strings.Repeat("some text\n", 1<<17),
		"one piece":  strings.Repeat("\n", journal.MaxPiece),
		"and a byte": strings.Repeat("\n", journal.MaxPiece+1),
		"a byte":     "\n",
		"nothing":    "",
	} {
		raw := packed(payload)
		want := (len(payload) + journal.MaxPiece - 1) / journal.MaxPiece
		if got := strings.Count(raw, "\n"); got != want || (want > 0 && !strings.HasSuffix(raw, "\n")) {
			t.Errorf("%s: %d lines, want %d", name, got, want)
		}
		for line := range strings.Lines(raw) {
			if len(line) >= 16<<10 {
				t.Errorf("%s: a line of %d bytes", name, len(line))
			}
		}
		if got := split(raw, 1000).payload; got != payload {
			t.Errorf("%s: got %d bytes, want %d, or they differ", name, len(got), len(payload))
		}
	}
}

func TestSplitterContinuesAfterAWriteError(t *testing.T) {
	s := journal.NewSplitter(nonce, failingWriter{})
	raw := "a" + startFrame() + "b" + endFrame()
	if n, err := io.WriteString(s, raw); n != len(raw) || err != nil {
		t.Errorf("got %d, %v, want %d and no error", n, err, len(raw))
	}
	if s.Start() == nil || s.End() == nil {
		t.Errorf("got start %v and end %v, want both", s.Start(), s.End())
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestFramesSurviveDockersLogCopier(t *testing.T) {
	longest := end
	longest.StartError = strings.Repeat("\x00", 10_000)
	longest.StartedAt = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", -12*3600))
	longest.EndedAt = longest.StartedAt
	longest.Elapsed, longest.CPUTime = -1<<63, -1<<63
	longest.MaxMemory, longest.Bytes, longest.LeftOut, longest.Tail = -1<<63, -1<<63, -1<<63, -1<<63
	longest.ExitCode, longest.Signal = -1<<63, -1<<63
	longest.Stopped, longest.OutOfMem = true, true
	for name, frame := range map[string]string{
		"start": startFrame(), "end": endFrame(),
		"longest end": string(journal.AppendEnd(nil, nonce, longest)),
	} {
		if len(frame) >= 4096 || strings.Count(frame, "\n") != 1 || !strings.HasSuffix(frame, "\n") {
			t.Errorf("%s: got %d bytes and %d newlines, want less than 4096 and one at the end: %q",
				name, len(frame), strings.Count(frame, "\n"), frame)
		}
	}
	if got := split(string(journal.AppendEnd(nil, nonce, longest)), 16).end; got == nil {
		t.Error("the longest end frame was not understood")
	}
}

func TestAppendEndCutsNoRune(t *testing.T) {
	e := end
	e.StartError = strings.Repeat("x", 511) + "ü"
	got := split(string(journal.AppendEnd(nil, nonce, e)), 7).end
	if want := strings.Repeat("x", 511); got == nil || got.StartError != want {
		t.Errorf("got %+v, want the sentence %q", got, want)
	}
}

func TestNewNonceIsNewAndValid(t *testing.T) {
	a, b := journal.NewNonce(), journal.NewNonce()
	j := validJob()
	j.Nonce = a
	if err := j.Validate(); err != nil || a == b {
		t.Errorf("got %q and %q, %v; want two valid ones", a, b, err)
	}
}

func TestSplitterAllocatesNothingForPayload(t *testing.T) {
	s := journal.NewSplitter(nonce, io.Discard)
	p := []byte(packed(strings.Repeat("payload \x1eboomerang 01234\n", 1<<10)))
	_, _ = s.Write(p)
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Write(p) }); got != 0 {
		t.Errorf("got %v allocations a write, want none", got)
	}
}

// FuzzFrames checks that any payload, packed in any pieces and written in any chunks, comes back exactly, and that no
// payload is taken for a frame.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("hello\n"), uint64(1))
	f.Add([]byte("\x1eboomerang"+nonce[:31]), uint64(2))
	f.Add([]byte(startFrame()+endFrame()), uint64(3))
	f.Add(bytes.Repeat([]byte{0x1e}, 100), uint64(4))
	f.Add(bytes.Repeat([]byte("\n"), 10_000), uint64(5))
	f.Fuzz(func(t *testing.T, payload []byte, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		raw := []byte(startFrame())
		for rest := payload; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			raw = journal.AppendPayload(raw, rest[:n])
			rest = rest[n:]
		}
		frame := len(raw)
		raw = append(raw, endFrame()+"x"...)

		var got bytes.Buffer
		s := journal.NewSplitter(nonce, &got)
		for from := 0; from < len(raw); {
			n := 1 + random.IntN(min(len(raw)-from, 100))
			if wrote, err := s.Write(raw[from : from+n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			from += n
			if from <= frame && s.End() != nil {
				t.Fatalf("the end is proven by the program's bytes: %+v", s.End())
			}
		}
		if !bytes.Equal(got.Bytes(), payload) {
			t.Errorf("got %q, want %q", got.Bytes(), payload)
		}
		if s.Start() == nil || !s.Start().At.Equal(start.At) || s.End() == nil || s.Consumed() != int64(len(raw)) {
			t.Errorf("got start %v, end %v, %d bytes; want both and %d", s.Start(), s.End(), s.Consumed(), len(raw))
		}
	})
}

// FuzzSplitter checks for any log that the chunks make no difference, and that only an end frame proves an end.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\x1eboomerang" + nonce + "E{\n\x1eboo"))
	f.Add([]byte(packed("a\nb") + endFrame()))
	f.Add([]byte(fileFrame("a", 3) + packed("a\nb") + fileFrame("b", 1)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		payload, files, _ := splitFiles(string(raw), len(raw)+1)
		if p, f, _ := splitFiles(string(raw), 1); p != payload || f != files {
			t.Errorf("in one piece and byte by byte: %q and %q, files %q and %q", payload, p, files, f)
		}
		whole := split(string(raw), len(raw)+1)
		if diff := cmp.Diff(whole, split(string(raw), 1), cmp.AllowUnexported(parts{})); diff != "" {
			t.Errorf("in one piece and byte by byte: %s", diff)
		}
		if (whole.start != nil || whole.end != nil) && !bytes.Contains(raw, []byte("\x1eboomerang"+nonce)) {
			t.Errorf("got start %v and end %v from %q", whole.start, whole.end, raw)
		}
	})
}

func BenchmarkSplitter(b *testing.B) {
	for name, line := range map[string]string{
		"text":     "The quick brown fox jumps over the lazy dog.\n",
		"controls": "\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\x1e\n",
		"prefixes": "\x1eboomerang0123456789abcdef0123456789abcde\n",
	} {
		b.Run(name, func(b *testing.B) {
			p := []byte(packed(strings.Repeat(line, 1<<20/len(line))))
			s := journal.NewSplitter(nonce, io.Discard)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				for chunk := range slices.Chunk(p, 16<<10) {
					_, _ = s.Write(chunk)
				}
			}
		})
	}
}

func ExampleSplitter() {
	raw := journal.AppendStart(nil, nonce, start)
	raw = journal.AppendPayload(raw, []byte("hello\n"))
	raw = journal.AppendEnd(raw, nonce, end)

	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	_, _ = s.Write(raw)
	fmt.Printf("%q, exit code %d\n", payload.String(), s.End().ExitCode)
	// Output: "hello\n", exit code 3
}
