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

// parts is what came out of a splitter.
type parts struct {
	payload  string
	start    *journal.Start
	end      *journal.End
	consumed int64
}

// split feeds raw in chunks of the given size and flushes.
func split(raw string, chunk int) parts {
	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	for from := 0; from < len(raw); from += chunk {
		_, _ = s.Write([]byte(raw[from:min(from+chunk, len(raw))]))
	}
	s.Flush()
	return parts{payload.String(), s.Start(), s.End(), s.Consumed()}
}

func startFrame() string { return string(journal.AppendStart(nil, nonce, start)) }
func endFrame() string   { return string(journal.AppendEnd(nil, nonce, end)) }
func wrapFrame() string  { return string(journal.AppendWrap(nil, nonce)) }

func TestSplitterCutsFramesOutOfAnyChunks(t *testing.T) {
	marker := strings.TrimSuffix(wrapFrame(), "\n")
	foreign := strings.Replace(endFrame(), nonce, strings.Repeat("f", 32), 1)
	for name, c := range map[string]struct {
		raw     string
		payload string
		start   bool
		end     bool
	}{
		"nothing":                         {},
		"payload alone":                   {raw: "a\nb", payload: "a\nb"},
		"all three":                       {raw: startFrame() + "a\n" + wrapFrame() + endFrame(), payload: "a\n", start: true, end: true},
		"frames alone":                    {raw: startFrame() + endFrame(), start: true, end: true},
		"end behind an open line":         {raw: "a" + endFrame(), payload: "a", end: true},
		"wrap inside a line":              {raw: "ab" + wrapFrame() + "cd\n", payload: "abcd\n"},
		"wraps behind one another":        {raw: wrapFrame() + wrapFrame() + "a" + wrapFrame(), payload: "a"},
		"what follows the end":            {raw: endFrame() + "a" + startFrame(), end: true},
		"another nonce":                   {raw: foreign + "a" + endFrame(), payload: foreign + "a", end: true},
		"markers that are not whole":      {raw: marker[:41] + marker[:1] + marker[:20] + "a" + marker[:41] + endFrame(), payload: marker[:41] + marker[:1] + marker[:20] + "a" + marker[:41], end: true},
		"a marker's beginning at the end": {raw: "a" + marker[:41], payload: "a" + marker[:41]},
		"a frame that was cut off":        {raw: "a" + endFrame()[:100], payload: "a"},
		"a marker without a frame":        {raw: "a" + marker, payload: "a"},
		"a frame of a kind to come":       {raw: "a" + marker + "X{}\nb" + endFrame(), payload: "ab", end: true},
		"a frame that is no JSON":         {raw: "a" + marker + "E{\nb" + marker + "S\nc", payload: "abc"},
		"a frame that is too long":        {raw: "a" + marker + "E" + strings.Repeat(" ", 5000) + "{}\nb", payload: "ab"},
		"binary":                          {raw: "\x00\xff\x1e\x1e\x1eboom" + wrapFrame() + "\x1e" + endFrame(), payload: "\x00\xff\x1e\x1e\x1eboom\x1e", end: true},
		"a second start":                  {raw: startFrame() + string(journal.AppendStart(nil, nonce, journal.Start{})), start: true},
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
		{"b\x1eboo", "ab"},
		{"m!", "ab\x1eboom!"},
		{wrapFrame()[:42], "ab\x1eboom!"},
		{"\nc", "ab\x1eboom!c"},
	} {
		_, _ = s.Write([]byte(c.write))
		if payload.String() != c.want {
			t.Errorf("after %q: got %q, want %q", c.write, payload.String(), c.want)
		}
	}
}

func TestFlushPassesOnOnlyOnce(t *testing.T) {
	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	_, _ = s.Write([]byte("a\x1eboom"))
	s.Flush()
	s.Flush()
	if got, want := payload.String(), "a\x1eboom"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSplitterGoesOnWhenItsWriterFails(t *testing.T) {
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
		"start": startFrame(), "end": endFrame(), "wrap": wrapFrame(),
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
	p := bytes.Repeat([]byte("payload \x1eboomerang 01234\n"), 1<<10)
	p = append(p, wrapFrame()...)
	p = append(p, wrapFrame()[:20]...)
	if got := testing.AllocsPerRun(100, func() { _, _ = s.Write(p) }); got != 0 {
		t.Errorf("got %v allocations a write, want none", got)
	}
}

// FuzzFrames: any payload, with frames put anywhere and fed in any chunks, comes back exactly.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("hello\n"), uint64(1))
	f.Add([]byte("\x1eboomerang"+nonce[:31]), uint64(2))
	f.Add([]byte("\x1eboomerang"+strings.Repeat("f", 32)+"E{}\n"), uint64(3))
	f.Add(bytes.Repeat([]byte{0x1e}, 100), uint64(4))
	f.Fuzz(func(t *testing.T, payload []byte, seed uint64) {
		if bytes.Contains(payload, []byte(nonce)) {
			t.Skip("the program does not know the nonce")
		}
		random := rand.New(rand.NewPCG(seed, 0))
		raw := []byte(startFrame())
		for rest := payload; len(rest) > 0; {
			n := 1 + random.IntN(len(rest))
			raw = append(raw, rest[:n]...)
			rest = rest[n:]
			if random.IntN(2) == 0 {
				raw = append(raw, wrapFrame()...)
			}
		}
		raw = append(raw, endFrame()+"x"...)

		var got bytes.Buffer
		s := journal.NewSplitter(nonce, &got)
		for rest := raw; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 100))
			if wrote, err := s.Write(rest[:n]); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(got.Bytes(), payload) {
			t.Errorf("got %q, want %q", got.Bytes(), payload)
		}
		if s.Start() == nil || s.End() == nil || s.Consumed() != int64(len(raw)) {
			t.Errorf("got start %v, end %v, %d bytes; want both and %d", s.Start(), s.End(), s.Consumed(), len(raw))
		}
	})
}

// FuzzSplitter: what is not framed comes back exactly, whatever the log holds, and nothing proves an end but an end frame.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\x1eboomerang" + nonce + "E{\n\x1eboo"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		whole := split(string(raw), len(raw)+1)
		if diff := cmp.Diff(whole, split(string(raw), 1), cmp.AllowUnexported(parts{})); diff != "" {
			t.Errorf("in one piece and byte by byte: %s", diff)
		}
		if !bytes.Contains(raw, []byte(nonce)) && whole.payload != string(raw) {
			t.Errorf("got %q, want %q", whole.payload, raw)
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
			p := []byte(strings.Repeat(line, 1<<20/len(line)))
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
	raw = append(raw, "hello\n"...)
	raw = journal.AppendEnd(raw, nonce, end)

	var payload strings.Builder
	s := journal.NewSplitter(nonce, &payload)
	_, _ = s.Write(raw)
	fmt.Printf("%q, exit code %d\n", payload.String(), s.End().ExitCode)
	// Output: "hello\n", exit code 3
}
