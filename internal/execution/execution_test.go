package execution_test

import (
	"slices"
	"testing"
	"time"

	"boomerang/internal/execution"
)

func TestIDsSortByTheTimeTheyWereMade(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []execution.ID
	for i := range 200 {
		ids = append(ids, execution.NewID(start.Add(time.Duration(i*i)*time.Millisecond)))
	}
	// Two IDs of one millisecond may sort in any order, so each ID here but the first two has a millisecond of its own.
	if !slices.IsSorted(ids) {
		t.Errorf("IDs made one after another do not sort: %v", ids)
	}
}

func TestIDsAreUnique(t *testing.T) {
	now := time.Now()
	seen := map[execution.ID]bool{}
	for range 10_000 {
		id := execution.NewID(now)
		if seen[id] {
			t.Fatalf("%s was made twice", id)
		}
		seen[id] = true
		if !id.Valid() {
			t.Fatalf("%s is not valid", id)
		}
	}
}

func TestValidAcceptsOnlyIDsOfNewID(t *testing.T) {
	for _, id := range []execution.ID{
		"", "exec_", "exec_abc123", "exec_0123456789abcdefghijklmnoz", "exec_0123456789ABCDEFGHIJKLMNOP",
		"EXEC_0123456789abcdefghijklmnop", "exec_0123456789abcdefghijklmnopq", "0123456789abcdefghijklmnop",
	} {
		if id.Valid() {
			t.Errorf("%q is considered a valid ID", id)
		}
	}
}

func TestNothingFollowsATerminalState(t *testing.T) {
	for _, from := range execution.States() {
		for _, to := range execution.States() {
			if from.Terminal() && from.CanBecome(to) {
				t.Errorf("%s is terminal and can become %s", from, to)
			}
		}
	}
}

func TestEveryStateCanReachAnEnd(t *testing.T) {
	for _, s := range execution.States() {
		if !s.Terminal() && !slices.ContainsFunc(execution.States(), func(to execution.State) bool {
			return to.Terminal() && s.CanBecome(to)
		}) {
			t.Errorf("no terminal state follows %s", s)
		}
	}
}

func TestAQueuedExecutionCannotCompleteWithoutRunning(t *testing.T) {
	for _, to := range []execution.State{execution.Completed, execution.Timeout} {
		if execution.Queued.CanBecome(to) {
			t.Errorf("queued can become %s", to)
		}
	}
}

func TestFirstIDSortsBeforeTheIDsOfItsMillisecond(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	first := execution.FirstID(at)
	if !first.Valid() || first != execution.FirstID(at.Add(999*time.Microsecond)) {
		t.Errorf("FirstID = %s, want one valid ID for each millisecond", first)
	}
	for range 100 {
		before, same := execution.NewID(at.Add(-time.Millisecond)), execution.NewID(at)
		if before >= first || same <= first {
			t.Fatalf("%s, %s and %s do not sort in this order", before, first, same)
		}
	}
}
