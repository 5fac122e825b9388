package semaphore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"boomerang/internal/semaphore"
)

func TestAcquireWaitsForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := semaphore.New(2)
		first, err := s.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		third := make(chan error, 1)
		go func() {
			_, err := s.Acquire(t.Context())
			third <- err
		}()
		synctest.Wait()
		if len(third) > 0 {
			t.Fatal("Acquire returned while both places were taken")
		}
		first()
		first() // releases no second place
		if err := <-third; err != nil {
			t.Errorf("Acquire after a release: %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("stopped")
		cancel(cause)
		if release, err := s.Acquire(ctx); !errors.Is(err, cause) || release != nil {
			t.Errorf("Acquire with an ended context: got %v, want %v and no release", err, cause)
		}
	})
}
