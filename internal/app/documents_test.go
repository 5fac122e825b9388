package app_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documents lists the Markdown files for readers, as paths from the root of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	code    = regexp.MustCompile("`[^`\n]*`")
	linked  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the fragments that GitHub gives the headings of a document.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		words := linked.ReplaceAllString(match[1], "$1")
		slug := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(words), ""), " ", "-")
		name := slug
		for n := 1; found[name]; n++ {
			name = slug + "-" + strconv.Itoa(n)
		}
		found[name] = true
	}
	return found
}

func TestEveryLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	var checked int
	for _, page := range documents(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(read(t, page), ""), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s links to %s: there is no such file", page, match[1])
				continue
			}
			if fragment != "" && (info.IsDir() || !anchors(read(t, path))[fragment]) {
				t.Errorf("%s links to %s: there is no such heading", page, match[1])
			}
		}
	}
	if checked < 50 {
		t.Errorf("found %d links; the pattern misses most of them", checked)
	}
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	text := "# HopX's clients\n```sh\n# no heading\n```\n## `POST /execute/async`\n" +
		"### A [link](x.md), and more\n## Tests\n## Tests\n"
	got := anchors(text)
	for _, want := range []string{"hopxs-clients", "post-executeasync", "a-link-and-more", "tests", "tests-1"} {
		if !got[want] {
			t.Errorf("no anchor %s in %v", want, got)
		}
	}
	if len(got) != 5 {
		t.Errorf("got %d anchors, want 5: %v", len(got), got)
	}
}

// Every page of docs/ is reachable from its index.
func TestTheIndexNamesEveryPage(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	index := read(t, filepath.Join(root, "docs", "README.md"))
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(index, "]("+name) {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

func TestTheREADMEIsShort(t *testing.T) {
	for page, limit := range map[string]int{"README.md": 150, "docs/SECURITY.md": 200, "docs/PERFORMANCE.md": 200} {
		if lines := strings.Count(read(t, filepath.Join(root, page)), "\n"); lines > limit {
			t.Errorf("%s has %d lines, want at most %d: move the details to a page of their own", page, lines, limit)
		}
	}
}

var (
	testName = regexp.MustCompile(`\bTest[A-Z]\w+`)
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	pageName = regexp.MustCompile(`\bdocs/[\w/.-]+\.\w+`)
)

// A test that a document names exists, as does a document that the code or a configuration file names.
func TestDocumentsAndCodeNameEachOtherRightly(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "data"}, entry.Name()) {
			return fs.SkipDir
		}
		source := strings.HasSuffix(path, ".go")
		if !source && !strings.HasSuffix(path, ".yaml") && entry.Name() != "Makefile" || !entry.Type().IsRegular() {
			return nil
		}
		text := read(t, path)
		for _, match := range testFunc.FindAllStringSubmatch(text, -1) {
			tests[match[1]] = true
		}
		for _, name := range pageName.FindAllString(text, -1) {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("%s names %s: there is no such file", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range documents(t) {
		for _, name := range testName.FindAllString(read(t, page), -1) {
			if !tests[name] {
				t.Errorf("%s names %s: there is no such test", page, name)
			}
		}
	}
}

var goFile = regexp.MustCompile("`([\\w-]+(?:/[\\w-]+)+\\.go)`")

// The paths of code in ARCHITECTURE start at the root, or at internal/.
func TestTheFilesThatARCHITECTURENamesExist(t *testing.T) {
	names := goFile.FindAllStringSubmatch(read(t, plan), -1)
	if len(names) < 20 {
		t.Fatalf("%d paths are named, want the table of where to look", len(names))
	}
	for _, name := range names {
		_, atRoot := os.Stat(filepath.Join(root, name[1]))
		_, below := os.Stat(filepath.Join(root, "internal", name[1]))
		if atRoot != nil && below != nil {
			t.Errorf("%s names %s: there is no such file", plan, name[1])
		}
	}
}

// rendered compares a part of a document, between <!-- name: … --> and <!-- /name -->, with its rendered text. The flag
// -update writes the text into the document.
func rendered(t *testing.T, page, name, want string) {
	t.Helper()
	text := read(t, page)
	between := regexp.MustCompile(`(?s)(<!-- ` + name + `:[^>]*-->\n)(.*?)(<!-- /` + name + ` -->)`)
	match := between.FindStringSubmatch(text)
	if match == nil {
		t.Fatalf("%s has no place for the %s", page, name)
	}
	if match[2] == want {
		return
	}
	if !*update {
		got, expected := strings.Split(match[2], "\n"), strings.Split(want, "\n")
		for i := range expected {
			if i >= len(got) || got[i] != expected[i] {
				t.Fatalf("%s is stale; run go test ./internal/app -update. The first new line: %s", page, expected[i])
			}
		}
		t.Fatalf("%s is stale; run go test ./internal/app -update", page)
	}
	text = strings.Replace(text, match[0], match[1]+want+match[3], 1)
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
