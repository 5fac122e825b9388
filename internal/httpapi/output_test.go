package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

func TestOutputIsTheBytesOfAStream(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	h.start(id)
	h.finish(id, completed("raw \xff\x00 bytes", "0123456789"))
	path := "/executions/" + string(id) + "/output"
	tests := map[string]struct {
		query   string
		headers []string
		status  int
		body    string
		ranged  string // Content-Range
	}{
		"stdout, when nothing is said": {"", nil, 200, "raw \xff\x00 bytes", ""},
		"stdout":                       {"?stream=stdout", nil, 200, "raw \xff\x00 bytes", ""},
		"stderr":                       {"?stream=stderr", nil, 200, "0123456789", ""},
		"from a byte on":               {"?stream=stderr", []string{"Range: bytes=7-"}, 206, "789", "bytes 7-9/10"},
		"a range":                      {"?stream=stderr", []string{"Range: bytes=2-4"}, 206, "234", "bytes 2-4/10"},
		"the last bytes":               {"?stream=stderr", []string{"Range: bytes=-2"}, 206, "89", "bytes 8-9/10"},
		"conditions":                   {"?stream=stderr", []string{`If-Match: "x"`, "If-None-Match: *"}, 200, "0123456789", ""},
		"a range of something else":    {"?stream=stderr", []string{"Range: lines=1-2"}, 200, "0123456789", ""},
		"a range that is none":         {"?stream=stderr", []string{"Range: bytes=x"}, 416, "", ""},
		"from the end on":              {"?stream=stderr", []string{"Range: bytes=10-"}, 416, "", "bytes */10"},
		"from behind the end on":       {"?stream=stderr", []string{"Range: bytes=99-"}, 416, "", "bytes */10"},
		"a range if it is unchanged":   {"?stream=stderr", []string{"Range: bytes=7-", `If-Range: "x"`}, 200, "0123456789", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := h.get(path+test.query, h.ann, test.headers...)
			if a.status != test.status || a.header.Get("Content-Range") != test.ranged {
				t.Fatalf("got %d, Content-Range %q: %q; want %d, %q", a.status, a.header.Get("Content-Range"), a.body, test.status, test.ranged)
			}
			if a.status == http.StatusRequestedRangeNotSatisfiable {
				if got := a.json(t); got["code"] != "RANGE_NOT_SATISFIABLE" || a.header.Get("Cache-Control") != "no-store" ||
					a.header.Get("Content-Disposition") != "" || a.header.Get("X-Execution-Status") != "completed" {
					t.Errorf("got %s, %v; want RANGE_NOT_SATISFIABLE with the headers of an error", a.body, a.header)
				}
				return
			}
			if a.body != test.body {
				t.Errorf("got %q; want %q", a.body, test.body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "X-Execution-Status": "completed",
				"X-Output-Truncated": "false", "Content-Length": strconv.Itoa(len(test.body)),
			} {
				if got := a.header.Get(name); got != want {
					t.Errorf("got %s: %q; want %q", name, got, want)
				}
			}
			if got := a.header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="exec_`) {
				t.Errorf("got Content-Disposition %q; want a file, not a page", got)
			}
		})
	}
	if a := h.call(http.MethodHead, path, h.ann, ""); a.status != http.StatusOK || a.header.Get("X-Output-Bytes") != "12" || a.body != "" {
		t.Errorf("HEAD: got %d %v; want 200 and X-Output-Bytes: 12", a.status, a.header)
	}
}

func TestOutputSaysWhatWasLeftOut(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	h.start(id)
	r := completed("", "")
	r.Stdout = execution.Output{Head: []byte("head\n"), Tail: []byte("tail"), Bytes: 1009}
	h.finish(id, r)
	a := h.get("/executions/"+string(id)+"/output", h.ann)
	if a.header.Get("X-Output-Bytes") != "1009" || a.header.Get("X-Output-Truncated") != "true" {
		t.Errorf("got %v; want 1009 bytes, truncated", a.header)
	}
	if want := "head\n[... 1000 bytes left out ...]\ntail"; a.body != want {
		t.Errorf("got %q; want %q", a.body, want)
	}
}

func TestOutputOfARunningExecutionIsWhatIsWrittenSoFar(t *testing.T) {
	h := open(t)
	id := h.submit(h.ann, hello)
	path := "/executions/" + string(id) + "/output"
	if a := h.get(path, h.ann, "Range: bytes=0-"); a.status != http.StatusOK || a.body != "" || a.header.Get("X-Execution-Status") != "queued" {
		t.Errorf("queued: got %d %q, %s; want nothing yet", a.status, a.body, a.header.Get("X-Execution-Status"))
	}
	h.start(id)
	h.live.print(id, execution.Stdout, "one ")
	if a := h.get(path, h.ann); a.body != "one " || a.header.Get("X-Execution-Status") != "running" || a.header.Get("X-Output-Bytes") != "" {
		t.Errorf("running: got %q, %v; want what is written, and no count yet", a.body, a.header)
	}
	if a := h.get(path, h.ann, "Range: bytes=4-"); a.status != http.StatusRequestedRangeNotSatisfiable || a.header.Get("X-Execution-Status") != "running" {
		t.Errorf("nothing new: got %d, %s; want 416, running", a.status, a.header.Get("X-Execution-Status"))
	}
	h.live.print(id, execution.Stdout, "two")
	if a := h.get(path, h.ann, "Range: bytes=4-"); a.status != http.StatusPartialContent || a.body != "two" {
		t.Errorf("something new: got %d %q; want 206 and the rest", a.status, a.body)
	}
	h.finish(id, completed("one two three", ""))
	if a := h.get(path, h.ann, "Range: bytes=7-"); a.body != " three" || a.header.Get("X-Execution-Status") != "completed" {
		t.Errorf("ended: got %q, %s; want the rest of the record", a.body, a.header.Get("X-Execution-Status"))
	}
}

// ending is a program that ends just after one has looked whether it runs.
type ending struct{ end func() }

func (e ending) Live(execution.ID, execution.Stream) ([]byte, bool) {
	e.end()
	return nil, false
}

func (ending) Follow(execution.ID) (func(execution.Stream) ([]byte, <-chan struct{}), func()) {
	return nil, func() {}
}

func TestOutputMissesNothingOfAProgramThatEndsMeanwhile(t *testing.T) {
	var end ending
	h := open(t, func(_ *Config, d *Deps) { d.Live = &end })
	id := h.submit(h.ann, hello)
	h.start(id)
	end.end = func() { h.finish(id, completed("all of it", "")) }
	if a := h.get("/executions/"+string(id)+"/output", h.ann); a.body != "all of it" {
		t.Errorf("got %q; want what the record has", a.body)
	}
}
