//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// depth measures the time from submission to start when many executions wait and when none does. One slot is held by a
// gate, a program that sleeps. In each round a subject whose turn is next submits a program, and behind it the next gate is
// queued; then the gate is opened. What counts is how long the submission was answered after, and how long after the gate's
// end the program started.
func depth(h *house) {
	ctx := h.Context()
	queues := []*line{
		{name: "none", subjects: 1},
		{name: fmt.Sprintf("%d of one subject", h.queued), n: h.queued, subjects: 1},
		{name: fmt.Sprintf("%d of %d subjects", h.queued, h.queued/10), n: h.queued, subjects: h.queued / 10},
	}
	for _, q := range queues {
		q.server = h.serve(settings{slots: 1})
		q.answer, q.start, q.sum = Figure{Name: "none", Unit: "ms"}, Figure{Name: "none", Unit: "ms"}, Figure{Name: "none", Unit: "ms"}
		if err := q.shut(ctx, 0); err != nil {
			h.Fatal(err)
		}
		if err := h.fill(q); err != nil {
			h.Fatal(err)
		}
	}
	for round := 1; round <= max(h.rounds/2, 3); round++ {
		for _, q := range queues {
			if err := q.round(ctx, round); err != nil {
				h.Fatalf("%s: %v", q.name, err)
			}
		}
	}
	for _, q := range queues {
		correct := fmt.Sprintf("all %d", len(q.answer.Sample))
		if n := q.server.left(ctx); n != q.n { // none of them may have slipped through the gate
			q.server.wrong = append(q.server.wrong, fmt.Sprintf("%d wait, want %d", n, q.n))
		}
		for _, w := range q.server.wrong {
			h.Error(w)
			correct = "WRONG: " + w
		}
		q.server.kill() // the gate would stay behind
		if q == queues[0] {
			continue
		}
		for _, part := range []struct {
			what         string
			ours, theirs Figure
			row          func(Row) Row
		}{
			{"submit to start", q.sum, queues[0].sum, func(r Row) Row { return AtMost(1.2, r) }},
			{"the answer", q.answer, queues[0].answer, beside},
			{"end to next start", q.start, queues[0].start, beside},
		} {
			part.ours.Name = ""
			h.add(part.row(Row{What: "D  " + part.what + ", " + q.name, Ours: part.ours, Theirs: part.theirs, Correct: correct}))
		}
	}
}

// line is a server with so many executions in line.
type line struct {
	name               string
	n, subjects        int
	server             *server
	gate               execution.ID
	keeper             *client.Client
	answer, start, sum Figure
}

// fill submits what is to wait.
func (h *house) fill(q *line) error {
	letters := make([][]byte, q.subjects)
	for i := range letters {
		letters[i] = h.letter(q.server, fmt.Sprintf("subject%06d", i))
	}
	var n atomic.Int64
	_, ids, err := flood(h.Context(), q.server.addr, func(int) []byte {
		i := int(n.Add(1))
		if i > q.n {
			return nil
		}
		return letters[i%len(letters)]
	})
	if err == nil && len(ids) != q.n {
		err = fmt.Errorf("%d are stored, want %d", len(ids), q.n)
	}
	return err
}

// shut queues the next gate. Among subjects that were never served the store goes by name, and ours come before all.
func (q *line) shut(ctx context.Context, round int) (err error) {
	if q.keeper, err = q.server.as(fmt.Sprintf("!%03d-gate", round)); err != nil {
		return err
	}
	if q.gate, err = q.server.submit(ctx, q.keeper, "bash", "exec sleep 600"); err != nil || round > 0 {
		return err
	}
	return q.server.started(ctx, q.keeper, q.gate)
}

// round lets one program through.
func (q *line) round(ctx context.Context, round int) error {
	s := q.server
	gate, keeper := q.gate, q.keeper
	c, err := s.as(fmt.Sprintf("!%03d-first", round))
	if err != nil {
		return err
	}
	began := time.Now()
	id, err := s.submit(ctx, c, "bash", "echo 1")
	answered := Millis(time.Since(began))
	if err != nil {
		return err
	}
	if err := q.shut(ctx, round); err != nil {
		return err
	}
	if _, err := keeper.Cancel(ctx, gate); err != nil {
		return err
	}
	opened, err := s.h.hook.await(ctx, gate)
	if err != nil {
		return err
	}
	passed, err := s.h.hook.await(ctx, id)
	if err != nil {
		return err
	}
	s.judge(opened.Payload, func(p wire.Result) error {
		if p.Status != execution.Cancelled {
			return fmt.Errorf("the gate ended as %s", p.Status)
		}
		return nil
	})
	s.judge(passed.Payload, printsOne)
	if passed.Payload.StartedAt == nil {
		return errors.New("it never started")
	}
	start := Millis(passed.Payload.StartedAt.Sub(opened.Payload.CompletedAt))
	q.answer.Sample, q.start.Sample = append(q.answer.Sample, answered), append(q.start.Sample, start)
	q.sum.Sample = append(q.sum.Sample, answered+start)
	return s.started(ctx, q.keeper, q.gate)
}

// started waits until an execution runs.
func (s *server) started(ctx context.Context, c *client.Client, id execution.ID) error {
	return await(ctx, string(id)+" runs", pause, func() (bool, error) {
		r, err := c.Get(ctx, id, 0)
		return r.Status == execution.Running, err
	})
}

// left is how many executions wait.
func (s *server) left(context.Context) int {
	n, _ := s.gauge("boomerang_executions_queued")
	return n
}

func silent() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}
