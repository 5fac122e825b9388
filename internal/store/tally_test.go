package store_test

import (
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/store"
)

func TestTallyCountsExecutionsAndDeliveries(t *testing.T) {
	s, err := store.Open(t.Context(), t.TempDir(), store.Defaults(), discardLog())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // nothing more is written
	now := time.Now()
	for range 6 {
		e := queued(1)
		e.Callback = execution.Callback{URL: "https://example.com/hook"}
		if _, _, err := s.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
	}
	claimed, err := s.Claim(t.Context(), 5, execution.ClaimLimits{})
	if err != nil {
		t.Fatal(err)
	}
	for n, e := range claimed[:4] { // one stays claimed, which counts as queued
		run := execution.Run{
			Node: s.Node(), Epoch: s.Epoch(), Container: "b", Nonce: "n", StartedAt: now,
			Deadline: now.Add(time.Hour),
		}
		if err := s.Start(t.Context(), e.ID, run); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			continue
		}
		r := execution.Result{State: execution.Failed, Reason: execution.Lost, CompletedAt: now}
		d := &execution.Delivery{
			Execution: e.ID, State: execution.Pending, Body: []byte("{}"), CreatedAt: now,
			NextAt: now,
		}
		if err := s.Finish(t.Context(), e.ID, r, d); err != nil {
			t.Fatal(err)
		}
	}
	a := execution.Attempt{
		Execution: claimed[1].ID, Number: 1, StartedAt: now, Outcome: execution.AttemptStatus,
		StatusCode: 410,
	}
	if err := s.Record(t.Context(), a, execution.Dead, execution.Gone, time.Time{}); err != nil {
		t.Fatal(err)
	}
	want := execution.Tally{Queued: 2, Running: 1, Pending: 2, Dead: 1}
	if got, err := s.Tally(t.Context()); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
