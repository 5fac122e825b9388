//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"boomerang/internal/execution"
	"boomerang/internal/language"
	"boomerang/internal/wire"
)

// selectedLanguages returns the languages in the environment variable LANGUAGES or, if that is empty, those that are
// not optional. A missing image fails the test.
func selectedLanguages(t testing.TB) []language.Language {
	t.Helper()
	catalogue, err := language.Open(language.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	named := strings.Fields(os.Getenv("LANGUAGES"))
	if len(named) == 0 {
		return slices.DeleteFunc(catalogue.Languages(), func(l language.Language) bool { return l.Optional })
	}
	var list []language.Language
	for _, name := range named {
		l, err := catalogue.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

// programs is the directory of the programs: a folder per language, a file per trial.
const programs = "testdata/languages"

// program returns the code of a trial. A language such as python-data falls back to the programs of python.
func program(t testing.TB, l language.Language, trial string) string {
	t.Helper()
	for _, folder := range []string{l.Name, strings.SplitN(l.Name, "-", 2)[0]} {
		files, err := filepath.Glob(filepath.Join(programs, folder, trial+".*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 1 {
			code, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			return string(code)
		}
	}
	t.Fatalf("%s has no program for the trial %s", l.Name, trial)
	return ""
}

// trial is a program that exists in every language, and its expected result.
type trial struct {
	name    string
	request fields
	stdout  func(t *testing.T) string // nil if it prints nothing
	stderr  string                    // a part of stderr; empty if it prints nothing there
	failed  bool
	code    int // 0 allows any code if failed is true
}

func prints(text string) func(*testing.T) string { return func(*testing.T) string { return text } }

var trials = []trial{
	{name: "hello", stdout: prints("hello\n")},
	{name: "broken", failed: true, stderr: "{file}"}, // never starts
	{name: "exception", stdout: prints("before\n"), failed: true, stderr: "boom"},
	{name: "exit", failed: true, code: 7, stderr: "leaving\n"},
	{name: "stdin", request: fields{"stdin": "1\n2\n39\n"}, stdout: prints("42\n")},
	{name: "unicode", stdout: prints("žluťoučký kůň, 日本語, 🚀\n")},
	{name: "compute"}, // see checkPrimes
}

func TestEveryLanguagePassesItsTrials(t *testing.T) {
	languages := selectedLanguages(t)
	h := newHarness(t, withSlots(2))
	h.requireLanguages(languages)
	type running struct {
		language language.Language
		trial    trial
		id       execution.ID
	}
	var all []running
	for _, l := range languages {
		for _, r := range trials {
			all = append(all, running{l, r, h.submit(program(t, l, r.name), fields{"language": l.Name, "timeout": 300},
				r.request)})
		}
	}
	for _, r := range all {
		t.Run(r.language.Name+"/"+r.trial.name, func(t *testing.T) {
			p := h.awaitCallback(r.id).Payload
			r.trial.check(t, r.language, p)
			logCost(t, p)
		})
	}
}

// requireLanguages fails the test unless the server offers the languages, which it does if it finds their images.
func (h *harness) requireLanguages(languages []language.Language) {
	h.t.Helper()
	_, answer := h.call("GET", "/health", nil)
	listed := fmt.Sprint(answer["features"].(map[string]any)["languages"])
	for _, l := range languages {
		if !slices.Contains(strings.Fields(strings.Trim(listed, "[]")), l.Name) {
			h.t.Fatalf("the server does not offer %s, but %s: run make images LANGUAGES=%s", l.Name, listed, l.Name)
		}
	}
}

// check compares the result of the trial in language l with the expected one.
func (r trial) check(t *testing.T, l language.Language, p wire.Result) {
	t.Helper()
	status := execution.Completed
	if r.failed {
		status = execution.Failed
	}
	if p.Language != l.Name || p.Status != status || p.ExitCode == nil || *p.ExitCode == 0 && r.failed || r.code != 0 &&
		*p.ExitCode != r.code {
		t.Errorf("%s: got %s/%s with exit code %v, want %s with %d", p.Language, p.Status, p.Reason,
			exitCode(p.ExitCode), status, r.code)
	}
	switch {
	case r.name == "compute":
		checkPrimes(t, p.Stdout)
	case r.stdout == nil && p.Stdout != "", r.stdout != nil && p.Stdout != r.stdout(t):
		t.Errorf("got stdout %q", p.Stdout)
	}
	want := strings.ReplaceAll(r.stderr, "{file}", l.File)
	if l.Name == "r" && r.name == "broken" {
		want = "unexpected" // R does not name the file
	}
	if !strings.Contains(p.Stderr, want) || want == "" && p.Stderr != "" {
		t.Errorf("got stderr %q, want it to contain %q", p.Stderr, want)
	}
	if t.Failed() {
		t.Logf("stdout %q, stderr %q", p.Stdout, p.Stderr)
	}
}

// checkPrimes checks the output of a program: a number, and the count of the primes below it.
func checkPrimes(t *testing.T, said string) {
	t.Helper()
	var below, count int
	if _, err := fmt.Sscan(said, &below, &count); err != nil {
		t.Fatalf("got %q, want two numbers", said)
	}
	composite := make([]bool, below)
	want := 0
	for n := 2; n < below; n++ {
		if composite[n] {
			continue
		}
		want++
		for m := n * n; m < below; m += n {
			composite[m] = true
		}
	}
	if count != want {
		t.Errorf("got %d primes below %d, want %d", count, below, want)
	}
}

// exitCode returns *code, or noExitCode if code is nil.
func exitCode(code *int) int {
	if code == nil {
		return noExitCode
	}
	return *code
}

// libraryPrograms maps each language with libraries to parts of the output of its program "work", in order.
var libraryPrograms = map[string][]string{
	"python-data": {
		"rows 3000", "lines 4", "png True", "each visitor brings 3.0", "product 1000.0", "excel 3000", "threads 1",
	},
	"python-ml": {"epoch 1: ", "epoch 10: ", "the same True", "learnt True", "threads 2"},
}

func TestLanguagesWithLibrariesRunTheirWorkProgram(t *testing.T) {
	h := newHarness(t, withSlots(2))
	for _, l := range selectedLanguages(t) {
		lines, made := libraryPrograms[l.Name]
		if !made {
			continue
		}
		p := h.awaitCallback(h.submit(program(t, l, "work"), fields{"language": l.Name, "timeout": 300})).Payload
		if p.Status != execution.Completed || p.Stderr != "" {
			t.Errorf("%s: got %s/%s, stderr %q", l.Name, p.Status, p.Reason, p.Stderr)
		}
		rest := p.Stdout
		for _, line := range lines {
			_, after, found := strings.Cut(rest, line)
			if !found {
				t.Errorf("%s: %q is missing, or not in order:\n%s", l.Name, line, p.Stdout)
			}
			rest = after
		}
		logCost(t, p)
	}
}

// logCost logs the figures of docs/LANGUAGES.md.
func logCost(t *testing.T, p wire.Result) {
	t.Helper()
	t.Logf("%-11s %5.2f s, CPU %5.2f s, %4d MiB", p.Language,
		time.Duration(p.ExecutionTime).Seconds(), time.Duration(p.Usage.CPUTime).Seconds(), p.Usage.MaxMemory>>20)
}
