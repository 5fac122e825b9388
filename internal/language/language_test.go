package language

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"boomerang/internal/fault"
)

// minimal is the shortest definition of a language.
const minimal = `
languages:
  ruby:
    image: ruby:3.4-slim
    file: main.rb
    command: [ruby, "{file}"]
`

// open writes a catalogue into a file and opens it.
func open(t *testing.T, text string) (catalogue *Catalogue, path string, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "languages.yaml")
	write(t, path, text)
	catalogue, err = Open(Config{File: path})
	return catalogue, path, err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(c *Catalogue) []string {
	var list []string
	for _, l := range c.Languages() {
		list = append(list, l.Name)
	}
	return list
}

func TestWithoutAFileTheShippedLanguagesAreThere(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"bash", "c", "cpp", "go", "java", "javascript", "lua", "perl", "php", "python", "python-data", "python-ml", "r",
		"ruby", "rust", "typescript",
	}, names(c)); diff != "" {
		t.Error(diff)
	}
}

func TestFindResolvesNamesAliasesAndTheDefault(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{
		"":       "python",
		"python": "python", "python3": "python", "py": "python",
		"javascript": "javascript", "node": "javascript", "nodejs": "javascript", "js": "javascript",
		"bash": "bash", "sh": "bash", "shell": "bash",
		"go": "go", "golang": "go",
		"ts": "typescript", "rb": "ruby", "pl": "perl", "c++": "cpp", "cxx": "cpp", "rs": "rust", "torch": "python-ml",
	} {
		got, err := c.Find(asked)
		if err != nil || got.Name != want {
			t.Errorf("Find(%q) = %q, %v; want %q", asked, got.Name, err, want)
		}
	}
}

func TestRequiredLanguagesAreNotOptional(t *testing.T) {
	c, err := Open(Defaults())
	if err != nil {
		t.Fatal(err)
	}
	var required []string
	for _, l := range c.Languages() {
		if !l.Optional {
			required = append(required, l.Name)
		}
	}
	if diff := cmp.Diff([]string{"bash", "go", "javascript", "python"}, required); diff != "" {
		t.Errorf("make images builds others: %s", diff)
	}
}

func TestFindErrorsListTheLanguages(t *testing.T) {
	c, _, err := open(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range []string{"cobol", "Ruby", "", strings.Repeat("x", 1<<20)} {
		_, err := c.Find(asked)
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Code != fault.UnsupportedLanguage {
			t.Errorf("Find(%.20q) gives %v, want a fault %s", asked, err, fault.UnsupportedLanguage)
			continue
		}
		if diff := cmp.Diff(map[string]any{"field": "language", "supported": []string{"ruby"}}, f.Details); diff != "" {
			t.Errorf("Find(%.20q): details: %s", asked, diff)
		}
		if !strings.Contains(f.Sentence, "ruby") || len(f.Sentence) > 200 {
			t.Errorf("Find(%.20q) says %.300q, want a short sentence that names ruby", asked, f.Sentence)
		}
	}
}

func TestReloadShowsTheNewCatalogue(t *testing.T) {
	c, path, err := open(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.ReplaceAll(minimal, "ruby", "perl"))
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"perl"}, names(c)); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Find("ruby"); err == nil {
		t.Error("ruby is still found")
	}
}

func TestReloadKeepsTheOldCatalogueOnAnError(t *testing.T) {
	c, path, err := open(t, minimal)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{
		"",
		strings.ReplaceAll(minimal, "image", "imge"),
		strings.ReplaceAll(minimal, "image", "aliases: [ruby]\n    image"),
	} {
		write(t, path, wrong)
		if err := c.Reload(); err == nil {
			t.Errorf("Reload accepts %q", wrong)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err == nil {
		t.Error("Reload accepts a file that is gone")
	}
	if _, err := c.Find("ruby"); err != nil {
		t.Errorf("after failed reloads: %v", err)
	}
}
