//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

// TestOutputPrintedJustBeforeExitIsComplete runs programs that exit without waiting for their output. They lose the
// bytes for which the pipe has no room.
func TestOutputPrintedJustBeforeExitIsComplete(t *testing.T) {
	const (
		nodeOut  = "console.log('x'.repeat(%d)); process.exit(0)"
		nodeErr  = "console.error('x'.repeat(%d)); process.exit(0)"
		nodeBoth = "console.log('x'.repeat(%[1]d)); console.error('x'.repeat(%[1]d)); process.exit(0)"
		inPieces = "for (let i = 0; i < 100; i++) process.stdout.write('x'.repeat(%d / 100)); " +
			"process.stdout.write('\\n'); process.exit(0)"
		thrown = "console.log('x'.repeat(%d)); process.on('uncaughtException', () => process.exit(0)); throw 0"
		python = "import os\nfor fd in %s: os.set_blocking(fd, False); os.write(fd, b'x' * %d + b'\\n')\nos._exit(0)"
	)
	h := newHarness(t)
	for name, c := range map[string]struct {
		language, code string
		out, err       int // letters, followed by a newline
	}{
		"node, 600 kB":            {"javascript", fmt.Sprintf(nodeOut, 600_000), 600_000, 0},
		"node, nearly all":        {"javascript", fmt.Sprintf(nodeOut, mib-1), mib - 1, 0},
		"node, on stderr":         {"javascript", fmt.Sprintf(nodeErr, 600_000), 0, 600_000},
		"node, on both":           {"javascript", fmt.Sprintf(nodeBoth, 600_000), 600_000, 600_000},
		"node, in pieces":         {"javascript", fmt.Sprintf(inPieces, 600_000), 600_000, 0},
		"node, from a handler":    {"javascript", fmt.Sprintf(thrown, 600_000), 600_000, 0},
		"python, without waiting": {"python", fmt.Sprintf(python, "[1]", 600_000), 600_000, 0},
		"python, nearly all":      {"python", fmt.Sprintf(python, "[1, 2]", mib-1), mib - 1, mib - 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := h.awaitCallback(h.submit(c.code, fields{"language": c.language})).Payload
			if p.Status != execution.Completed || !p.OutputComplete || p.StdoutTruncated || p.StderrTruncated {
				t.Errorf("got %s/%s, complete %t, truncated %t and %t", p.Status, p.Reason, p.OutputComplete,
					p.StdoutTruncated, p.StderrTruncated)
			}
			for stream, is := range map[string]struct {
				got     string
				written int64
				letters int
			}{"stdout": {p.Stdout, p.StdoutBytes, c.out}, "stderr": {p.Stderr, p.StderrBytes, c.err}} {
				want := ""
				if is.letters > 0 {
					want = strings.Repeat("x", is.letters) + "\n"
				}
				if is.got != want || is.written != int64(len(want)) {
					t.Errorf("%s has %d bytes, and %d according to the callback, want %d", stream, len(is.got),
						is.written, len(want))
				}
			}
		})
	}
}
