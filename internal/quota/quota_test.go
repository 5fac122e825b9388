package quota_test

import (
	"testing"

	"boomerang/internal/quota"
)

func TestASubjectHoldsAtMostItsQuota(t *testing.T) {
	q := quota.New(2)
	first, ok := q.Acquire("ann")
	if _, second := q.Acquire("ann"); !ok || !second {
		t.Fatalf("acquired %v and %v; want both", ok, second)
	}
	if _, ok := q.Acquire("ann"); ok {
		t.Error("a third was acquired; want 2 at most")
	}
	if _, ok := q.Acquire("bob"); !ok {
		t.Error("bob got none; want a share of his own")
	}
	first()
	first()
	if _, ok := q.Acquire("ann"); !ok {
		t.Error("nothing was acquired after a release")
	}
	if _, ok := q.Acquire("ann"); ok {
		t.Error("a release that was called twice returned two shares")
	}
}

func TestAQuotaOfZeroIsNoLimit(t *testing.T) {
	q := quota.New(0)
	for n := range 1000 {
		if _, ok := q.Acquire("ann"); !ok {
			t.Fatalf("refused after %d", n)
		}
	}
}
