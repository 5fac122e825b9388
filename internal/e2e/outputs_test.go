//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

const (
	mib = 1 << 20
	kib = 1 << 10
)

// output returns the raw bytes of one stream.
func (h *harness) output(id execution.ID, stream string, header ...string) (int, http.Header, string) {
	h.t.Helper()
	status, head, body := h.rawWithHeader(http.MethodGet, "/executions/"+string(id)+"/output?stream="+stream, nil,
		header...)
	return status, head, string(body)
}

// expectStdout compares stdout in the callback and the record with text, and the raw stdout with raw.
func (h *harness) expectStdout(id execution.ID, text, raw string, written int, truncated, leftOut bool) {
	h.t.Helper()
	p := h.awaitCallback(id).Payload
	if p.StdoutBytes != int64(written) || p.StdoutTruncated != truncated || !p.OutputComplete {
		h.t.Errorf("the callback has %d bytes, truncated %v, complete %v; want %d, %v, true",
			p.StdoutBytes, p.StdoutTruncated, p.OutputComplete, written, truncated)
	}
	compareText(h.t, "the callback", p.Stdout, text)
	record := h.awaitRecord(id)
	compareText(h.t, "the record", record["stdout"].(string), text)
	if record["stdout_truncated"] != truncated || record["stdout_bytes"] != float64(written) {
		h.t.Errorf("the record has %v bytes, truncated %v", record["stdout_bytes"], record["stdout_truncated"])
	}
	status, head, got := h.output(id, "stdout")
	compareText(h.t, "the raw output", got, raw)
	if status != http.StatusOK || head.Get("X-Output-Bytes") != strconv.Itoa(written) ||
		head.Get("X-Output-Truncated") != strconv.FormatBool(leftOut) {
		h.t.Errorf("the raw output: got status %d and headers %v", status, head)
	}
}

// compareText compares long texts and shows the first difference.
func compareText(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	around := func(s string) string { return s[max(at-30, 0):min(at+60, len(s))] }
	t.Errorf("%s has %d bytes, want %d; from byte %d: got %q, want %q", what, len(got), len(want), at, around(got),
		around(want))
}

// omissionMark is the line that replaces n omitted bytes.
func omissionMark(n int) string { return fmt.Sprintf("[... %d bytes left out ...]\n", n) }

func TestNoLineIsLostIn200Executions(t *testing.T) {
	const runs, lines = 200, 4000
	h := newHarness(t, withSlots(2))
	var ids [runs]execution.ID
	for run := range runs {
		ids[run] = h.submit(fmt.Sprintf("for ((i = 0; i < %d; i++)); do echo \"%d %%$i\"; done; echo \"end %d\" >&2",
			lines, run, run), bash)
	}
	for run, id := range ids {
		var want strings.Builder
		for i := range lines {
			fmt.Fprintf(&want, "%d %%%d\n", run, i)
		}
		p := h.awaitCallback(id).Payload
		compareText(t, fmt.Sprintf("stdout of run %d", run), p.Stdout, want.String())
		if want := fmt.Sprintf("end %d\n", run); p.Stderr != want || !p.Success || !p.OutputComplete {
			t.Errorf("run %d: stderr %q, want %q; success %v, complete %v", run, p.Stderr, want, p.Success,
				p.OutputComplete)
		}
	}
}

func TestLargeOutputIsCutInTheMiddleAndCounted(t *testing.T) {
	const line, size, tail = 64, 64 * mib, 64 * kib
	h := newSerialHarness(t)
	numbered := func(from, to int) string { // the bytes between two offsets
		var b strings.Builder
		for i := from / line; i < to/line; i++ {
			fmt.Fprintf(&b, "%063d\n", i)
		}
		return b.String()
	}
	text := numbered(0, mib-tail) + omissionMark(size-mib) + numbered(size-tail, size)
	raw := numbered(0, mib) + omissionMark(size-mib-tail) + numbered(size-tail, size)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	id := h.submit(fmt.Sprintf("import sys\nfor i in range(0, %d, 8192):\n"+
		" sys.stdout.write(''.join('%%063d\\n' %% n for n in range(i, i + 8192)))", size/line))
	h.awaitCallback(id)
	runtime.ReadMemStats(&after)
	h.expectStdout(id, text, raw, size, true, true)
	// TotalAlloc includes memory that has been freed. The server keeps a few MiB of the output.
	if took := after.TotalAlloc - before.TotalAlloc; took > size {
		t.Errorf("allocated %d bytes for an output of %d bytes", took, size)
	}
}

func TestOutputLimitsAreExact(t *testing.T) {
	const tail = 64 * kib // bytes kept behind the head, and bytes of the end that the callback shows
	h := newHarness(t)
	letters := strings.Repeat("abcdefghijklmnopqrstuvwxyz", 2*mib/26+1) // without a newline
	for _, size := range []int{mib, mib + 1, mib + tail, mib + tail + 1} {
		id := h.submit(fmt.Sprintf("import sys\nsys.stdout.write(('abcdefghijklmnopqrstuvwxyz' * %d)[:%d])",
			2*mib/26+1, size))
		text, raw := letters[:size], letters[:size]
		if size > mib {
			text = letters[:mib-tail] + "\n" + omissionMark(size-mib) + letters[size-tail:size]
		}
		if size > mib+tail {
			raw = letters[:mib] + "\n" + omissionMark(size-mib-tail) + letters[size-tail:size]
		}
		h.expectStdout(id, text, raw, size, size > mib, size > mib+tail)
	}
}

func TestBinaryOutputIsPreserved(t *testing.T) {
	h := newHarness(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, raw := range []string{
		"",
		"no newline at the end",
		"\x00 a NUL and a \r\n and \x1e\x1eboomerang",
		"gr\xc3\xbc\xc3\x9fe, \xf0\x9f\xaa\x83, and a rune that is cut: \xf0\x9f\xaa",
		string(all),
	} {
		id := h.submit(fmt.Sprintf("import base64, os\nos.write(1, base64.b64decode('%s'))",
			base64.StdEncoding.EncodeToString([]byte(raw))))
		// Each byte that is not UTF-8 becomes U+FFFD.
		h.expectStdout(id, string([]rune(raw)), raw, len(raw), false, false)
	}
}

func TestARangeOfAnOutputIsExact(t *testing.T) {
	h := newHarness(t)
	id := h.submit("printf 0123456789; printf stderr >&2", bash)
	h.awaitCallback(id)
	for _, c := range []struct {
		asked  string
		status int
		ranged string
		want   string
	}{
		{"", http.StatusOK, "", "0123456789"},
		{"bytes=0-3", http.StatusPartialContent, "bytes 0-3/10", "0123"},
		{"bytes=7-", http.StatusPartialContent, "bytes 7-9/10", "789"},
		{"bytes=-2", http.StatusPartialContent, "bytes 8-9/10", "89"},
		{"bytes=8-100", http.StatusPartialContent, "bytes 8-9/10", "89"},
		{"lines=1-2", http.StatusOK, "", "0123456789"},
	} {
		status, head, got := h.output(id, "stdout", "Range", c.asked)
		if status != c.status || head.Get("Content-Range") != c.ranged || got != c.want {
			t.Errorf("%q: %d %q %q; want %d %q %q", c.asked, status, head.Get("Content-Range"), got, c.status,
				c.ranged, c.want)
		}
	}
	if status, answer := h.call(http.MethodGet, "/executions/"+string(id)+"/output?stream=stdout", nil, "Range",
		"bytes=10-"); status != http.StatusRequestedRangeNotSatisfiable ||
		answer["details"].(map[string]any)["bytes"] != 10.0 {
		t.Errorf("a range behind the end: got %d %v", status, answer)
	}
	if _, _, got := h.output(id, "stderr"); got != "stderr" {
		t.Errorf("got stderr %q", got)
	}
}

func TestAnOutputCanBeReadWhileItGrows(t *testing.T) {
	h := newHarness(t)
	id := h.submit("echo first; sleep 1; echo second; sleep 1; printf third", bash)
	var got strings.Builder
	for ended := false; !ended; {
		ended = h.state(id).Terminal() // asked before the last read
		status, _, more := h.output(id, "stdout", "Range", fmt.Sprintf("bytes=%d-", got.Len()))
		if status == http.StatusPartialContent {
			got.WriteString(more)
		}
	}
	if want := "first\nsecond\nthird"; got.String() != want {
		t.Errorf("output read in pieces: got %q, want %q", got.String(), want)
	}
}
