package store

import (
	"context"
	"slices"
	"testing"
	"time"
)

func TestLargeRowsAreRemovedInSmallBatches(t *testing.T) {
	s := open(t, t.TempDir())
	for name, c := range map[string]struct {
		takes       time.Duration // of each removal
		there       int
		limit, want int
		most        int // rows in the largest batch
	}{
		"large":                     {2 * removalTime, 10, 5, 5, 1},
		"small":                     {0, 1000, 500, 500, 500},
		"fewer than were asked for": {0, 7, 50, 7, 50},
		"none":                      {0, 0, 50, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			there, asked := c.there, []int(nil)
			removed, err := s.removeInBatches(t.Context(), "remove", c.limit,
				func(_ context.Context, _ *tx, n int) (int64, error) {
					asked = append(asked, n)
					gone := min(n, there)
					there -= gone
					time.Sleep(c.takes)
					return int64(gone), nil
				})
			if err != nil || removed != c.want || asked[0] != 1 || slices.Max(asked) > c.most {
				t.Errorf("removed %d, %v, in shares of %v; want %d, in shares of one at first and %d at most", removed,
					err, asked, c.want, c.most)
			}
			for i := 1; i < len(asked); i++ {
				if asked[i] > 2*asked[i-1] {
					t.Errorf("shares of %v: one is more than twice the one before it", asked)
				}
			}
		})
	}
}
