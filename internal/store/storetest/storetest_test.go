package storetest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryTestOfTheContractIsInTheTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			if test, ok := strings.CutPrefix(f.Name.Name, "test"); ok {
				declared = append(declared, test)
			}
		}
	}
	if len(declared) < 100 {
		t.Errorf("only %d tests are declared", len(declared))
	}
	var listed []string
	for _, test := range tests {
		listed = append(listed, name(test))
	}
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) {
		t.Errorf("declared %v,\nlisted %v", declared, listed)
	}
}
