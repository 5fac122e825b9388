package doctor

import (
	"strings"
	"testing"

	"boomerang/internal/probe"
	"boomerang/internal/sandbox"
)

func TestTheReportShowsExpectedAndObserved(t *testing.T) {
	held := probe.Finding{
		Group: "limits", Name: "memory", Should: "as configured", Happened: "64, configured 64",
		Held: true,
	}
	open := probe.Finding{Group: "files", Name: "root", Should: "read-only", Happened: "written to: /etc"}
	report := Report{
		Engine: []sandbox.Fact{
			{Name: "runc", Value: "1.1.4", Weight: sandbox.Warning, Advice: "Update it."},
			{Name: "storage", Value: "overlay2", Weight: sandbox.Fine},
		},
		Languages: []Examined{{Language: "bash", Image: "boomerang/bash", Probes: []probe.Finding{held, open}}},
		Open:      1,
	}
	var out strings.Builder
	p := NewPrinter(&out)
	p.Facts(report.Engine)
	p.Language("bash", "boomerang/bash")
	p.Finding(held)
	p.Finding(open)
	p.Sum(report)
	for _, want := range []string{
		"CONTAINER ENGINE\n! runc", "1.1.4\n", "Update it.", "\nBASH (boomerang/bash)\n", "expected", "observed",
		"\n  limits\n  held  memory ", "\n  files\n  OPEN  root ",
		"\nChecks: 2. Languages: 1. Open: 1. Warnings about the engine: 1.\n",
		"\nOPEN in bash: files: root.\n  Expected: read-only.\n  Observed: written to: /etc.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}
