package journal_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/journal"
)

// heard records the calls of a splitter to its file sink.
type heard struct{ bytes.Buffer }

func (h *heard) say(format string, args ...any) { _, _ = fmt.Fprintf(h, format, args...) }
func (h *heard) Begin(f journal.Collected)      { h.say("<%s %q %d %o>", f.Of, f.Path, f.Size, f.Mode) }
func (h *heard) Done(whole bool)                { h.say("<%v>", whole) }
func (h *heard) Omit(o journal.Omitted)         { h.say("<%s %q %s>", o.Of, o.Path, o.Reason) }
func (h *heard) Complete(c journal.Collection)  { h.say("<%+v>", c) }
func (h *heard) Present(p journal.Present)      { h.say("<%+v>", p) }

// splitFiles writes raw to a splitter in chunks of the given size.
func splitFiles(raw string, chunk int) (payload, files string, end *journal.End) {
	var out strings.Builder
	var told heard
	s := journal.NewFilesSplitter(nonce, &out, &told)
	for from := 0; from < len(raw); from += chunk {
		_, _ = s.Write([]byte(raw[from:min(from+chunk, len(raw))]))
	}
	return out.String(), told.String(), s.End()
}

func fileFrame(path string, size int64) string {
	return string(journal.AppendCollected(nil, nonce, "x", []byte(path), size, 0o640))
}

func TestSplitterSeparatesFilesFromPayload(t *testing.T) {
	omitted := string(journal.AppendOmitted(nil, nonce, "x", []byte("a\xff\n"+strings.Repeat("y", 2000)),
		journal.OmitName))
	done := string(journal.AppendCollection(nil, nonce,
		journal.Collection{Of: "x", Files: 1, Bytes: 2, Omitted: 3, Cut: journal.CutTime}))
	broken := strings.Replace(fileFrame("a", 5), `"size"`, `size"`, 1)
	for name, c := range map[string]struct{ raw, payload, files string }{
		"one file": {
			packed("out\n") + fileFrame("d/a\n", 4) + packed("a\nb\x1e") + endFrame(), "out\n",
			`<x "d/a\n" 4 640>` + "a\nb\x1e<true>",
		},
		"two and an end": {
			fileFrame("a", 1) + packed("1") + fileFrame("b", 0) + done + endFrame(), "",
			`<x "a" 1 640>1<true><x "b" 0 640><true><{Of:x Files:1 Bytes:2 Omitted:3 Cut:time}>`,
		},
		"too short": {
			fileFrame("a", 2) + packed("1") + done, "",
			`<x "a" 2 640>1<false><{Of:x Files:1 Bytes:2 Omitted:3 Cut:time}>`,
		},
		"too long": {fileFrame("a", 2) + packed("123") + endFrame(), "", `<x "a" 2 640>123<false>`},
		"refused": {
			fileFrame("a", 1) + packed("1") + omitted, "",
			`<x "a" 1 640>1<true><x "a�\n` + strings.Repeat("y", 1021) + `" name>`,
		},
		"cut off": {fileFrame("a", 2) + "1", "", `<x "a" 2 640>1`},
		"not understood": {
			broken + packed("12345") + fileFrame("b", 1) + packed("1") + endFrame(), "",
			`<x "b" 1 640>1<true>`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for chunk := 1; chunk <= len(c.raw); chunk++ {
				payload, files, end := splitFiles(c.raw, chunk)
				if payload != c.payload || files != c.files || (end != nil) != strings.HasSuffix(c.raw, endFrame()) {
					t.Fatalf("chunks of %d: got %q, %q, %v; want %q, %q", chunk, payload, files, end, c.payload,
						c.files)
				}
			}
		})
	}
}

func TestFrameOfAFileIsBounded(t *testing.T) {
	path := []byte(strings.Repeat("\x00", 5000))
	for name, frame := range map[string][]byte{
		"file":    journal.AppendCollected(nil, nonce, strings.Repeat("x", 32), path, 1<<62, 0o777),
		"refused": journal.AppendOmitted(nil, nonce, strings.Repeat("x", 32), path, journal.OmitNotRegular),
	} {
		if len(frame) >= 4096 || bytes.Count(frame, []byte("\n")) != 1 {
			t.Errorf("%s: got %d bytes, want less than 4096 and one newline", name, len(frame))
		}
	}
}

// FuzzFiles checks that files and payload of any content, written in any chunks, come back exactly.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("hello\n"), []byte("\x1e\x1eboomerang"+nonce+"E{}\n"), "a\nb", uint64(1))
	f.Add([]byte{}, []byte{}, "", uint64(2))
	f.Add([]byte("x"), bytes.Repeat([]byte("\n"), 20_000), "d/\xff", uint64(3))
	f.Fuzz(func(t *testing.T, payload, content []byte, path string, seed uint64) {
		path = path[:min(len(path), journal.MaxCollectedPath)]
		raw := startFrame() + packed(string(payload)) + fileFrame(path, int64(len(content))) + packed(string(content)) +
			fileFrame(path, int64(len(content))+1) + packed(string(content)) +
			string(journal.AppendCollection(nil, nonce, journal.Collection{})) + endFrame() + "x"
		var out bytes.Buffer
		var told heard
		random := rand.New(rand.NewPCG(seed, 0))
		s := journal.NewFilesSplitter(nonce, &out, &told)
		for rest := []byte(raw); len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 9000))
			_, _ = s.Write(rest[:n])
			rest = rest[n:]
		}
		want := fmt.Sprintf("<x %q %d 640>%s<true><x %q %d 640>%s<false><%+v>",
			path, len(content), content, path, len(content)+1, content, journal.Collection{})
		if diff := cmp.Diff(want, told.String()); diff != "" || !bytes.Equal(out.Bytes(), payload) || s.End() == nil {
			t.Errorf("got payload %q, want %q; %s", out.Bytes(), payload, diff)
		}
	})
}
