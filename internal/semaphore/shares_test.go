package semaphore_test

import (
	"context"
	"testing"
	"testing/synctest"

	"boomerang/internal/semaphore"
)

func TestAKeyWaitsForItsOwnPlacesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := semaphore.NewShares(1)
		first, err := s.Acquire(t.Context(), "ann")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan func(), 1)
		go func() {
			release, _ := s.Acquire(t.Context(), "ann")
			got <- release
		}()
		bob, err := s.Acquire(t.Context(), "bob")
		if err != nil {
			t.Fatal(err)
		}
		bob()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("ann has two places of one")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if release, err := s.Acquire(ended, "ann"); err == nil || release != nil {
			t.Error("Acquire with an ended context returned a place")
		}
		first()
		first() // releases no second place
		second := <-got
		go func() {
			release, _ := s.Acquire(t.Context(), "ann")
			got <- release
		}()
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("a release that was called twice returned two places")
		}
		second()
		(<-got)()
	})
}
