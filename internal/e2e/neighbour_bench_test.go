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

// bombs are what a neighbour may do; each goes on until it is ended.
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

// BenchmarkNeighbour measures what a subject notices of another one's bomb: GET /health, and print(1) from submission to
// callback. All in one run, so that every bomb meets the same machine as idleness does.
func BenchmarkNeighbour(b *testing.B) {
	h := enter(b)
	h.callback(h.submit("print(1)")) // what is done once is done now
	const rounds, beats = 12, 10
	health, whole := make([]sample, len(bombs)), make([]sample, len(bombs))
	for b.Loop() {
		for i, bomb := range bombs {
			stop := h.throw(bomb.code)
			for range rounds {
				whole[i].take(func() {
					if c := h.callback(h.submit("print(1)")); c.Payload.Stdout != "1\n" {
						b.Fatalf("%s: printed %q", bomb.name, c.Payload.Stdout)
					}
				})
				for range beats {
					health[i].take(func() { h.raw(http.MethodGet, "/health", nil) })
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

// throw starts a bomb of another subject's and returns what ends it.
func (h *house) throw(code string) (stop func()) {
	h.t.Helper()
	if code == "" {
		return func() {}
	}
	mine := h.token
	h.token = h.tokenFor("bomber")
	id := h.submit(code, fields{"timeout": 600})
	h.running(id, "up")
	bomber := h.token
	h.token = mine
	return func() {
		h.token = bomber
		h.call(http.MethodPost, "/executions/"+string(id)+"/cancel", nil)
		h.record(id)
		h.token = mine
	}
}
