//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// memory measures what of the server is resident: when it has nothing to do, at most while a program prints 1 GiB, and at most
// while programs that sleep are started and run. Resident is what the operator's tools show; the pages of the program's file,
// which the kernel may drop at any time, are in it.
func memory(h *house) {
	ctx := h.Context()
	s, idle := h.idle(1)
	if _, err := s.run(ctx, "python", gibibyte, printed); err != nil {
		h.Fatal(err)
	}
	printing, err := s.memory("VmHWM")
	if err == nil {
		err = s.settle(ctx)
	}
	if err != nil {
		h.Fatal(err)
	}
	correct := s.stop()
	h.add(Row{What: "E  idle", Ours: Figure{Unit: "MiB", Sample: idle}, Goal: "≤ 40 MiB", Met: idle.Median() <= 40, Correct: correct})
	h.more("at most, while one prints 1 GiB", "≤ idle + 16 MiB", 16, printing, idle, correct)

	s, idle = h.idle(h.sleepers)
	ids, err := s.sleepers(ctx, h.sleepers)
	if err != nil {
		h.Fatal(err)
	}
	running, err := s.resident(ctx)
	if err != nil {
		h.Fatal(err)
	}
	peak, err := s.memory("VmHWM")
	if err != nil {
		h.Fatal(err)
	}
	for _, id := range ids {
		if _, err := s.me.Cancel(ctx, id); err != nil {
			h.Fatal(err)
		}
	}
	for _, id := range ids {
		c, err := h.hook.await(ctx, id)
		if err != nil {
			h.Fatal(err)
		}
		s.judge(c.Payload, func(p wire.Result) error {
			if p.Status != execution.Cancelled || p.Stdout != "up\n" {
				return fmt.Errorf("%s, printed %q", p.Status, p.Stdout)
			}
			return nil
		})
	}
	if err := s.settle(ctx); err != nil {
		h.Fatal(err)
	}
	correct = s.stop()
	n := float64(h.sleepers)
	goal := fmt.Sprintf("≤ idle + %g × 0.3 MiB", n)
	h.more(fmt.Sprintf("%d run", h.sleepers), goal, n*0.3, running.Median(), idle, correct)
	h.more(fmt.Sprintf("at most, while %d start and run", h.sleepers), goal, n*0.3, peak, idle, correct)
}

// idle is a server that has run one program and has nothing to do, and what is resident of it.
func (h *house) idle(slots int) (s *server, resident Sample) {
	h.Helper()
	s = h.serve(settings{slots: slots})
	_, err := s.run(h.Context(), "bash", "echo 1", printsOne)
	if err == nil {
		err = s.settle(h.Context())
	}
	if err == nil {
		resident, err = s.resident(h.Context())
	}
	if err = errors.Join(err, s.forget()); err != nil {
		h.Fatal(err)
	}
	return s, resident
}

// more adds a row of what there is above idleness.
func (h *house) more(what, goal string, limit, now float64, idle Sample, correct string) {
	above := now - idle.Median()
	h.add(Row{
		What: "E  " + what, Ours: Figure{Unit: "MiB", Sample: Sample{now}}, Theirs: Figure{Name: "idle", Unit: "MiB", Sample: idle},
		Goal: goal, Value: fmt.Sprintf("%+.1f MiB", above), Met: above <= limit, Correct: correct,
	})
}

// resident looks several times: a garbage collection may come in between.
func (s *server) resident(ctx context.Context) (each Sample, err error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range 15 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		mib, err := s.memory("VmRSS")
		if err != nil {
			return nil, err
		}
		each = append(each, mib)
	}
	return each, nil
}

// sleepers starts n programs that sleep and waits until all run.
func (s *server) sleepers(ctx context.Context, n int) (ids []execution.ID, err error) {
	for range n {
		id, err := s.submit(ctx, s.me, "bash", "echo up\nexec sleep 3000")
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, await(ctx, fmt.Sprintf("%d run", n), pause, func() (bool, error) {
		running, _ := s.gauge("boomerang_executions_running")
		return running == n, nil
	})
}
