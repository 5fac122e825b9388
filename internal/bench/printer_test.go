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
	"boomerang/internal/wire"
)

// gibibyte is a program that prints 1 GiB, in lines as long as a pipe is wide, and tells on stderr how long that took it: the
// same on both sides, whatever it is that reads.
const gibibyte = `import os, sys, time
line = b"x" * 65535 + b"\n"
began = time.monotonic()
for _ in range(16384):
    rest = line
    while rest: rest = rest[os.write(1, rest):]
print(time.monotonic() - began, file=sys.stderr)
`

// printed is the check that all of it was printed, and counted.
func printed(p wire.Result) error {
	if p.Status != execution.Completed || p.StdoutBytes != 1<<30 || !p.StdoutTruncated {
		return fmt.Errorf("%s, %d bytes of stdout", p.Status, p.StdoutBytes)
	}
	return nil
}

// printer measures what 1 GiB of output costs: in CPU outside of the container, and the program in time.
func printer(h *house) {
	ctx := h.Context()
	s := h.serve(settings{slots: 2})
	model, err := s.model(ctx)
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
	cpu, wall, raw := Figure{Unit: "s"}, Figure{Unit: "s"}, Figure{Name: "raw into cat >/dev/null", Unit: "s"}
	for range h.laps {
		before := s.cpu()
		for _, d := range daemons {
			before += d.cpu()
		}
		shim := h.watchShim(ctx, node)
		id, err := s.submit(ctx, s.me, "python", gibibyte)
		if err != nil {
			h.Fatal(err)
		}
		c, err := h.hook.await(ctx, id)
		if err == nil {
			err = s.settle(ctx)
		}
		if err != nil {
			h.Fatal(err)
		}
		s.judge(c.Payload, printed)
		spent := s.cpu() + shim() - before
		for _, d := range daemons {
			spent += d.cpu()
		}
		cpu.Sample = append(cpu.Sample, spent.Seconds())
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
		What: "F  1 GiB: CPU of server, engine, shim", Ours: cpu, Goal: "≤ 1 s", Met: cpu.Sample.Median() <= 1, Correct: correct,
	})
	h.add(AtMost(1.3, Row{What: "F  1 GiB: the program's time", Ours: wall, Theirs: raw, Correct: correct}))
}

// watchShim follows the processor time of the shims of a node's containers until the returned function is called, which
// says how much it was. Of a shim only its own time counts: that of its children is the container's.
func (h *house) watchShim(ctx context.Context, node string) (spent func() time.Duration) {
	ctx, stop := context.WithCancel(ctx)
	used := map[process]time.Duration{}
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			list, _ := h.engine.client.ContainerList(ctx, of(node))
			for _, c := range list {
				for _, p := range named("containerd-shim", c.ID) {
					used[p] = max(used[p], p.cpu())
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
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
