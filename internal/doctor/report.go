package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
)

// Report is the machine-readable report.
type Report struct {
	Engine    []sandbox.Fact `json:"engine"`
	Languages []Examined     `json:"languages"`
	Open      int            `json:"open"` // number of failed checks; warnings about the engine do not count
}

// Examined holds the findings for one language.
type Examined struct {
	Language string          `json:"language"`
	Image    string          `json:"image"`
	Probes   []probe.Finding `json:"probes"`
}

// Printer writes a report for people, line by line. It ignores write errors, because the report is the only output.
type Printer struct {
	w     io.Writer
	group string
}

// NewPrinter returns a printer that writes to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Widths of the columns, in characters.
const (
	nameWidth     = 30
	shouldWidth   = 48
	happenedWidth = 72
)

func (p *Printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

// Facts prints the properties of the engine.
func (p *Printer) Facts(facts []sandbox.Fact) {
	p.line("CONTAINER ENGINE")
	for _, f := range facts {
		word := "  "
		switch f.Weight {
		case sandbox.Fine:
		case sandbox.Note:
			word = "· "
		case sandbox.Warning:
			word = "! "
		}
		p.line("%s%s %s", word, column(f.Name, nameWidth), f.Value)
		if f.Advice != "" {
			p.line("  %s %s", column("", nameWidth), f.Advice)
		}
	}
}

// Language prints the header of a language.
func (p *Printer) Language(name, image string) {
	p.group = ""
	p.line("\n%s (%s)", strings.ToUpper(name), image)
	p.line("        %s %s %s", column("check", nameWidth), column("expected", shouldWidth), "observed")
}

// Finding prints one finding.
func (p *Printer) Finding(f probe.Finding) {
	if f.Group != p.group {
		p.group = f.Group
		p.line("  %s", f.Group)
	}
	word := "held"
	if !f.Held {
		word = "OPEN"
	}
	p.line("  %s  %s %s %s", word, column(f.Name, nameWidth), column(f.Should, shouldWidth),
		cut(f.Happened, happenedWidth))
}

// Sum prints the totals and the failed checks.
func (p *Printer) Sum(r Report) {
	count := 0
	for _, l := range r.Languages {
		count += len(l.Probes)
	}
	p.line("\nChecks: %d. Languages: %d. Open: %d. Warnings about the engine: %d.", count, len(r.Languages), r.Open,
		len(sandbox.Warnings(r.Engine)))
	for _, l := range r.Languages {
		for _, f := range l.Probes {
			if !f.Held {
				p.line("\nOPEN in %s: %s: %s.\n  Expected: %s.\n  Observed: %s.", l.Language, f.Group, f.Name,
					f.Should, f.Happened)
			}
		}
	}
}

// column returns text in exactly width characters.
func column(text string, width int) string {
	text = cut(text, width)
	return text + strings.Repeat(" ", width-utf8.RuneCountInString(text))
}

func cut(text string, width int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}
