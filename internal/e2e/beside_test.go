//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"boomerang/internal/execution"
	"boomerang/internal/language"
)

// family is a program of several files. A line "-- PATH --" precedes each file. Three sections have fixed names:
// "working_dir", the wanted "stdout", and, for a program that cannot be compiled, a part of its "stderr".
type family struct {
	name, code, dir, stdout, stderr string
	files                           []fields
}

// families are the programs of several files that a language has: what its users expect of a second file. Those with
// more libraries under Python run what Python runs.
func families(t *testing.T, l language.Language) (list []family) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(programs, strings.SplitN(l.Name, "-", 2)[0], "families", "*.txt"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%s has no program of several files: %v", l.Name, err)
	}
	for _, file := range all {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f := family{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		for _, part := range strings.Split("\n"+strings.TrimSuffix(string(text), "\n"), "\n-- ")[1:] {
			title, content, found := strings.Cut(part+"\n", " --\n")
			if !found {
				t.Fatalf("%s: no title in %q", file, part)
			}
			switch title {
			case l.File:
				f.code = content
			case "working_dir":
				f.dir = strings.TrimSpace(content)
			case "stdout":
				f.stdout = content
			case "stderr":
				f.stderr = strings.TrimSpace(content)
			default:
				f.files = append(f.files, fields{"path": title, "text": content})
			}
		}
		list = append(list, f)
	}
	return list
}

func TestEveryLanguageFindsTheFilesBesideItsProgram(t *testing.T) {
	languages := selectedLanguages(t)
	h := newHarness(t, withSlots(2))
	h.requireLanguages(languages)
	type running struct {
		language language.Language
		family   family
		id       execution.ID
	}
	var all []running
	for _, l := range languages {
		for _, f := range families(t, l) {
			id := h.submit(f.code, fields{"language": l.Name, "timeout": 300, "working_dir": f.dir, "files": f.files})
			all = append(all, running{l, f, id})
		}
	}
	for _, r := range all {
		t.Run(r.language.Name+"/"+r.family.name, func(t *testing.T) {
			p := h.awaitCallback(r.id).Payload
			status := execution.Completed
			if r.family.stderr != "" {
				status = execution.Failed
			}
			if p.Status != status || p.Stdout != r.family.stdout ||
				!strings.Contains(p.Stderr, r.family.stderr) || r.family.stderr == "" && p.Stderr != "" {
				t.Errorf("%s/%s, want %s; stdout %q, want %q; stderr %q, want %q",
					p.Status, p.Reason, status, p.Stdout, r.family.stdout, p.Stderr, r.family.stderr)
			}
		})
	}
}

// Several programs lie in one workspace, each in a directory of its own, and share a package of their module.
func TestAGoProgramIsThePackageOfItsDirectoryInAWorkspace(t *testing.T) {
	const main = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(greet()) }\n"
	const greet = "package main\n\nimport \"app/greeting\"\n\nfunc greet() string { return greeting.Hello + "
	h := newHarness(t)
	h.putFile("w", "go.mod", "module app\n")
	h.putFile("w", "root.go", greet+"\"the root\" }\n")
	h.putFile("w", "greeting/greeting.go", "package greeting\n\nconst Hello = \"hello from \"\n")
	for _, name := range []string{"one", "two"} {
		h.putFile("w", "cmd/"+name+"/greet.go", greet+"\""+name+"\" }\n")
		h.putFile("w", "cmd/"+name+"/main.go", "package hidden // by what is submitted\n")
	}
	for dir, want := range map[string]string{
		"/workspace/cmd/one": "hello from one\n", "/workspace/cmd/two": "hello from two\n", "": "hello from the root\n",
	} {
		p := h.awaitCallback(h.submit(main, fields{"language": "go", "workspace": "w", "working_dir": dir})).Payload
		if p.Stdout != want || p.Status != execution.Completed {
			t.Errorf("in %q: %s/%s, printed %q, want %q; stderr %q", dir, p.Status, p.Reason, p.Stdout, want, p.Stderr)
		}
	}
}
