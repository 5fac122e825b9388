package execution_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/execution"
)

func TestEachLimitReadsAndWritesAFieldOfItsOwn(t *testing.T) {
	var all execution.Limits
	for i, l := range execution.AllLimits() {
		l.Set(&all, float64(i+1))
	}
	for i, l := range execution.AllLimits() {
		if got := l.Float(all); got != float64(i+1) {
			t.Errorf("%s: %v, want %d: another limit writes the same field", l.Name, got, i+1)
		}
		var one execution.Limits
		l.Copy(&one, all)
		if l.Of(one) != l.Value(float64(i+1)) || l.Target(&one) == nil {
			t.Errorf("%s: Copy gives %v, want %d", l.Name, l.Of(one), i+1)
		}
	}
}

func TestARequestOverridesRequestableLimitsUpToTheLargest(t *testing.T) {
	own := execution.Limits{Memory: 100, CPUs: 1, PIDs: 10, Files: 5, Tmp: 6}
	most := execution.Limits{Memory: 200}.Fill(own)
	if want := (execution.Limits{Memory: 200, CPUs: 1, PIDs: 10}); !cmp.Equal(most, want) {
		t.Fatalf("Fill = %+v, want %+v", most, want)
	}
	got := own.Override(execution.Limits{Memory: 300, CPUs: 0.5, Files: 50, Tmp: 60}, most)
	if want := (execution.Limits{Memory: 200, CPUs: 0.5, PIDs: 10, Files: 5, Tmp: 6}); !cmp.Equal(got, want) {
		t.Errorf("Override = %+v, want %+v", got, want)
	}
}

func TestOnlySixLimitsCanBeRequested(t *testing.T) {
	var got []string
	for _, l := range execution.RequestableLimits() {
		got = append(got, l.Name)
	}
	if want := []string{"memory", "cpus", "pids", "output", "workspace", "artifacts"}; !cmp.Equal(got, want) {
		t.Errorf("Requestable = %q, want %q", got, want)
	}
}
