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

// chosen are the languages that LANGUAGES names; without it, those that a server must have. None is left out for want
// of its image.
func chosen(t testing.TB) []language.Language {
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

// programs is where the programs of the languages are: a folder for each, a file for each trial.
const programs = "testdata/languages"

// program is the code of a trial. Those with more libraries under Python run what Python runs.
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

// trial is what every language must pass with its own program.
type trial struct {
	name    string
	request fields
	stdout  func(t *testing.T) string // nil: it prints nothing
	stderr  string                    // a part of it; empty: it prints nothing there
	failed  bool
	code    int // 0: any, where it failed
}

func prints(text string) func(*testing.T) string { return func(*testing.T) string { return text } }

var trials = []trial{
	{name: "hello", stdout: prints("hello\n")},
	{name: "broken", failed: true, stderr: "{file}"}, // it is not even begun
	{name: "exception", stdout: prints("before\n"), failed: true, stderr: "boom"},
	{name: "exit", failed: true, code: 7, stderr: "leaving\n"},
	{name: "stdin", request: fields{"stdin": "1\n2\n39\n"}, stdout: prints("42\n")},
	{name: "unicode", stdout: prints("žluťoučký kůň, 日本語, 🚀\n")},
	{name: "compute"}, // see primes
}

func TestEveryLanguageKeepsItsWord(t *testing.T) {
	languages := chosen(t)
	h := enter(t, slots(2))
	h.offered(languages)
	type running struct {
		language language.Language
		trial    trial
		id       execution.ID
	}
	var all []running
	for _, l := range languages {
		for _, r := range trials {
			all = append(all, running{l, r, h.submit(program(t, l, r.name), fields{"language": l.Name, "timeout": 300}, r.request)})
		}
	}
	for _, r := range all {
		t.Run(r.language.Name+"/"+r.trial.name, func(t *testing.T) {
			p := h.callback(r.id).Payload
			r.trial.judge(t, r.language, p)
			cost(t, p)
		})
	}
}

// offered waits until the server offers the languages, as it does when it finds their images.
func (h *house) offered(languages []language.Language) {
	h.t.Helper()
	_, answer := h.call("GET", "/health", nil)
	listed := fmt.Sprint(answer["features"].(map[string]any)["languages"])
	for _, l := range languages {
		if !slices.Contains(strings.Fields(strings.Trim(listed, "[]")), l.Name) {
			h.t.Fatalf("%s is not offered (%s): make images LANGUAGES=%s", l.Name, listed, l.Name)
		}
	}
}

func (r trial) judge(t *testing.T, l language.Language, p wire.Result) {
	t.Helper()
	status := execution.Completed
	if r.failed {
		status = execution.Failed
	}
	if p.Language != l.Name || p.Status != status || p.ExitCode == nil || *p.ExitCode == 0 && r.failed || r.code != 0 && *p.ExitCode != r.code {
		t.Errorf("%s: %s/%s with exit code %v, want %s with %d", p.Language, p.Status, p.Reason, deref(p.ExitCode), status, r.code)
	}
	switch {
	case r.name == "compute":
		primes(t, p.Stdout)
	case r.stdout == nil && p.Stdout != "", r.stdout != nil && p.Stdout != r.stdout(t):
		t.Errorf("stdout is %q", p.Stdout)
	}
	want := strings.ReplaceAll(r.stderr, "{file}", l.File)
	if l.Name == "r" && r.name == "broken" {
		want = "unexpected" // R never says in which file
	}
	if !strings.Contains(p.Stderr, want) || want == "" && p.Stderr != "" {
		t.Errorf("stderr is %q, want it to have %q", p.Stderr, want)
	}
	if t.Failed() {
		t.Logf("stdout %q, stderr %q", p.Stdout, p.Stderr)
	}
}

// primes holds what a program says of how many primes there are below a number against what is so.
func primes(t *testing.T, said string) {
	t.Helper()
	var below, count int
	if _, err := fmt.Sscan(said, &below, &count); err != nil {
		t.Fatalf("%q is not two numbers", said)
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
		t.Errorf("%d primes below %d, there are %d", count, below, want)
	}
}

func deref(code *int) int {
	if code == nil {
		return none
	}
	return *code
}

// works are the programs of the languages that are made for one kind of work, and the lines that they print of it.
var works = map[string][]string{
	"python-data": {
		"rows 3000", "lines 4", "png True", "each visitor brings 3.0", "product 1000.0", "excel 3000", "threads 1",
	},
	"python-ml": {"epoch 1: ", "epoch 10: ", "the same True", "learnt True", "threads 2"},
}

func TestTheLanguagesThatAreMadeForAWorkDoIt(t *testing.T) {
	h := enter(t, slots(2))
	for _, l := range chosen(t) {
		lines, made := works[l.Name]
		if !made {
			continue
		}
		p := h.callback(h.submit(program(t, l, "work"), fields{"language": l.Name, "timeout": 300})).Payload
		if p.Status != execution.Completed || p.Stderr != "" {
			t.Errorf("%s: %s/%s, stderr %q", l.Name, p.Status, p.Reason, p.Stderr)
		}
		rest := p.Stdout
		for _, line := range lines {
			_, after, found := strings.Cut(rest, line)
			if !found {
				t.Errorf("%s: does not print %q in its place:\n%s", l.Name, line, p.Stdout)
			}
			rest = after
		}
		cost(t, p)
	}
}

// cost writes down what docs/LANGUAGES.md tells.
func cost(t *testing.T, p wire.Result) {
	t.Helper()
	t.Logf("%-11s %5.2f s, CPU %5.2f s, %4d MiB", p.Language,
		time.Duration(p.ExecutionTime).Seconds(), time.Duration(p.Usage.CPUTime).Seconds(), p.Usage.MaxMemory>>20)
}
