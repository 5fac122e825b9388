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

var update = flag.Bool("update", false, "write what is rendered into the documents")

const (
	root = "../.."
	plan = root + "/docs/ARCHITECTURE.md"
)

// floors reads the table of docs/ARCHITECTURE.md.
func floors(t *testing.T) map[string]int {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, plan), -1)
	table := make(map[string]int, len(rows))
	for _, row := range rows {
		floor, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		table[row[2]] = floor
	}
	return table
}

// packages maps each folder with Go files to what its files import of ours, tests left out, and to its comment.
func packages(t *testing.T) (imports map[string]map[string]bool, comments map[string]bool) {
	t.Helper()
	imports, comments = map[string]map[string]bool{}, map[string]bool{}
	for _, top := range []string{"cmd", "internal", "configs"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Name() == "testdata" {
				return fs.SkipDir // as the go command does
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

func TestARoomImportsLowerFloorsOnly(t *testing.T) {
	table := floors(t)
	imports, _ := packages(t)
	for room, imported := range imports {
		if _, ok := table[room]; !ok {
			t.Errorf("%s stands on no floor of docs/ARCHITECTURE.md", room)
		}
		for other := range imported {
			if table[other] >= table[room] {
				t.Errorf("%s (floor %d) imports %s (floor %d)", room, table[room], other, table[other])
			}
		}
	}
	for room := range table {
		if _, err := os.Stat(filepath.Join(root, room)); err != nil {
			t.Errorf("docs/ARCHITECTURE.md has a room that is not there: %s", room)
		}
	}
}

func TestEveryPackageSaysWhatItKnows(t *testing.T) {
	_, comments := packages(t)
	for room, commented := range comments {
		if !commented {
			t.Errorf("%s has no package comment", room)
		}
	}
}

func TestTheStatesInTheDocumentAreThoseOfTheCode(t *testing.T) {
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
