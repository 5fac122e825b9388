package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// Row compares what boomerang needs with what something else needs, and with what is promised.
type Row struct {
	What   string `json:"what"`
	Ours   Figure `json:"ours"`
	Theirs Figure `json:"theirs,omitzero"` // zero: there is nothing to compare with
	Goal   string `json:"goal,omitempty"`  // empty: nothing is promised
	// Value is what the goal is about, as it is shown: a ratio, mostly.
	Value   string `json:"value,omitempty"`
	Met     bool   `json:"met"`     // when there is a goal
	Correct string `json:"correct"` // what was looked at beside the clock, and what was wrong with it
}

// Verdict is what became of the goal.
func (r Row) Verdict() string {
	switch {
	case r.Goal == "":
		return ""
	case r.Met:
		return "met"
	}
	return "missed"
}

// AtMost makes a row whose goal is that ours is at most so many times theirs.
func AtMost(limit float64, r Row) Row {
	return r.ratio("≤", limit, func(ratio float64) bool { return ratio <= limit })
}

// AtLeast makes a row whose goal is that ours is at least so many times theirs.
func AtLeast(limit float64, r Row) Row {
	return r.ratio("≥", limit, func(ratio float64) bool { return ratio >= limit })
}

func (r Row) ratio(sign string, limit float64, met func(float64) bool) Row {
	ratio := r.Ours.Sample.Median() / r.Theirs.Sample.Median()
	r.Goal, r.Met = fmt.Sprintf("%s %s × %s", sign, digits(limit), r.Theirs.Name), met(ratio)
	r.Value = digits(ratio)
	if rounds := r.Ours.Sample.Over(r.Theirs.Sample); len(rounds) > 1 {
		r.Value += fmt.Sprintf(" (%s–%s)", digits(rounds.At(0.25)), digits(rounds.At(0.75)))
	}
	return r
}

// Table is all that one run of the bench found out.
type Table struct {
	Machine []string  `json:"machine"` // facts, one a line
	Begun   time.Time `json:"begun"`
	Took    string    `json:"took"`
	Rows    []Row     `json:"rows"`
	// Notes are smaller tables that say where the time goes, each already laid out.
	Notes []Note `json:"notes"`
}

// Note is a list of lines with a heading; a tab ends a cell.
type Note struct {
	Heading string   `json:"heading"`
	Lines   []string `json:"lines"`
}

var columns = []string{"", "boomerang", "beside it", "ratio", "goal", "verdict", "correct"}

func (r Row) cells() []string {
	return []string{r.What, r.Ours.String(), r.Theirs.String(), r.Value, r.Goal, r.Verdict(), r.Correct}
}

// Print lays the table out for a terminal.
func (t Table) Print(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines := []string{""}
	lines = append(lines, t.Machine...)
	lines = append(lines, "", strings.Join(columns, "\t"))
	for _, r := range t.Rows {
		lines = append(lines, strings.Join(r.cells(), "\t"))
	}
	for _, n := range t.Notes {
		lines = append(lines, "", n.Heading)
		lines = append(lines, n.Lines...)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return fmt.Errorf("print table: %w", err)
		}
	}
	return out.Flush()
}

// Markdown lays the table out for a document.
func (t Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, in %s.\n", t.Begun.Format("2 January 2006"), t.Took)
	for _, fact := range t.Machine {
		fmt.Fprintf(&b, "%s.\n", fact)
	}
	fmt.Fprintf(&b, "\n| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range t.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.cells(), " | "))
	}
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "\n%s\n\n", n.Heading)
		lines := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, line := range n.Lines {
			_, _ = fmt.Fprintf(lines, "    %s\n", line)
		}
		_ = lines.Flush() // a strings.Builder takes everything
	}
	return b.String()
}

// Save writes the table, with every value that was measured, as JSON.
func (t Table) Save(path string) error {
	text, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return fmt.Errorf("save table: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// The marks in a document between which the table is.
const (
	beginMark = "<!-- table: written by make bench DOC=1 -->\n"
	endMark   = "<!-- /table -->"
)

var errNoPlace = errors.New("the document has no place for the table")

// Rewrite puts the table into a document in place of the one that is there.
func (t Table) Rewrite(document string) (string, error) {
	head, rest, ok := strings.Cut(document, beginMark)
	_, tail, closed := strings.Cut(rest, endMark)
	if !ok || !closed {
		return "", errNoPlace
	}
	return head + beginMark + "\n" + t.Markdown() + "\n" + endMark + tail, nil
}
