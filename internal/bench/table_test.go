package bench

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestASampleHasItsPercentilesInAnyOrder(t *testing.T) {
	s := Sample{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 0.25: 2, 0.5: 3, 0.6: 3.4, 1: 5} {
		if got := s.At(p); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %g: got %g, want %g", p, got, want)
		}
	}
	if !slices.Equal(s, Sample{5, 1, 4, 2, 3}) {
		t.Errorf("the sample was sorted in place: %v", s)
	}
	if got := (Sample{}).Median(); !math.IsNaN(got) {
		t.Errorf("median of an empty sample: got %g, want NaN", got)
	}
}

func TestAVerdictFollowsTheRatioOfTheMedians(t *testing.T) {
	r := Row{Ours: Figure{Sample: Sample{12, 10, 11}}, Theirs: Figure{Name: "raw", Sample: Sample{10, 10, 10}}}
	for _, c := range []struct {
		row           Row
		verdict, goal string
	}{
		{AtMost(1.1, r), "met", "≤ 1.10 × raw"},
		{AtMost(1.09, r), "missed", "≤ 1.09 × raw"},
		{AtLeast(1.1, r), "met", "≥ 1.10 × raw"},
		{AtLeast(1.11, r), "missed", "≥ 1.11 × raw"},
		{r, "", ""},
	} {
		if got := c.row.Verdict(); got != c.verdict || c.row.Goal != c.goal {
			t.Errorf("got %q for %q, want %q for %q", got, c.row.Goal, c.verdict, c.goal)
		}
	}
	if got, want := AtMost(1.1, r).Value, "1.10 (1.05–1.15)"; got != want {
		t.Errorf("got the ratio %s, want %s", got, want)
	}
}

func TestRewriteReplacesOnlyTheTable(t *testing.T) {
	table := Table{Rows: []Row{{What: "new row"}}}
	document := "before\n" + beginMark + "old row\n" + endMark + "\nafter\n"
	got, err := table.Rewrite(document)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "old row") || !strings.Contains(got, "| new row |") ||
		!strings.HasPrefix(got, "before\n"+beginMark) || !strings.HasSuffix(got, endMark+"\nafter\n") {
		t.Errorf("got\n%s", got)
	}
	if again, err := table.Rewrite(got); err != nil || again != got {
		t.Errorf("a second Rewrite returned\n%s\n%v", again, err)
	}
	for _, broken := range []string{"", beginMark, endMark + beginMark} {
		if _, err := table.Rewrite(broken); !errors.Is(err, errNoPlace) {
			t.Errorf("%q: got %v, want %v", broken, err, errNoPlace)
		}
	}
}
