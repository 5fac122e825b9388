package language

import (
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"boomerang/configs"
	"boomerang/internal/sandbox"
)

func TestFourLinesMakeALanguage(t *testing.T) {
	got, err := parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	want := []Language{{
		Name:    "ruby",
		Image:   "ruby:3.4-slim",
		File:    "main.rb",
		Command: []string{"ruby", "{file}"},
		Env:     map[string]string{},
		Limits: sandbox.Limits{
			Memory: 512 << 20, CPUs: 1, PIDs: 128, Files: 1024,
			Workspace: 256 << 20, Tmp: 64 << 20, Output: 1 << 20, Tail: 64 << 10, Artifacts: 16 << 20,
		},
		Network: "none",
		Warm:    Auto,
		Pull:    "missing",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestALanguageOverridesTheDefaultsKeyByKey(t *testing.T) {
	languages, err := parse([]byte(`
defaults:
  pull: never
  runtime: runsc
  env: {A: default, B: default}
  limits: {memory: 1GiB, cpus: 0.5}
` + minimal + `
    runtime: crun
    env: {B: own, C: own}
    limits: {cpus: 2, tail: 1KiB}
  perl:
    image: perl:5.42
    file: main.pl
    command: [perl, "{file}"]
`))
	if err != nil {
		t.Fatal(err)
	}
	perl, got := languages[0], languages[1]
	if diff := cmp.Diff(map[string]string{"A": "default", "B": "default"}, perl.Env); diff != "" {
		t.Errorf("perl, which has nothing of its own: %s", diff)
	}
	if got.Pull != "never" || got.Runtime != "crun" {
		t.Errorf("pull %q, runtime %q; want never, crun", got.Pull, got.Runtime)
	}
	if diff := cmp.Diff(map[string]string{"A": "default", "B": "own", "C": "own"}, got.Env); diff != "" {
		t.Error(diff)
	}
	want := sandbox.Limits{
		Memory: 1 << 30, CPUs: 2, PIDs: 128, Files: 1024,
		Workspace: 256 << 20, Tmp: 64 << 20, Output: 1 << 20, Tail: 1 << 10, Artifacts: 16 << 20,
	}
	if diff := cmp.Diff(want, got.Limits); diff != "" {
		t.Error(diff)
	}
}

func TestLimitsMayBeNullAndShareValues(t *testing.T) {
	got, err := parse([]byte(minimal + `
    limits: {memory: &m 64MiB, pids: null}
    max: {memory: *m, cpus: null}
`))
	if err != nil {
		t.Fatal(err)
	}
	if l := got[0]; l.Limits.Memory != 64<<20 || l.Max.Memory != 64<<20 || l.Limits.PIDs != 128 || l.Max.CPUs != 0 {
		t.Errorf("limits %+v, max %+v; want 64 MiB in both, 128 PIDs and no max.cpus", l.Limits, l.Max)
	}
	if _, err := parse([]byte(minimal + "    limits: {cpu: null}")); err == nil ||
		!strings.Contains(err.Error(), `unknown field "cpu"`) {
		t.Errorf("an unknown limit that is null: %v, want a refusal", err)
	}
}

func TestARefusalNamesTheLanguageTheKeyAndThePosition(t *testing.T) {
	for name, c := range map[string]struct {
		text string   // before or after minimal
		want []string // parts of the error
	}{
		"no file at all":        {"", []string{"languages must name at least one"}},
		"no language":           {"languages: {}", []string{"languages must name at least one"}},
		"broken YAML":           {"languages: {", []string{"[1:12]"}},
		"unknown top key":       {"language: {}", []string{`[1:1] unknown field "language"`}},
		"unknown default":       {"defaults:\n  image: x" + minimal, []string{`[2:3] unknown field "image"`}},
		"unknown key":           {minimal + "    imag: x", []string{`"ruby"`, `[7:5] unknown field "imag"`}},
		"unknown limit":         {minimal + "    limits: {cpu: 1}", []string{`"ruby"`, `[7:14] unknown field "cpu"`}},
		"key twice":             {minimal + "    file: b.rb", []string{`[7:5]`, `"file" already defined`}},
		"language twice":        {minimal + "  ruby: {}", []string{`[7:3]`, `"ruby" already defined`}},
		"nothing behind a name": {"languages:\n  ruby:", []string{`"ruby"`, "image"}},
		"text behind a name":    {"languages:\n  ruby: x", []string{`"ruby"`, "[2:9]"}},
		"name in upper case":    {strings.Replace(minimal, "ruby:", "Ruby:", 1), []string{`"Ruby"`, "lower case"}},
		"image missing": {
			strings.Replace(minimal, "image: ruby:3.4-slim", "pull: never", 1),
			[]string{`"ruby"`, "image"},
		},
		"file missing": {
			strings.Replace(minimal, "file: main.rb", "pull: never", 1),
			[]string{`"ruby"`, "file"},
		},
		"file is a path": {strings.Replace(minimal, "main.rb", "../main.rb", 1), []string{
			`"ruby"`, "file",
			"../main.rb",
		}},
		"file is hidden":    {strings.Replace(minimal, "main.rb", "..", 1), []string{`"ruby"`, "file"}},
		"file is an option": {strings.Replace(minimal, "main.rb", "-e", 1), []string{`"ruby"`, "file"}},
		"command missing": {
			strings.Replace(minimal, `command: [ruby, "{file}"]`, "pull: never", 1),
			[]string{`"ruby"`, "command"},
		},
		"command empty": {strings.Replace(minimal, "[ruby,", `["",`, 1), []string{`"ruby"`, "command"}},
		"command is text": {
			strings.Replace(minimal, `[ruby, "{file}"]`, "ruby {file}", 1),
			[]string{`"ruby"`, "[6:14]"},
		},
		"command without file": {strings.Replace(minimal, "{file}", "main.rb", 1), []string{
			`"ruby"`, "command",
			"{file}",
		}},
		"rehearsal of nothing": {
			minimal + `    rehearsal: [""]`,
			[]string{`"ruby"`, "rehearsal must name a program"},
		},
		"warm is neither": {minimal + "    warm: hot", []string{
			`"ruby"`, "[7:11]",
			"auto or a number from 0 to 1000", `"hot"`,
		}},
		"warm is less than none": {minimal + "    warm: -1", []string{`"ruby"`, "warm", `"-1"`}},
		"warm is too many":       {minimal + "    warm: 1001", []string{`"ruby"`, "warm", `"1001"`}},
		"rehearsal for all":      {"defaults: {rehearsal: [x]}" + minimal, []string{`unknown field "rehearsal"`}},
		"alias is a name":        {minimal + "    aliases: [ruby]", []string{`"ruby"`, "already stands for"}},
		"alias of two": {
			minimal +
				"    aliases: [x]\n  perl: {image: x, file: x, command: [\"{file}\"], aliases: [x]}",
			[]string{`"ruby"`, `"x"`, `"perl"`},
		},
		"alias in upper case": {minimal + "    aliases: [RB]", []string{`"ruby"`, `"RB"`}},
		"pull always": {minimal + "    pull: always", []string{
			`"ruby"`, "pull", "missing", "never",
			`"always"`,
		}},
		"network host": {
			minimal + "    network: host",
			[]string{`"ruby"`, "network must be none, egress or proxy", `"host"`},
		},
		"network bridge": {minimal + "    network: bridge", []string{`"ruby"`, "network", `"bridge"`}},
		"network of a container": {minimal + "    network: container:abc", []string{
			`"ruby"`, "network",
			`"container:abc"`,
		}},
		"network by its own name": {minimal + "    network: boomerang-egress", []string{
			`"ruby"`, "network",
			`"boomerang-egress"`,
		}},
		"network, empty":       {minimal + `    network: ""`, []string{`"ruby"`, "network", `""`}},
		"network host for all": {"defaults: {network: host}" + minimal, []string{`"ruby"`, "network", `"host"`}},
		"env name":             {minimal + "    env: {A-B: x}", []string{`"ruby"`, "env", `"A-B"`}},
		"env with NUL":         {minimal + `    env: {A: "x\0"}`, []string{`"ruby"`, "env", `"A"`}},
		"memory without a unit": {minimal + "    limits: {memory: 512}", []string{
			`"ruby"`, "[7:22]", `"512"`,
			"512MiB",
		}},
		"memory under Docker's": {minimal + "    limits: {memory: 5MiB}", []string{
			`"ruby"`, "limits.memory",
			"6MiB",
		}},
		"no CPU":              {minimal + "    limits: {cpus: 0}", []string{`"ruby"`, "limits.cpus"}},
		"CPUs not a number":   {minimal + "    limits: {cpus: .nan}", []string{`"ruby"`, "limits.cpus"}},
		"no process":          {minimal + "    limits: {pids: 0}", []string{`"ruby"`, "limits.pids"}},
		"unlimited processes": {minimal + "    limits: {pids: -1}", []string{`"ruby"`, "limits.pids"}},
		"no file open":        {minimal + "    limits: {files: 0}", []string{`"ruby"`, "limits.files"}},
		"no workspace":        {minimal + "    limits: {workspace: 0B}", []string{`"ruby"`, "limits.workspace"}},
		"no tmp":              {minimal + "    limits: {tmp: 0B}", []string{`"ruby"`, "limits.tmp"}},
		"no output":           {minimal + "    limits: {output: 0B}", []string{`"ruby"`, "limits.output"}},
		"negative artifacts":  {minimal + "    limits: {artifacts: -1B}", []string{`"ruby"`, "limits.artifacts"}},
		"max artifacts too low": {minimal + "    max: {artifacts: 1MiB}", []string{
			`"ruby"`, "max.artifacts",
			"limits.artifacts",
		}},
		"no tail": {minimal + "    limits: {tail: 0B}", []string{`"ruby"`, "limits.tail"}},
		"max under the limit": {
			minimal + "    limits: {pids: 9}\n    max: {pids: 8}",
			[]string{`"ruby"`, "max.pids", "limits.pids"},
		},
		"max memory of nothing":   {minimal + "    max: {memory: -1B}", []string{`"ruby"`, "max.memory"}},
		"max of a fixed limit":    {minimal + "    max: {tmp: 1GiB}", []string{`"ruby"`, `unknown field "tmp"`}},
		"a default that is wrong": {"defaults: {limits: {pids: 0}}" + minimal, []string{`"ruby"`, "limits.pids"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, path, err := open(t, c.text)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range append(c.want, path) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is %q, want it to contain %q", err, want)
				}
			}
		})
	}
}

// uncommented returns the lines of the shipped file between two comments, without their comment marks.
func uncommented(t *testing.T, from, to string) string {
	t.Helper()
	_, text, found := strings.Cut(string(configs.Languages), from)
	if to != "" {
		text, _, _ = strings.Cut(text, to)
	}
	if !found || text == "" {
		t.Fatalf("languages.yaml does not say %q any more", from)
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line, isComment := strings.CutPrefix(line, "#   "); isComment {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestTheShippedFileDocumentsTheDefaults(t *testing.T) {
	text := uncommented(t, "once:\n", "# The images")
	var documented entry
	if err := yaml.UnmarshalWithOptions([]byte(text), &documented, yaml.Strict()); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	want := entry{Aliases: []string{}, Rehearsal: []string{}, Common: builtin()}
	want.Common.Env = map[string]string{}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Error(diff)
	}
}

func TestTheShippedExamplesWork(t *testing.T) {
	text := uncommented(t, "without building anything:\n", "")
	got, err := parse([]byte("languages:\n" + indent(text)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	examples := make([]string, len(got))
	for i, l := range got {
		examples[i] = l.Name
	}
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	without := []string{"lua", "python-data"} // no trusted publisher offers such an image
	if diff := cmp.Diff(slices.DeleteFunc(names(c), func(name string) bool { return slices.Contains(without, name) }),
		examples); diff != "" {
		t.Errorf("the languages of ours and the examples differ: %s", diff)
	}
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ")
}
