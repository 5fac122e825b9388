//go:build e2e

package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// knownDifferences is the page with the table of differences from an ordinary machine. The rows are numbered.
const knownDifferences = "../../docs/LANGUAGES.md"

// The programs of testdata/differences show the rows of the table: NUMBER.EXT, or NUMBER-NAME.EXT if a row has several
// programs. Comment lines that begin with "want:" and "end:" hold the expected output and the expected end.
func TestTheKnownDifferencesAreAsTheTableSays(t *testing.T) {
	page, err := os.ReadFile(knownDifferences)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## Known differences\n")
	if !found {
		t.Fatalf("%s has no table", knownDifferences)
	}
	table, _, _ = strings.Cut(table, "\n## ")
	untried := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9]+) \|`).FindAllStringSubmatch(table, -1) {
		untried[row[1]] = true
	}
	files, err := filepath.Glob("testdata/differences/*")
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := language.Open(language.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	h := newHarness(t)
	ids := map[string]execution.ID{}
	wants := map[string]difference{}
	for _, file := range files {
		name := filepath.Base(file)
		number := regexp.MustCompile(`^[0-9]+`).FindString(name)
		if _, there := untried[number]; !there {
			t.Errorf("%s shows row %s, and there is none", name, number)
		}
		untried[number] = false
		l := ofEnding(t, catalogue, filepath.Ext(name))
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		wants[name] = wanted(t, string(code))
		ids[name] = h.submit(string(code), fields{"language": l, "timeout": 20})
	}
	for number, is := range untried {
		if is {
			t.Errorf("no program shows row %s", number)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		t.Run(name, func(t *testing.T) {
			p := h.awaitCallback(ids[name]).Payload
			got := difference{stdout: p.Stdout, end: string(p.Reason) + " " + strconv.Itoa(exitCode(p.ExitCode))}
			if got != wants[name] {
				t.Errorf("got %+v, want %+v; stderr %q", got, wants[name], p.Stderr)
			}
		})
	}
}

// difference is what a program shows.
type difference struct{ stdout, end string }

// wanted reads what a program is to print and how it is to end; without a word of it well.
func wanted(t *testing.T, code string) difference {
	t.Helper()
	want := difference{end: "exited 0"}
	for line := range strings.Lines(code) {
		line = strings.TrimRight(line, "\r\n")
		if _, text, found := strings.Cut(line, "want: "); found {
			text, err := strconv.Unquote(`"` + text + `\n"`)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			want.stdout += text
		}
		if _, text, found := strings.Cut(line, "end: "); found {
			want.end = text
		}
	}
	return want
}

// ofEnding returns the language whose programs have this ending.
func ofEnding(t *testing.T, catalogue *language.Catalogue, ending string) string {
	t.Helper()
	for _, l := range catalogue.Languages() {
		if !l.Optional && filepath.Ext(l.File) == ending {
			return l.Name
		}
	}
	t.Fatalf("no language has the ending %s", ending)
	return ""
}
