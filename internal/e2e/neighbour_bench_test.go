//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"text/tabwriter"
	"time"
)

// bombs are programs that disturb their neighbours until they are cancelled.
var bombs = []struct{ name, code string }{
	{"idle", ""},
	{"fork bomb", `
import os, time
print("up", flush=True)
while True:
    try:
        if os.fork() == 0:
            while True: pass
    except OSError: time.sleep(0.01)
`},
	{"memory", `
import subprocess, sys
print("up", flush=True)
while True: subprocess.run([sys.executable, "-c", "b = []\nwhile True: b.append(bytearray(16 << 20))"])
`},
	{"CPU", `
import os
print("up", flush=True)
for _ in range(7):
    if os.fork() == 0: break
while True: pass
`},
	{"flood of bytes", `
import os
print("up", flush=True)
while True: os.write(1, b"x" * 65535 + b"\n")
`},
	{"flood of newlines", `
import os
print("up", flush=True)
while True: os.write(1, b"\n" * 65536)
`},
}

// BenchmarkNeighbour measures the effect of a subject's bomb on another subject: on GET /health, and on print(1) from
// submission to callback. One run measures all bombs and the idle server, so that they meet the same load.
func BenchmarkNeighbour(b *testing.B) {
	h := newHarness(b)
	h.awaitCallback(h.submit("print(1)")) // warms up
	const rounds, beats = 12, 10
	health, whole := make([]sample, len(bombs)), make([]sample, len(bombs))
	for b.Loop() {
		for i, bomb := range bombs {
			stop := h.startBomb(bomb.code)
			for range rounds {
				whole[i].measure(func() {
					if c := h.awaitCallback(h.submit("print(1)")); c.Payload.Stdout != "1\n" {
						b.Fatalf("%s: printed %q", bomb.name, c.Payload.Stdout)
					}
				})
				for range beats {
					health[i].measure(func() { h.raw(http.MethodGet, "/health", nil) })
					<-time.After(5 * time.Millisecond)
				}
			}
			stop()
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n\thealth p50 ms\tp99 ms\tp99 / idle\tprint(1) p50 ms\tp99 ms\tp50 / idle\tp99 / idle\t\n")
	for i, bomb := range bombs {
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.2f\t%.2f\t\n", bomb.name,
			health[i].at(50), health[i].at(99), health[i].at(99)/health[0].at(99),
			whole[i].at(50), whole[i].at(99), whole[i].at(50)/whole[0].at(50), whole[i].at(99)/whole[0].at(99))
	}
	_ = table.Flush()
}

// startBomb starts a bomb as another subject and returns a function that ends it.
func (h *harness) startBomb(code string) (stop func()) {
	h.t.Helper()
	if code == "" {
		return func() {}
	}
	mine := h.token
	h.token = h.tokenFor("bomber")
	id := h.submit(code, fields{"timeout": 600})
	h.awaitOutput(id, "up")
	bomber := h.token
	h.token = mine
	return func() {
		h.token = bomber
		h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil)
		h.awaitRecord(id)
		h.token = mine
	}
}
