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

// queueModel models the queue: the state of each subject.
type queueModel map[string]*subjectModel

type subjectModel struct {
	waiting []execution.ID
	active  int
	served  int
}

// next returns the active executions and the last claim of the subject that must be served next: of the subjects that
// wait, one with the fewest active executions, and among these the one whose last claim is longest ago.
func (m queueModel) next() (active, served int) {
	best := slices.MinFunc(slices.Collect(maps.Values(m)), func(a, b *subjectModel) int {
		return cmp.Or(cmp.Compare(min(1, len(b.waiting)), min(1, len(a.waiting))), cmp.Compare(a.active, b.active),
			cmp.Compare(a.served, b.served))
	})
	return best.active, best.served
}

// TestTenThousandSubjectsAreServedInTheirOrder compares claims with the model while executions end.
func TestTenThousandSubjectsAreServedInTheirOrder(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const width, claims = 10_000, 12_500
	model := queueModel{}
	if err := s.writer.do(t.Context(), "fill", volatile, func(ctx context.Context, t *tx) (events, error) {
		for i := range 2 * width {
			e := sample(fmt.Sprint("subject", i%width))
			if _, err := t.insertExecution(ctx, e, queuePosition{place: waiting}); err != nil {
				return events{}, err
			}
			if err := t.countNew(ctx, e, waiting); err != nil {
				return events{}, err
			}
			if model[e.Subject] == nil {
				model[e.Subject] = &subjectModel{}
			}
			model[e.Subject].waiting = append(model[e.Subject].waiting, e.ID)
		}
		return events{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	var active, served int
	for i := 1; i <= claims; i++ {
		if i%50 == 1 { // checking each claim would take minutes
			active, served = model.next()
		}
		claimed, err := s.Claim(t.Context(), 1, execution.ClaimLimits{})
		if err != nil || len(claimed) != 1 {
			t.Fatalf("claimed %d, %v", len(claimed), err)
		}
		p := model[claimed[0].Subject]
		if i%50 == 1 && (p.active != active || p.served != served) {
			t.Fatalf("claim %d: served one with %d active, served at %d; one with %d, at %d waits", i, p.active,
				p.served, active, served)
		}
		if claimed[0].ID != p.waiting[0] {
			t.Fatalf("claim %d: %s has older ones than %s", i, claimed[0].Subject, claimed[0].ID)
		}
		p.waiting, p.active, p.served = p.waiting[1:], p.active+1, i
		// one of five ends at once, so that its subject has fewer active executions than subjects served before it
		if i%5 == 0 {
			r := execution.Result{State: execution.Failed, Reason: execution.StartFailed, CompletedAt: time.Now()}
			if err := s.Finish(t.Context(), claimed[0].ID, r,
				&execution.Delivery{Body: []byte("{}"), NextAt: time.Now(), CreatedAt: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if p.active--; len(p.waiting) == 0 && p.active == 0 {
				delete(model, claimed[0].Subject)
			}
		}
	}
	checkCounts(t, s)
}
