package httpapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/httpapi/apitest"
	"boomerang/internal/server"
)

func TestOutputIsTheBytesOfAStream(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	h.Finish(id, apitest.Completed("raw \xff\x00 bytes", "0123456789"))
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
		"conditions": {
			"?stream=stderr",
			[]string{`If-Match: "x"`, "If-None-Match: *"},
			200,
			"0123456789", "",
		},
		"a range of something else": {"?stream=stderr", []string{"Range: lines=1-2"}, 200, "0123456789", ""},
		"a range that is none":      {"?stream=stderr", []string{"Range: bytes=x"}, 416, "", ""},
		"from the end on":           {"?stream=stderr", []string{"Range: bytes=10-"}, 416, "", "bytes */10"},
		"from behind the end on":    {"?stream=stderr", []string{"Range: bytes=99-"}, 416, "", "bytes */10"},
		"a range if it is unchanged": {
			"?stream=stderr",
			[]string{"Range: bytes=7-", `If-Range: "x"`},
			200,
			"0123456789", "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := h.Get(path+test.query, h.Ann, test.headers...)
			if a.Status != test.status || a.Header.Get("Content-Range") != test.ranged {
				t.Fatalf("got %d, Content-Range %q: %q; want %d, %q", a.Status, a.Header.Get("Content-Range"), a.Body,
					test.status, test.ranged)
			}
			if a.Status == http.StatusRequestedRangeNotSatisfiable {
				if got := a.JSON(t); got["code"] != "RANGE_NOT_SATISFIABLE" ||
					a.Header.Get("Cache-Control") != "no-store" ||
					a.Header.Get("Content-Disposition") != "" || a.Header.Get("X-Execution-Status") != "completed" {
					t.Errorf("got %s, %v; want RANGE_NOT_SATISFIABLE with the headers of an error", a.Body, a.Header)
				}
				return
			}
			if a.Body != test.body {
				t.Errorf("got %q; want %q", a.Body, test.body)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "X-Execution-Status": "completed",
				"X-Output-Truncated": "false", "Content-Length": strconv.Itoa(len(test.body)),
			} {
				if got := a.Header.Get(name); got != want {
					t.Errorf("got %s: %q; want %q", name, got, want)
				}
			}
			if got := a.Header.Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="exec_`) {
				t.Errorf("got Content-Disposition %q; want a file, not a page", got)
			}
		})
	}
	if a := h.Call(http.MethodHead, path, h.Ann, ""); a.Status != http.StatusOK ||
		a.Header.Get("X-Output-Bytes") != "12" || a.Body != "" {
		t.Errorf("HEAD: got %d %v; want 200 and X-Output-Bytes: 12", a.Status, a.Header)
	}
}

func TestOutputCountsTheOmittedBytes(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	r := apitest.Completed("", "")
	r.Stdout = execution.Output{Head: []byte("head\n"), Tail: []byte("tail"), Bytes: 1009}
	h.Finish(id, r)
	a := h.Get("/executions/"+string(id)+"/output", h.Ann)
	if a.Header.Get("X-Output-Bytes") != "1009" || a.Header.Get("X-Output-Truncated") != "true" {
		t.Errorf("got %v; want 1009 bytes, truncated", a.Header)
	}
	if want := "head\n[... 1000 bytes left out ...]\ntail"; a.Body != want {
		t.Errorf("got %q; want %q", a.Body, want)
	}
}

func TestOutputOfARunningExecutionHasTheBytesSoFar(t *testing.T) {
	h := apitest.Open(t)
	id := h.Submit(h.Ann, apitest.Hello)
	path := "/executions/" + string(id) + "/output"
	if a := h.Get(path, h.Ann, "Range: bytes=0-"); a.Status != http.StatusOK || a.Body != "" ||
		a.Header.Get("X-Execution-Status") != "queued" {
		t.Errorf("queued: got %d %q, %s; want nothing yet", a.Status, a.Body, a.Header.Get("X-Execution-Status"))
	}
	h.Start(id)
	h.Live.Print(id, execution.Stdout, "one ")
	if a := h.Get(path, h.Ann); a.Body != "one " || a.Header.Get("X-Execution-Status") != "running" ||
		a.Header.Get("X-Output-Bytes") != "" {
		t.Errorf("running: got %q, %v; want what is written, and no count yet", a.Body, a.Header)
	}
	if a := h.Get(path, h.Ann, "Range: bytes=4-"); a.Status != http.StatusRequestedRangeNotSatisfiable ||
		a.Header.Get("X-Execution-Status") != "running" {
		t.Errorf("nothing new: got %d, %s; want 416, running", a.Status, a.Header.Get("X-Execution-Status"))
	}
	h.Live.Print(id, execution.Stdout, "two")
	if a := h.Get(path, h.Ann, "Range: bytes=4-"); a.Status != http.StatusPartialContent || a.Body != "two" {
		t.Errorf("something new: got %d %q; want 206 and the rest", a.Status, a.Body)
	}
	h.Finish(id, apitest.Completed("one two three", ""))
	if a := h.Get(path, h.Ann, "Range: bytes=7-"); a.Body != " three" ||
		a.Header.Get("X-Execution-Status") != "completed" {
		t.Errorf("ended: got %q, %s; want the rest of the record", a.Body, a.Header.Get("X-Execution-Status"))
	}
}

// ending is a program that ends just after Live was called.
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
	h := apitest.Open(t, func(_ *server.Config, d *apitest.Deps) { d.Live = &end })
	id := h.Submit(h.Ann, apitest.Hello)
	h.Start(id)
	end.end = func() { h.Finish(id, apitest.Completed("all of it", "")) }
	if a := h.Get("/executions/"+string(id)+"/output", h.Ann); a.Body != "all of it" {
		t.Errorf("got %q; want what the record has", a.Body)
	}
}
