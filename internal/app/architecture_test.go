package app_test

import (
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"boomerang/internal/execution"
)

var update = flag.Bool("update", false, "write the rendered diagrams into the documents")

const (
	root = "../.."
	plan = root + "/docs/ARCHITECTURE.md"
)

// layers reads the layer of each package from the table of docs/ARCHITECTURE.md.
func layers(t *testing.T) map[string]int {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, plan), -1)
	table := make(map[string]int, len(rows))
	for _, row := range rows {
		layer, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		table[row[2]] = layer
	}
	return table
}

// packages maps each folder with Go files to the packages of this module that it imports, tests left out, and tells
// whether it has a package comment.
func packages(t *testing.T) (imports map[string]map[string]bool, comments map[string]bool) {
	t.Helper()
	imports, comments = map[string]map[string]bool{}, map[string]bool{}
	for _, top := range []string{"cmd", "internal", "configs"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Name() == "testdata" {
				return fs.SkipDir // the go command ignores it, too
			}
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
			if err != nil {
				return err
			}
			folder, err := filepath.Rel(root, filepath.Dir(path))
			if err != nil {
				return err
			}
			if imports[folder] == nil {
				imports[folder] = map[string]bool{}
			}
			comments[folder] = comments[folder] || file.Doc != nil
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if ours, ok := strings.CutPrefix(imported, "boomerang/"); ok {
					imports[folder][ours] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return imports, comments
}

func TestAPackageImportsLowerLayersOnly(t *testing.T) {
	table := layers(t)
	imports, _ := packages(t)
	for pkg, imported := range imports {
		if _, ok := table[pkg]; !ok {
			t.Errorf("%s has no layer in docs/ARCHITECTURE.md", pkg)
		}
		for other := range imported {
			if table[other] >= table[pkg] {
				t.Errorf("%s (layer %d) imports %s (layer %d)", pkg, table[pkg], other, table[other])
			}
		}
	}
	for pkg := range table {
		if _, err := os.Stat(filepath.Join(root, pkg)); err != nil {
			t.Errorf("docs/ARCHITECTURE.md lists a package that does not exist: %s", pkg)
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	_, comments := packages(t)
	for pkg, commented := range comments {
		if !commented {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

func TestTheDocumentedStatesAreThoseOfTheCode(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n```mermaid\nstateDiagram-v2\n    [*] --> queued: stored\n")
	for _, step := range execution.Transitions() {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", step.From, step.To, step.When)
	}
	for _, s := range execution.States() {
		if s.Terminal() {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n\nDeliveries are a second machine:\n\n```mermaid\nstateDiagram-v2\n    [*] --> none\n")
	for _, step := range execution.DeliveryTransitions() {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", step.From, step.To, step.When)
	}
	b.WriteString("```\n\n")
	rendered(t, plan, "states", b.String())
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
