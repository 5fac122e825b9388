//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"boomerang/internal/execution"
)

func TestAProgramAboveTheFloodLimitIsKilled(t *testing.T) {
	h := newHarness(t, withLanguages(t, `
languages:
  bash:
    image: boomerang/bash:latest
    file: main.sh
    command: [bash, "{file}"]
    limits: {output: 1KiB, tail: 1KiB, flood: 1MiB}
`))
	flood := h.submit("trap '' TERM; echo begin; yes", bash)
	within := h.submit("head -c 1048576 /dev/zero | tr '\\0' x", bash)
	got := h.awaitCallback(flood).Payload
	if got.Status != execution.Failed || got.Reason != execution.OutputLimit || got.ExitCode == nil ||
		*got.ExitCode != 137 {
		t.Errorf("got %s/%s, exit %v, want failed/output_limit, 137", got.Status, got.Reason, got.ExitCode)
	}
	if !strings.HasPrefix(got.Stdout, "begin\ny\n") || !got.StdoutTruncated || got.StdoutBytes <= 1<<20 ||
		got.Error == nil {
		t.Errorf("%d bytes, truncated %t, error %v, begins with %.20q", got.StdoutBytes, got.StdoutTruncated,
			got.Error, got.Stdout)
	}
	if got := h.awaitCallback(within).Payload; got.Status != execution.Completed || got.StdoutBytes != 1<<20 {
		t.Errorf("a program at the limit: got %s/%s, %d bytes", got.Status, got.Reason, got.StdoutBytes)
	}
}
