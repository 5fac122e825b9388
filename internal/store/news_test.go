package store_test

import (
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/store"
)

// TestNewsOfTwoProcessesAreReadOnceInTheirOrder lets both processes make deliveries pending in turn: the runner by the
// end of an execution, the API by a redelivery. Each of them opens the store again meanwhile.
func TestNewsOfTwoProcessesAreReadOnceInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	front, back := openPart(t, "sqlite", dir, store.Front), openPart(t, "sqlite", dir, store.Back)
	cursor, err := front.LatestNews(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expect := func(act string, want ...execution.ID) {
		t.Helper()
		news, next, err := front.News(t.Context(), cursor, 10)
		if err != nil {
			t.Fatal(err)
		}
		cursor = next
		var got []execution.ID
		for _, d := range news {
			got = append(got, d.Execution)
		}
		if len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Fatalf("News after %s: got %v, want %v", act, got, want)
		}
	}
	end := func() execution.ID {
		t.Helper()
		e := queued(1)
		e.Callback.URL = "https://receiver.example/"
		now := time.Now()
		if _, _, err := front.Enqueue(t.Context(), e, nil, execution.QueueLimits{}); err != nil {
			t.Fatal(err)
		}
		if err := back.Finish(t.Context(), e.ID,
			execution.Result{State: execution.Failed, Reason: execution.ImageUnavailable, CompletedAt: now},
			&execution.Delivery{Body: []byte("{}"), NextAt: now, CreatedAt: now}); err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	for round := range 3 {
		first := end()
		expect("the end of an execution", first)
		a := execution.Attempt{Execution: first, Number: 1, StartedAt: time.Now(), Outcome: execution.AttemptSucceeded}
		if err := front.Record(t.Context(), a, execution.Delivered, "", time.Time{}); err != nil {
			t.Fatal(err)
		}
		expect("its delivery")
		if err := front.Redeliver(t.Context(), first, time.Now()); err != nil {
			t.Fatal(err)
		}
		expect("a redelivery", first)
		if round == 1 {
			if err := back.Close(); err != nil {
				t.Fatal(err)
			}
			back = openPart(t, "sqlite", dir, store.Back)
		}
	}
}
