//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/servertest"
	"boomerang/internal/wire"
)

// memory measures the resident memory of the server: idle, the peak while a program prints 1 GiB, and the peak while
// sleeping programs start and run. Resident memory includes the pages of the program file, which the kernel may drop at
// any time.
func memory(h *harness) {
	ctx := h.Context()
	s, idle := h.idle(1)
	if _, err := s.run(ctx, "python", gibibyte, printed); err != nil {
		h.Fatal(err)
	}
	printing, err := s.mebibytes("VmHWM")
	if err == nil {
		err = s.awaitRest(ctx)
	}
	if err != nil {
		h.Fatal(err)
	}
	correct := s.stop()
	h.add(Row{
		What: "E  idle", Ours: Figure{Unit: "MiB", Sample: idle}, Goal: "≤ 40 MiB", Met: idle.Median() <= 40,
		Correct: correct,
	})
	h.addAboveIdle("at most, while one prints 1 GiB", "≤ idle + 16 MiB", 16, printing, idle, correct)

	s, idle = h.idle(h.sleepers)
	ids, err := s.sleepers(ctx, h.sleepers)
	if err != nil {
		h.Fatal(err)
	}
	running, err := s.resident(ctx)
	if err != nil {
		h.Fatal(err)
	}
	peak, err := s.mebibytes("VmHWM")
	if err != nil {
		h.Fatal(err)
	}
	for _, id := range ids {
		if _, err := s.me.Cancel(ctx, id); err != nil {
			h.Fatal(err)
		}
	}
	for _, id := range ids {
		c, err := h.callback(ctx, id)
		if err != nil {
			h.Fatal(err)
		}
		s.checkResult(c.Payload, func(p wire.Result) error {
			if p.Status != execution.Cancelled || p.Stdout != "up\n" {
				return fmt.Errorf("%s, printed %q", p.Status, p.Stdout)
			}
			return nil
		})
	}
	if err := s.awaitRest(ctx); err != nil {
		h.Fatal(err)
	}
	correct = s.stop()
	n := float64(h.sleepers)
	goal := fmt.Sprintf("≤ idle + %g × 0.3 MiB", n)
	h.addAboveIdle(fmt.Sprintf("%d run", h.sleepers), goal, n*0.3, running.Median(), idle, correct)
	h.addAboveIdle(fmt.Sprintf("at most, while %d start and run", h.sleepers), goal, n*0.3, peak, idle, correct)
}

// idle starts a server, runs one program, and returns the resident memory afterwards in MiB.
func (h *harness) idle(slots int) (s *server, resident Sample) {
	h.Helper()
	s = h.serve(settings{slots: slots})
	_, err := s.run(h.Context(), "bash", "echo 1", printsOne)
	if err == nil {
		err = s.awaitRest(h.Context())
	}
	if err == nil {
		resident, err = s.resident(h.Context())
	}
	if err = errors.Join(err, s.resetPeak()); err != nil {
		h.Fatal(err)
	}
	return s, resident
}

// addAboveIdle adds a row that compares a value with that of the idle server.
func (h *harness) addAboveIdle(what, goal string, limit, now float64, idle Sample, correct string) {
	above := now - idle.Median()
	h.add(Row{
		What: "E  " + what, Ours: Figure{Unit: "MiB", Sample: Sample{now}}, Theirs: Figure{
			Name: "idle", Unit: "MiB",
			Sample: idle,
		},
		Goal: goal, Value: fmt.Sprintf("%+.1f MiB", above), Met: above <= limit, Correct: correct,
	})
}

// resident measures the resident memory several times in MiB, as a garbage collection may run in between.
func (s *server) resident(ctx context.Context) (each Sample, err error) {
	for range 15 {
		if !servertest.Rest(ctx, 200*time.Millisecond) {
			return nil, context.Cause(ctx)
		}
		mib, err := s.mebibytes("VmRSS")
		if err != nil {
			return nil, err
		}
		each = append(each, mib)
	}
	return each, nil
}

// sleepers starts n sleeping programs and waits until all run.
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
