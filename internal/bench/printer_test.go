//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
	"boomerang/internal/wire"
)

// gibibyte is a program that prints 1 GiB, in lines as long as a pipe, and on stderr the time that it needed. Both
// sides run it.
const gibibyte = `import os, sys, time
line = b"x" * 65535 + b"\n"
began = time.monotonic()
for _ in range(16384):
    rest = line
    while rest: rest = rest[os.write(1, rest):]
print(time.monotonic() - began, file=sys.stderr)
`

// printed checks that 1 GiB was printed and counted.
func printed(p wire.Result) error {
	if p.Status != execution.Completed || p.StdoutBytes != 1<<30 || !p.StdoutTruncated {
		return fmt.Errorf("%s, %d bytes of stdout", p.Status, p.StdoutBytes)
	}
	return nil
}

// printer measures the cost of 1 GiB of output: the CPU time outside the container, and the time of the program.
func printer(h *harness) {
	ctx := h.Context()
	s := h.serve(settings{slots: 2})
	model, err := s.readHardenedConfig(ctx)
	if err != nil {
		h.Fatal(err)
	}
	daemons, err := h.engine.daemons()
	if err != nil {
		h.Fatal(err)
	}
	node, err := s.node()
	if err != nil {
		h.Fatal(err)
	}
	spentCPU, wall, raw := Figure{Unit: "s"}, Figure{Unit: "s"}, Figure{Name: "raw into cat >/dev/null", Unit: "s"}
	for range h.laps {
		before := cpu(append(daemons, s.Process))
		shim := h.watchShim(ctx, node)
		id, err := s.submit(ctx, s.me, "python", gibibyte)
		if err != nil {
			h.Fatal(err)
		}
		c, err := h.callback(ctx, id)
		if err == nil {
			err = s.awaitRest(ctx)
		}
		if err != nil {
			h.Fatal(err)
		}
		s.checkResult(c.Payload, printed)
		spent := cpu(append(daemons, s.Process)) + shim() - before
		spentCPU.Sample = append(spentCPU.Sample, spent.Seconds())
		_, stderr, _, _, err := h.engine.raw(ctx, model, "sh", "-c", `python3 -c "$0" | cat >/dev/null`, gibibyte)
		ours, bad := strconv.ParseFloat(strings.TrimSpace(c.Payload.Stderr), 64)
		theirs, worse := strconv.ParseFloat(strings.TrimSpace(stderr), 64)
		if err := errors.Join(err, bad, worse); err != nil {
			h.Fatal(err)
		}
		wall.Sample, raw.Sample = append(wall.Sample, ours), append(raw.Sample, theirs)
	}
	correct := s.stop()
	h.add(Row{
		What: "F  1 GiB: CPU of server, engine, shim", Ours: spentCPU, Goal: "≤ 1 s",
		Met: spentCPU.Sample.Median() <= 1, Correct: correct,
	})
	h.add(AtMost(1.3, Row{What: "F  1 GiB: the program's time", Ours: wall, Theirs: raw, Correct: correct}))
}

// watchShim follows the processor time of the shims of the containers of a node until spent is called, which returns
// the sum. The time of the children of a shim belongs to the container and is excluded.
func (h *harness) watchShim(ctx context.Context, node string) (spent func() time.Duration) {
	ctx, stop := context.WithCancel(ctx)
	used := map[servertest.Process]time.Duration{}
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			list, _ := h.engine.client.ContainerList(ctx, of(node))
			for _, c := range list {
				for _, p := range named("containerd-shim", c.ID) {
					used[p] = max(used[p], cpu([]servertest.Process{p}))
				}
			}
			servertest.Rest(ctx, 50*time.Millisecond)
		}
	})
	return func() (sum time.Duration) {
		stop()
		all.Wait()
		for _, t := range used {
			sum += t
		}
		return sum
	}
}
