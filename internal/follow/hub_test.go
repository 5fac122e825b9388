package follow

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/fault"
)

func TestOneQueryServesAllFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeExecution(execution.Running)
		h := newTestHub(s)
		var waits []func() error
		var notes []*eventLog
		for range 500 {
			n := &eventLog{}
			notes = append(notes, n)
			waits = append(waits, join(t, h, Position{}, nil, n.add))
		}
		s.print(execution.Stdout, "shared")
		time.Sleep(time.Second)
		s.end(0, "")
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Error(err)
			}
		}
		if s.gets != 2 || s.open != 0 {
			t.Errorf("the record was looked at %d times for 500 followers, want 2; %d readings are open",
				s.gets, s.open)
		}
		for _, n := range notes {
			if piece := string(n.events[1].Piece); piece != "shared" {
				t.Fatalf("a follower got %q", piece)
			}
		}
		if len(h.followed) != 0 {
			t.Errorf("%d are still followed", len(h.followed))
		}
	})
}

func TestAnUnknownExecutionCannotBeFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeExecution(execution.Running)
		h := newTestHub(s)
		s.err = fault.New(fault.ServiceUnavailable, "The disk is full.")
		if _, err := h.Join(t.Context(), testID); fault.Of(err).Code != fault.ServiceUnavailable {
			t.Errorf("got %v", err)
		}
		s.err = nil
		f, err := h.Join(t.Context(), testID)
		if err != nil {
			t.Fatalf("after that: %v", err)
		}
		f.Leave()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if f, err := h.Join(ctx, testID); err == nil {
			f.Leave() // set before the query
		}
	})
}

// A query that fails while a follower is present is repeated.
func TestAnUnavailableStoreEndsNoFollowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := newFakeExecution(execution.Running), &eventLog{}
		wait := join(t, newTestHub(s), Position{}, nil, n.add)
		synctest.Wait()
		s.move(func() { s.err = fault.New(fault.ServiceUnavailable, "The disk is full.") })
		time.Sleep(10 * time.Second)
		s.print(execution.Stdout, "all the same")
		time.Sleep(time.Second)
		s.mu.Lock()
		s.err, s.moves = nil, nil // without a signal
		s.mu.Unlock()
		s.end(0, "")
		time.Sleep(2 * retryPause)
		if err := wait(); err != nil {
			t.Error(err)
		}
		n.check(t, "status running 0 @o0.e0.s2", `output stdout "all the same" @o12.e0.s2`, "end @o12.e0.s3")
	})
}
