//go:build bench

package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"boomerang/internal/client"
	"boomerang/internal/execution"
	"boomerang/internal/wire"
)

// depth measures the time from submission to start behind a long queue and behind none. A gate, which is a program that
// sleeps, holds the only slot. In each round the subject whose turn is next submits a program, the next gate is queued
// behind it, and the gate is cancelled. The times are those to the answer of the submission, and from the end of the
// gate to the start of the program.
func depth(h *harness) {
	ctx := h.Context()
	queues := []*queue{
		{name: "none", subjects: 1},
		{name: fmt.Sprintf("%d of one subject", h.queued), n: h.queued, subjects: 1},
		{name: fmt.Sprintf("%d of %d subjects", h.queued, h.queued/10), n: h.queued, subjects: h.queued / 10},
	}
	for _, q := range queues {
		q.server = h.serve(settings{slots: 1})
		q.answer, q.start, q.sum = Figure{Name: "none", Unit: "ms"}, Figure{Name: "none", Unit: "ms"},
			Figure{Name: "none", Unit: "ms"}
		if err := q.queueGate(ctx, 0); err != nil {
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
		if n := q.server.left(ctx); n != q.n { // none may have passed the gate
			q.server.wrong = append(q.server.wrong, fmt.Sprintf("%d executions wait, want %d", n, q.n))
		}
		for _, w := range q.server.wrong {
			h.Error(w)
			correct = "WRONG: " + w
		}
		q.server.kill() // ends the gate
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
			h.add(part.row(Row{
				What: "D  " + part.what + ", " + q.name, Ours: part.ours, Theirs: part.theirs,
				Correct: correct,
			}))
		}
	}
}

// queue is a server with a number of queued executions.
type queue struct {
	name               string
	n, subjects        int
	server             *server
	gate               execution.ID
	keeper             *client.Client
	answer, start, sum Figure
}

// fill submits the executions that wait.
func (h *harness) fill(q *queue) error {
	letters := make([][]byte, q.subjects)
	for i := range letters {
		letters[i] = h.rawRequest(q.server, fmt.Sprintf("subject%06d", i))
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
		err = fmt.Errorf("%d executions are stored, want %d", len(ids), q.n)
	}
	return err
}

// queueGate queues the next gate. The store orders subjects without a turn so far by name; those of the gates come
// first.
func (q *queue) queueGate(ctx context.Context, round int) (err error) {
	if q.keeper, err = q.server.clientFor(fmt.Sprintf("!%03d-gate", round)); err != nil {
		return err
	}
	if q.gate, err = q.server.submit(ctx, q.keeper, "bash", "exec sleep 600"); err != nil || round > 0 {
		return err
	}
	return q.server.started(ctx, q.keeper, q.gate)
}

// round runs one program.
func (q *queue) round(ctx context.Context, round int) error {
	s := q.server
	gate, keeper := q.gate, q.keeper
	c, err := s.clientFor(fmt.Sprintf("!%03d-first", round))
	if err != nil {
		return err
	}
	began := time.Now()
	id, err := s.submit(ctx, c, "bash", "echo 1")
	answered := Millis(time.Since(began))
	if err != nil {
		return err
	}
	if err := q.queueGate(ctx, round); err != nil {
		return err
	}
	if _, err := keeper.Cancel(ctx, gate); err != nil {
		return err
	}
	opened, err := s.h.callback(ctx, gate)
	if err != nil {
		return err
	}
	passed, err := s.h.callback(ctx, id)
	if err != nil {
		return err
	}
	s.checkResult(opened.Payload, func(p wire.Result) error {
		if p.Status != execution.Cancelled {
			return fmt.Errorf("the gate ended as %s", p.Status)
		}
		return nil
	})
	s.checkResult(passed.Payload, printsOne)
	if passed.Payload.StartedAt == nil {
		return errors.New("the program never started")
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

// left returns the number of queued executions.
func (s *server) left(context.Context) int {
	n, _ := s.gauge("boomerang_executions_queued")
	return n
}
