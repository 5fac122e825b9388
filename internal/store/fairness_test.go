package store

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"boomerang/internal/execution"
)

// line is the model of the queue: what each subject waits for, has in hand and was last served.
type line map[string]*party

type party struct {
	waiting []execution.ID
	active  int
	served  int
}

// next is the claim that is promised: of those who wait, one with the fewest claimed and running, and among these one whose
// last claim is longest ago; several are equally near while none of them was ever served.
func (l line) next() (active, served int) {
	best := slices.MinFunc(slices.Collect(maps.Values(l)), func(a, b *party) int {
		return cmp.Or(cmp.Compare(min(1, len(b.waiting)), min(1, len(a.waiting))), cmp.Compare(a.active, b.active), cmp.Compare(a.served, b.served))
	})
	return best.active, best.served
}

// With 10 000 subjects each claim is the one that the model promises, whatever ends meanwhile.
func TestTenThousandSubjectsAreServedInTheirOrder(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const width, claims = 10_000, 12_500
	everybody := line{}
	if err := s.writer.do(t.Context(), "fill", volatile, func(ctx context.Context, t *tx) (events, error) {
		for i := range 2 * width {
			e := sample(fmt.Sprint("subject", i%width))
			if _, err := t.insertExecution(ctx, e, queuePosition{place: waiting}); err != nil {
				return events{}, err
			}
			if err := t.countMove(ctx, e.Subject, nowhere, waiting); err != nil {
				return events{}, err
			}
			if everybody[e.Subject] == nil {
				everybody[e.Subject] = &party{}
			}
			everybody[e.Subject].waiting = append(everybody[e.Subject].waiting, e.ID)
		}
		return events{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	var active, served int
	for i := 1; i <= claims; i++ {
		if i%50 == 1 { // to look at all of them each time would take minutes; whoever comes in between may not come before
			active, served = everybody.next()
		}
		claimed, err := s.Claim(t.Context(), 1)
		if err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %d, %v", len(claimed), err)
		}
		p := everybody[claimed[0].Subject]
		if i%50 == 1 && (p.active != active || p.served != served) {
			t.Fatalf("claim %d: served one with %d active, served at %d; one with %d, at %d waits", i, p.active, p.served, active, served)
		}
		if claimed[0].ID != p.waiting[0] {
			t.Fatalf("claim %d: %s has older ones than %s", i, claimed[0].Subject, claimed[0].ID)
		}
		p.waiting, p.active, p.served = p.waiting[1:], p.active+1, i
		if i%5 == 0 { // one of five ends at once, so that its subject has fewer than others that were served before it
			r := execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: time.Now()}
			if err := s.Finish(t.Context(), claimed[0].ID, r, &execution.Delivery{Body: []byte("{}"), NextAt: time.Now(), CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if p.active--; len(p.waiting) == 0 && p.active == 0 {
				delete(everybody, claimed[0].Subject)
			}
		}
	}
	recount(t, s)
}
