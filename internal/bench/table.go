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

// Row compares a figure of boomerang with another figure and with a goal.
type Row struct {
	What   string `json:"what"`
	Ours   Figure `json:"ours"`
	Theirs Figure `json:"theirs,omitzero"` // zero if there is no comparison
	Goal   string `json:"goal,omitempty"`  // empty if nothing is promised
	// Value is the figure that the goal limits, mostly a ratio.
	Value   string `json:"value,omitempty"`
	Met     bool   `json:"met"`     // whether the goal is met
	Correct string `json:"correct"` // result of the checks of outputs and callbacks
}

// Verdict returns "met", "missed", or "" without a goal.
func (r Row) Verdict() string {
	switch {
	case r.Goal == "":
		return ""
	case r.Met:
		return "met"
	}
	return "missed"
}

// AtMost returns r with the goal that Ours is at most limit times Theirs.
func AtMost(limit float64, r Row) Row {
	return r.ratio("≤", limit, func(ratio float64) bool { return ratio <= limit })
}

// AtLeast returns r with the goal that Ours is at least limit times Theirs.
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

// Table has the results of one run of the bench.
type Table struct {
	Machine []string  `json:"machine"` // one fact per line
	Begun   time.Time `json:"begun"`
	Took    string    `json:"took"`
	Rows    []Row     `json:"rows"`
	// Notes are smaller tables that show the parts of the time.
	Notes []Note `json:"notes"`
}

// Note is a list of lines with a heading. A tab ends a cell.
type Note struct {
	Heading string   `json:"heading"`
	Lines   []string `json:"lines"`
}

var columns = []string{"", "boomerang", "beside it", "ratio", "goal", "verdict", "correct"}

func (r Row) cells() []string {
	return []string{r.What, r.Ours.String(), r.Theirs.String(), r.Value, r.Goal, r.Verdict(), r.Correct}
}

// Print writes the table for a terminal.
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

// Markdown returns the table for a document.
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
		_ = lines.Flush() // a strings.Builder returns no error
	}
	return b.String()
}

// Save writes the table with all measured values as JSON.
func (t Table) Save(path string) error {
	text, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return fmt.Errorf("save table: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// The marks before and after the table in a document.
const (
	beginMark = "<!-- table: written by make bench DOC=1 -->\n"
	endMark   = "<!-- /table -->"
)

var errNoPlace = errors.New("the document has no place for the table")

// Rewrite returns a document with its table replaced.
func (t Table) Rewrite(document string) (string, error) {
	head, rest, ok := strings.Cut(document, beginMark)
	_, tail, closed := strings.Cut(rest, endMark)
	if !ok || !closed {
		return "", errNoPlace
	}
	return head + beginMark + "\n" + t.Markdown() + "\n" + endMark + tail, nil
}
